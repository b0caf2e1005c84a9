# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a .blend with other paths.

Runs in the packing program only (`render_farm/scene/packing.py`).
"""

import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from render_farm.scene.blend_blocks import FIXED, BlendData, Place
from render_farm.scene.path_fields import PathField

_ALIGNED = 8


@dataclass(frozen=True, slots=True)
class Change:
    """Another text for a place; `named` is the whole path it had."""

    place: Place
    text: bytes
    named: str


def relative(asset: Path, blend: Path, item: PathField) -> bytes:
    """`asset` as Blender writes it in a file at `blend` (both absolute), for the text of `item`: a path
    whose file has a field of its own gives the folder, and folders keep their ending slash. A text that
    says so already stays as it is.
    """
    path = asset.parent if item.leaf else asset
    named = item.path if item.stem else item.text
    if named.startswith(b"//") and os.path.normpath(
        os.path.join(os.fsencode(blend.parent), named[2:])
    ) == os.fsencode(path):
        return item.text
    way = os.fsencode(os.path.relpath(path, blend.parent))
    text = b"//" + (b"" if way == b"." else way)
    is_folder = item.leaf or item.stem or (item.members and item.text.endswith((b"/", b"\\")))
    return (text + b"/" if is_folder and not text.endswith(b"/") else text) + item.stem


def rewrite(target: Path, data: BlendData, changes: list[Change]) -> dict[str, str]:
    """Write the .blend to `target` with other paths. The result is not compressed.

    Returns the paths that could not be changed, each with the reason.
    """
    failed, edits = {}, []
    for change in sorted(changes, key=lambda one: one.place.offset):
        if change.place.header == FIXED and len(change.text) >= change.place.size:
            failed[change.named] = "its path in the bundle does not fit into the .blend"
        else:
            edits.append(_edit(data, change))
    source = data.file.fileobj
    source.seek(0)
    with target.open("wb") as written:
        for offset, length, text in edits:
            _copy(source, written, offset - source.tell())
            written.write(text)
            source.seek(offset + length)
        shutil.copyfileobj(source, written, 1 << 20)
    return failed


def _edit(data: BlendData, change: Change) -> tuple[int, int, bytes]:
    """Where to write how much less and what. A text of its own takes a block, which may become longer."""
    place, text = change.place, change.text
    if len(text) < place.size:
        return place.offset, place.size, text.ljust(place.size, b"\0")
    text = text.ljust((len(text) // _ALIGNED + 1) * _ALIGNED, b"\0")
    head = bytearray(data.read(place.header, data.header_size))
    # The block's length: the first 64-bit number after the address in new files, else after the code.
    if data.file.header.file_format_version:
        struct.pack_into("<q", head, 16, len(text))
    else:
        struct.pack_into("<i", head, 4, len(text))
    return place.header, data.header_size + place.size, bytes(head) + text


def _copy(source: IO[bytes], target: IO[bytes], length: int) -> None:
    while length > 0:
        piece = source.read(min(length, 1 << 20))
        if not piece:
            return
        target.write(piece)
        length -= len(piece)

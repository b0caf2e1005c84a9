# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a .blend reads, found by Blender Asset Tracer without starting Blender.

Runs in the packing program only (`render_farm/packing.py`): it parses a stranger's file.
"""

import errno
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_asset_tracer import blendfile, bpathlib
from blender_asset_tracer.trace import asset_holding_blocks, blocks2assets, expanders, file2blocks
from zstandard import ZstdError

from frame_splitter.errors import FarmError, InvalidInput
from render_farm.asset_rules import AssetRules, files_of, find_moved
from render_farm.blend_header import read_header

_CACHES = frozenset(
    {
        "FluidDomainSettings",
        "FluidsimSettings",
        "NodesModifierBake",
        "NodesModifierData",
        "OceanModifierData",
        "PointCache",
    }
)
"""Structures whose path names where a cache would be: that it is not there is no missing file but an
unbaked simulation, which the doctor names as such."""

_CLIP_SEQUENCE = 1


@dataclass(frozen=True, slots=True)
class Found:
    """One use of a file: `path` is where it is (absolute; a pattern or folder for sequences), `named`
    what the .blend said, `usage` the tracer's own record, for rewriting.
    """

    path: Path
    named: str
    usage: Any
    sequence: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """All uses of files, and the paths nothing was found at."""

    found: tuple[Found, ...]
    missing: tuple[str, ...]


class _Libraries(file2blocks.BlockIterator):
    """Follows links into libraries, but opens only what the rules allow and what is a .blend."""

    def __init__(self, rules: AssetRules) -> None:
        super().__init__()
        self.rules = rules

    def _visit_linked_blocks(self, blocks_per_lib: dict[Any, Any]) -> Iterator[Any]:
        for path, blocks in blocks_per_lib.items():
            library = _located(bpathlib.make_absolute(path.to_path()), self.rules, sequence=False)
            if library is None or self.rules.refusal(library):
                continue
            try:
                read_header(library)
                file = open_whole(library)
            except FarmError:
                continue
            yield from self.iter_blocks(file, blocks)


def trace(scene: Path, rules: AssetRules) -> Trace:
    """Trace `scene` and the libraries it links. Raises InvalidInput where the file is damaged."""
    _teach_new_node_trees()
    found, missing = [], []
    libraries = _Libraries(rules)
    for block in asset_holding_blocks(libraries.iter_blocks(open_whole(scene))):
        for usage in blocks2assets.iter_assets(block):
            item = _resolve(usage, rules)
            if item is not None:
                found.append(item)
            elif usage.block.dna_type_name not in _CACHES:
                missing.append(str(usage.abspath))
    return Trace(tuple(found), tuple(dict.fromkeys(missing)))


def open_whole(path: Path) -> Any:
    """Open a .blend and check that nothing is missing at its end. Raises InvalidInput."""
    try:
        file = blendfile.open_cached(path)
    except (blendfile.exceptions.BlendFileError, struct.error, EOFError, ZstdError, zlib.error) as error:
        raise InvalidInput(f"{path.name} is cut short or damaged: copy or save it again.") from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InvalidInput(f"{path.name} unpacks to far more than a scene of its size would.") from error
        raise
    last = file.blocks[-1]
    file.fileobj.seek(0, os.SEEK_END)
    size = file.fileobj.tell()
    file.fileobj.seek(last.file_offset + last.size)
    if last.file_offset + last.size > size or file.fileobj.read(4) != b"ENDB":
        raise InvalidInput(f"{path.name} is cut short: its end is missing. Copy or save it again.")
    return file


def _resolve(usage: Any, rules: AssetRules) -> Found | None:
    sequence = usage.is_sequence or _is_clip_sequence(usage.block)
    path = _located(usage.abspath, rules, sequence=sequence)
    if path is None:
        return None
    return Found(path, str(usage.asset_path), usage, sequence)


def _located(path: Path, rules: AssetRules, *, sequence: bool) -> Path | None:
    if path.is_absolute() and (os.path.lexists(path) or files_of(path, sequence=sequence)):
        return path
    return find_moved(str(path), rules.base, sequence=sequence)


def _is_clip_sequence(block: Any) -> bool:
    return bool(block.code == b"MC" and block.get(b"source", default=0) == _CLIP_SEQUENCE)


def _teach_new_node_trees() -> None:
    """The tracer looks for every node tree of a 5.0 file where only scenes keep theirs, and so misses
    what the materials, worlds and lights of linked libraries use.
    """

    def of_any_block(block: Any) -> Iterator[Any]:
        for field in (b"compositing_node_group", b"nodetree"):
            tree = block.get_pointer(field, None)
            if tree is not None:
                yield from expanders._expand_generic_nodetree(tree)

    expanders._expand_generic_nodetree_id = of_any_block


def rewrite(target: Path, original: Path, changes: list[tuple[Any, bytes, bytes]]) -> dict[str, str]:
    """Write `original` to `target` with other paths: each change is a usage, the whole path and its
    folder, in Blender's `//` notation. The result is not compressed.

    Returns the paths that could not be changed, each with the reason.
    """
    file = blendfile.open_cached(original, assert_cached=True)
    file.fileobj.seek(0)
    with target.open("wb") as written:
        shutil.copyfileobj(file.fileobj, written, 1 << 20)
    fresh = blendfile.BlendFile(target, mode="rb+")
    failed = {}
    for usage, whole, folder in changes:
        block = copy(usage.block)
        block.bfile = fresh
        field = usage.path_full_field or usage.path_dir_field
        if not _set_path(block, field, whole if usage.path_full_field else folder):
            failed[str(usage.abspath)] = "its path in the bundle does not fit into the .blend"
    fresh.close()
    return failed


def _set_path(block: Any, field: Any, path: bytes) -> bool:
    """Put a path into its field, or into the block the field points to; False where it is too long."""
    name = field.name.name_only
    if not field.name.is_pointer:
        if len(path) >= field.size:
            return False
        block.set(name, path)
        return True
    text = block.get_pointer(name)
    if text is None or len(path) >= text.size:
        return False
    text.bfile.fileobj.seek(text.file_offset)
    text.bfile.fileobj.write(path.ljust(text.size, b"\0"))
    return True


def relative(asset: Path, blend: Path) -> bytes:
    """`asset` as Blender writes it in a file at `blend`; both absolute."""
    return bytes(bpathlib.BlendPath.mkrelative(asset, blend))

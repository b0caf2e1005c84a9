# SPDX-License-Identifier: GPL-3.0-or-later
"""The other files a USD file is put together from: its layers, references and value clips.

Only names are read: of text layers what stands between `@`, of binary ones (crates) the section with all
of their words. A name that leads to no file is none of our business.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

USD_ENDINGS = frozenset({".usd", ".usda", ".usdc"})
MOST_LAYERS = 5_000
LARGEST_TEXT = 256 << 20
LARGEST_WORDS = 16 << 20
"""Bytes of the words of a crate; a name is a word, a number is none."""
_CRATE = b"PXR-USDC"
_MOST_SECTIONS = 64
_LAYER = re.compile(rb"\.(?:usd[acz]?|abc|vdb)$", re.IGNORECASE)
_IN_TEXT = re.compile(rb"@+([^@\n]{1,4096})@|\"([^\"\n]{1,4096}\.usd[acz]?)\"")
_CLIPS = re.compile(r"#+")


def layers(first: Path) -> list[Path]:
    """The files below or beside a USD file that it needs, as far as they can be found by their names."""
    found: dict[Path, None] = {}
    waiting = [first]
    while waiting and len(found) < MOST_LAYERS:
        layer = waiting.pop()
        for name in _names(layer) if layer.suffix.lower() in USD_ENDINGS else ():
            for path in _files(layer.parent / name):
                if path not in found and path != first:
                    found[path] = None
                    waiting.append(path)
    return list(found)


def _files(path: Path) -> Iterator[Path]:
    path = Path(path.parent.resolve() if ".." in path.parts else path.parent, path.name)
    if _CLIPS.search(path.name):
        pattern = "[0-9]+".join(re.escape(part) for part in _CLIPS.split(path.name))
        folder = path.parent.iterdir() if path.parent.is_dir() else ()
        yield from sorted(one for one in folder if re.fullmatch(pattern, one.name))
    elif path.is_file():
        yield path


def _names(layer: Path) -> Iterator[str]:
    """Relative names of files; whole paths lead nowhere on another machine."""
    try:
        words = list(_words(layer))
    except (OSError, ValueError, struct.error, IndexError):
        return
    for word in words:
        if _LAYER.search(word) and not word.startswith(b"/") and b"://" not in word:
            yield word.decode("utf-8", "surrogateescape")


def _words(layer: Path) -> Iterator[bytes]:
    with layer.open("rb") as file:
        if file.read(len(_CRATE)) == _CRATE:
            file.seek(16)
            (toc,) = struct.unpack("<Q", file.read(8))
            yield from _crate_words(file, toc)
        elif layer.stat().st_size <= LARGEST_TEXT:
            file.seek(0)
            for asset, text in _IN_TEXT.findall(file.read(LARGEST_TEXT)):
                yield asset or text


def _crate_words(file: BinaryIO, toc: int) -> Iterator[bytes]:
    file.seek(toc)
    (count,) = struct.unpack("<Q", file.read(8))
    for _ in range(min(count, _MOST_SECTIONS)):
        name, start, _ = struct.unpack("<16sQQ", file.read(32))
        if name.rstrip(b"\0") == b"TOKENS":
            file.seek(start)
            _, size, packed = struct.unpack("<QQQ", file.read(24))
            if size <= LARGEST_WORDS and packed <= LARGEST_WORDS:
                yield from _unpack(file.read(packed), size).split(b"\0")
            return


def _unpack(data: bytes, size: int) -> bytes:
    """LZ4 as USD writes it: one block, or a number of blocks each after its length."""
    if data[0] == 0:
        return _lz4(data[1:], size)
    whole, at = b"", 1
    for _ in range(data[0]):
        (length,) = struct.unpack_from("<i", data, at)
        whole += _lz4(data[at + 4 : at + 4 + length], size - len(whole))
        at += 4 + length
    return whole


def _lz4(data: bytes, size: int) -> bytes:
    """One LZ4 block. Raises IndexError or ValueError where it is damaged."""
    made, at = bytearray(), 0
    while at < len(data):
        token = data[at]
        length, at = _length(data, at + 1, token >> 4)
        made += data[at : at + length]
        at += length
        if at >= len(data):
            break
        back = data[at] | data[at + 1] << 8
        length, at = _length(data, at + 2, token & 15)
        if not 0 < back <= len(made) or len(made) + length > size:
            raise ValueError("damaged")
        start = len(made) - back
        for index in range(length + 4):
            made.append(made[start + index])
    return bytes(made)


def _length(data: bytes, at: int, length: int) -> tuple[int, int]:
    if length == 15:
        while True:
            more = data[at]
            at, length = at + 1, length + more
            if more != 255:
                break
    return length, at

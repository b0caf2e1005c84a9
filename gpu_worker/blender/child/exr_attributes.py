# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts in an EXR's header, which Blender does not give to Python."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAGIC = 20000630
MULTIPART = 1 << 12
LONGEST = 64 << 20
"""Bytes of one attribute: cryptomatte manifests name every object of a scene."""


def attributes(path: str) -> dict[str, str]:
    """All attributes of type string, of all parts. Raises ValueError where the file is no EXR."""
    with Path(path).open("rb") as file:
        magic, version = struct.unpack("<II", file.read(8))
        if magic != MAGIC:
            raise ValueError("the merged picture is no EXR")
        found = dict(_part(file))
        while version & MULTIPART and (part := dict(_part(file))):
            found |= part
        return {name: value for name, value in found.items() if value is not None}


def _part(file: BinaryIO) -> Iterator[tuple[str, str | None]]:
    while name := _word(file):
        kind = _word(file)
        (size,) = struct.unpack("<i", file.read(4))
        if not 0 <= size <= LONGEST:
            raise ValueError("the merged picture's header is broken")
        value = file.read(size)
        yield name, value.decode("utf-8", "replace") if kind == "string" else None


def _word(file: BinaryIO) -> str:
    letters = bytearray()
    while (letter := file.read(1)) not in {b"\0", b""} and len(letters) < 256:
        letters += letter
    return letters.decode("utf-8", "replace")

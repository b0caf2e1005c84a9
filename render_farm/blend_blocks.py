# SPDX-License-Identifier: GPL-3.0-or-later
"""A .blend as its data-blocks: the structs each is made of, and which other data-blocks it points to.

Runs in the packing program only (`render_farm/packing.py`): it parses a stranger's file.
"""

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blender_asset_tracer import blendfile
from zstandard import ZstdError

from farm_protocol.errors import InvalidInput

FIXED = -1
LARGEST_UNTYPED = 1 << 20
"""Bytes of an untyped array in which pointers are looked for: those of materials are short, and what is
longer holds numbers."""
_OWN_LINKS = 16
"""Bytes at the head of a data-block that name its neighbours in the file, and nothing that it uses."""
_FORMATS = {1: "b", 2: "h", 4: "i", 8: "q"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text lies in the unpacked file, and bytes it may take with its ending NUL. `header` is where
    the block around a text of its own starts, which can be made longer; FIXED for a field.
    """

    offset: int
    size: int
    header: int = FIXED


@dataclass(frozen=True, slots=True)
class Record:
    """One struct; `offset` is where it lies in the unpacked file."""

    data: "BlendData"
    block: Any
    offset: int

    def has(self, *path: bytes) -> bool:
        """Whether this Blender's struct has the field."""
        return self._field(path) is not None

    def number(self, *path: bytes) -> int:
        """An integer or pointer; 0 where there is no such field."""
        found = self._field(path)
        if found is None:
            return 0
        kind, offset = found
        return self.data.number(offset, kind)

    def text(self, *path: bytes) -> bytes:
        """A text without its NUL, in the field itself or where the field points to; b"" for none."""
        place = self.place(*path)
        return b"" if place is None else self.data.read(place.offset, place.size).split(b"\0", 1)[0]

    def place(self, *path: bytes) -> Place | None:
        """Where the text of a field lies."""
        found = self._field(path)
        if found is None:
            return None
        kind, offset = found
        if not kind.name.is_pointer:
            return Place(offset, kind.size)
        block = self.data.block_at(self.data.number(offset, kind))
        return block and Place(block.file_offset, block.size, block.file_offset - self.data.header_size)

    def pointed(self, *path: bytes) -> list["Record"]:
        """The structs a field points to, all of an array's."""
        block = self.data.block_at(self.number(*path))
        return [] if block is None else list(self.data.records_of(block))

    def _field(self, path: tuple[bytes, ...]) -> tuple[Any, int] | None:
        try:
            kind, offset = self.block.dna_type.field_from_path(self.data.pointer_size, path)
        except KeyError:
            return None
        return kind, self.offset + offset


@dataclass(frozen=True, slots=True)
class Group:
    """A data-block (`name` with its two letters, b"IMwood"), and the blocks that belong to it."""

    head: Any
    name: bytes
    blocks: list[Any] = field(default_factory=list)


class BlendData:
    """An opened .blend; `main` is the scene it is read for. Raises InvalidInput where it is damaged."""

    def __init__(self, path: Path, main: Path | None = None) -> None:
        self.path, self.main = path, main or path
        self.file = open_whole(path)
        self.pointer_size: int = self.file.header.pointer_size
        self.header_size: int = self.file.block_header_struct.size
        self.groups: list[Group] = []
        self._heads: dict[int, Group] = {}
        self._with_pointers = [_points(kind) for kind in self.file.structs]
        self._sort()

    def _sort(self) -> None:
        group = None
        for block in self.file.blocks:
            if block.code == b"DATA":
                if group is not None:
                    group.blocks.append(block)
            elif len(block.code) == 2:
                group = Group(block, self._name(block))
                group.blocks.append(block)
                self.groups.append(group)
                self._heads[block.addr_old] = group
            else:
                group = None

    def _name(self, block: Any) -> bytes:
        head = Record(self, block, block.file_offset)
        return head.text(b"name") if block.code == b"ID" else head.text(b"id", b"name")

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the unpacked file."""
        self.file.fileobj.seek(offset)
        return bytes(self.file.fileobj.read(size))

    def number(self, offset: int, kind: Any) -> int:
        """The number of a field of this kind at `offset`."""
        size = self.pointer_size if kind.name.is_pointer else kind.dna_type.size
        unsigned = kind.name.is_pointer or kind.dna_type.dna_type_id.startswith(b"u")
        code = _FORMATS[size]
        (value,) = struct.unpack("<" + (code.upper() if unsigned else code), self.read(offset, size))
        return int(value)

    def block_at(self, address: int) -> Any | None:
        """The block with this address in the memory of the Blender that wrote it."""
        return self.file.block_from_addr.get(address) if address else None

    def group_at(self, address: int) -> Group | None:
        """The data-block with this address."""
        return self._heads.get(address)

    def records(self, group: Group) -> Iterator[Record]:
        """All structs of a data-block."""
        for block in group.blocks:
            yield from self.records_of(block)

    def records_of(self, block: Any) -> Iterator[Record]:
        """The structs of one block."""
        size = block.dna_type.size
        for index in range(min(block.count, block.size // size if size else 0)):
            yield Record(self, block, block.file_offset + index * size)

    def head(self, group: Group) -> Record:
        """The struct a data-block is named by."""
        return Record(self, group.head, group.head.file_offset)

    def library_of(self, group: Group) -> Group | None:
        """The library a data-block comes from; also one whose data is packed into this file."""
        path = (b"lib",) if group.head.code == b"ID" else (b"id", b"lib")
        return self.group_at(self.head(group).number(*path))

    def references(self, group: Group) -> list[Group]:
        """The data-blocks this one points to. Whatever equals the address of one counts: at worst a file
        more is taken along.
        """
        found: dict[int, Group] = {}
        for block in group.blocks:
            if self._with_pointers[block.sdna_index] or self._untyped(block):
                for address in self._words(block, group.head is block):
                    other = self._heads.get(address)
                    if other is not None and other is not group:
                        found[address] = other
        return list(found.values())

    def _untyped(self, block: Any) -> bool:
        return bool(block.sdna_index == 0 and block.size <= LARGEST_UNTYPED)

    def _words(self, block: Any, is_head: bool) -> set[int]:
        data = self.read(block.file_offset, block.size)[_OWN_LINKS if is_head else 0 :]
        whole = len(data) - len(data) % self.pointer_size
        return set(memoryview(data[:whole]).cast("Q" if self.pointer_size == 8 else "I"))


def _points(kind: Any, depth: int = 0) -> bool:
    return any(one.name.is_pointer or (depth < 8 and _points(one.dna_type, depth + 1)) for one in kind.fields)


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

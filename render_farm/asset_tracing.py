# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a .blend reads, found without starting Blender.

Runs in the packing program only (`render_farm/packing.py`): it parses a stranger's file. Each data-block
is looked at for itself: one that cannot be read costs its own files, and is named in a note.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from farm_protocol.errors import FarmError
from render_farm.asset_rules import AssetRules, files_of, find_moved
from render_farm.blend_blocks import BlendData, Group
from render_farm.blend_header import read_header
from render_farm.color_names import ColorName, color_names
from render_farm.path_fields import PathField, path_fields
from render_farm.shipped_assets import shipped_twin

_NOT_RENDERED = frozenset({b"BR", b"PL", b"SN", b"SO", b"SR", b"TX", b"WM", b"WS"})
"""Brushes, palettes, windows, sounds and texts: no picture needs their files."""
_MOST_LIBRARIES = 10_000
_MOST_USES = 200_000


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a file by the .blend `blend`: `path` is where it is (absolute; a pattern or a folder
    for more than one file), `base` the .blend that `//` in it is relative to.
    """

    blend: Path
    field: PathField
    path: Path
    base: Path

    @property
    def named(self) -> str:
        """What the .blend said."""
        return os.fsdecode(self.field.path)


@dataclass(slots=True)
class Trace:
    """All uses of files, the paths nothing was found at, and what else is worth saying."""

    found: list[Use] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    colors: list[ColorName] = field(default_factory=list)
    opened: dict[Path, BlendData] = field(default_factory=dict)
    anchors: dict[tuple[Path, Path], Use] = field(default_factory=dict)
    """Libraries whose data is packed: none is read, but the paths in their data are relative to them."""


def trace(scene: Path, rules: AssetRules) -> Trace:
    """Trace `scene` and what it links of libraries. Raises InvalidInput where the file is damaged."""
    walk = _Walk(scene, rules)
    walk.main()
    return walk.trace


class _Walk:
    def __init__(self, scene: Path, rules: AssetRules) -> None:
        self.scene, self.rules = scene, rules
        self.trace = Trace()
        self._done: set[tuple[Path, bytes]] = set()
        self._queue: list[tuple[Path, set[bytes]]] = []

    def main(self) -> None:
        data = self._open(self.scene)
        self._visit(data, [group for group in data.groups if _is_rendered(group)])
        while self._queue:
            path, names = self._queue.pop()
            self._library(path, names)

    def _open(self, path: Path) -> BlendData:
        if path not in self.trace.opened:
            self.trace.opened[path] = BlendData(path, self.scene)
        return self.trace.opened[path]

    def _library(self, path: Path, names: set[bytes]) -> None:
        """What is linked of a library: the data-blocks named, and all they lead to."""
        if self.rules.refusal(path) and shipped_twin(path) != path:
            return
        try:
            read_header(path)
            data = self._open(path)
        except FarmError as error:
            self.trace.notes.append(error.sentence)
            return
        wanted = [group for group in data.groups if group.name in names]
        found = {id(group): group for group in wanted}
        while wanted:
            for other in data.references(wanted.pop()):
                if id(other) not in found and _is_rendered(other):
                    found[id(other)] = other
                    wanted.append(other)
        self._visit(data, list(found.values()))

    def _visit(self, data: BlendData, groups: list[Group]) -> None:
        for group in groups:
            if (data.path, group.name) in self._done or len(self.trace.found) > _MOST_USES:
                continue
            self._done.add((data.path, group.name))
            try:
                self._data_block(data, group)
            except (FarmError, OSError, ValueError, LookupError, TypeError) as error:
                name = group.name.decode("utf-8", "replace")
                note = f"{name} in {data.path.name} could not be searched for files ({type(error).__name__})."
                self.trace.notes.append(note)
        self._link(data, [group for group in groups if group.head.code == b"ID"])

    def _data_block(self, data: BlendData, group: Group) -> None:
        base = self._base(data, group)
        for item in path_fields(data, group):
            self._use(data, item, base)
        self.trace.colors += color_names(data, group)

    def _base(self, data: BlendData, group: Group) -> Path:
        """The .blend whose folder `//` stands for: of data packed into the file, its old library."""
        library = data.library_of(group)
        if library is None:
            return data.path
        head = data.head(library)
        path = _absolute(head.text(b"name"), data.path.parent)
        if not path.is_absolute():
            return data.path
        path = shipped_twin(path) or path
        item = PathField(head.text(b"name"), head.place(b"name"))
        self.trace.anchors[data.path, path] = Use(data.path, item, path, data.path)
        return path

    def _use(self, data: BlendData, item: PathField, base: Path) -> None:
        wanted = _absolute(item.path, base.parent)
        path = _located(wanted, item, self.rules)
        if path is not None:
            self.trace.found.append(Use(data.path, item, path, base))
        elif not item.optional:
            self.trace.missing.append(str(wanted))

    def _link(self, data: BlendData, placeholders: list[Group]) -> None:
        """Queue what a file links. Libraries nothing is linked from, or that are packed, need no file."""
        wanted: dict[int, tuple[Group, set[bytes]]] = {}
        for group in placeholders:
            library = data.library_of(group)
            if library is not None:
                wanted.setdefault(id(library), (library, set()))[1].add(group.name)
        for library, names in wanted.values():
            head = data.head(library)
            if not head.number(b"packedfile") and len(self._done) < _MOST_LIBRARIES * 100:
                self._use_library(data, PathField(head.text(b"name"), head.place(b"name")), names)

    def _use_library(self, data: BlendData, item: PathField, names: set[bytes]) -> None:
        wanted = _absolute(item.path, data.path.parent)
        path = shipped_twin(wanted) or _located(wanted, item, self.rules)
        if path is None:
            self.trace.missing.append(str(wanted))
            return
        self.trace.found.append(Use(data.path, item, path, data.path))
        self._queue.append((path, names))


def _is_rendered(group: Group) -> bool:
    return group.name[:2] not in _NOT_RENDERED and group.head.code not in {b"LI", *_NOT_RENDERED}


def _absolute(path: bytes, base: Path) -> Path:
    r"""A path of a .blend as one of this machine; `C:\...` stays what it is."""
    text = os.fsdecode(path)
    if text.startswith("//"):
        text = str(base / text[2:].replace("\\", "/").lstrip("/"))
    return Path(os.path.normpath(text) if text.startswith("/") else text)


def _located(path: Path, item: PathField, rules: AssetRules) -> Path | None:
    if path.is_absolute() and _is_there(path, item):
        return path
    if item.guess or item.place is None:
        return None
    return find_moved(str(path), rules.base, sequence=item.sequence, members=item.members)


def _is_there(path: Path, item: PathField) -> bool:
    if item.members or item.guess:
        return bool(files_of(path, sequence=item.sequence, members=item.members))
    return os.path.lexists(path) or bool(files_of(path, sequence=item.sequence))

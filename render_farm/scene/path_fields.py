# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a .blend keeps the paths of the files it reads, struct by struct.

A table, not a walk: each struct is looked at for itself, so that one that cannot be read costs no other.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from render_farm.scene.blend_blocks import BlendData, Group, Place, Record

BAKED_NODES = r"(?:meta/-?[0-9]+_[0-9]+\.json|blobs/-?[0-9]+_[0-9]+(?:_file_[0-9]+)?\.(?:blob|vdb))"
FLUID = (
    r"(?:config|data|guiding|mesh|noise|particles)/[A-Za-z][A-Za-z_]{0,40}_-?[0-9]{4,7}"
    r"\.(?:uni|vdb|raw|bobj|bobj\.gz|obj)"
)
"""Files are known by the names that Blender gives them, in the folders it makes, and by nothing shorter: what
else lies in a folder that a scene calls a cache is not its file.
"""
OCEAN = r"(?:disp|normal|foam|spray|spray_inverse)_[0-9]+\.exr"
SHAPES = frozenset({".csv", ".obj", ".ply", ".stl", ".txt", ".vdb"})
"""What nodes read by a path in a text."""

_FILE, _SEQUENCE, _MOVIE, _TILED = 1, 2, 3, 6
_EXTERNAL_CACHE, _DISK_CACHE = 1 << 9, 1 << 6
_PACKED, _CUSTOM_PATH = 1, 1 << 1
_TEXT_PROPERTY = 0
_LONGEST_TEXT = 1024
_BEGINNING = re.compile(rb"(?://|/[^/]+/[^/]+/|[A-Za-z]:[\\/])(?:[^{\0]+[\\/])?([^{\\/\0]+)(?=\{|\Z)")
_NUMBERED = r"[^/]*\.(?:csv|obj|ply|stl|vdb)"


@dataclass(frozen=True, slots=True)
class PathField:
    """A path as the .blend has it. `text` is the whole path or, where `leaf` names a file in it, its
    folder; `members` is the pattern of what belongs to a cache in the folder `text` names. `place` is
    None for paths Blender makes up itself; `guess` marks a text that may be no path at all, and `stem` is
    how the names of its files begin, where nodes put the rest behind it.
    """

    text: bytes
    place: Place | None
    leaf: bytes = b""
    sequence: bool = False
    members: str = ""
    guess: bool = False
    stem: bytes = b""

    @property
    def path(self) -> bytes:
        """The whole path; the folder of several files."""
        if self.stem:
            return self.text.removesuffix(self.stem)
        joint = b"" if not self.leaf or self.text.endswith((b"/", b"\\")) or not self.text else b"/"
        return self.text + joint + self.leaf

    @property
    def optional(self) -> bool:
        """Whether nothing is missing where no file is: an unbaked simulation is named as such."""
        return bool(self.members) or self.guess


Reader = Callable[[Record, Group, BlendData], Iterator[PathField]]
READERS: dict[bytes, Reader] = {}


def path_fields(data: BlendData, group: Group) -> Iterator[PathField]:
    """The paths in a data-block; libraries apart."""
    for block in group.blocks:
        reader = READERS.get(block.dna_type_id)
        if reader is not None:
            for record in data.records_of(block):
                yield from (found for found in reader(record, group, data) if found.path)


def _of(*names: bytes) -> Callable[[Reader], Reader]:
    def register(reader: Reader) -> Reader:
        READERS.update(dict.fromkeys(names, reader))
        return reader

    return register


def _field(record: Record, name: bytes, **more: object) -> Iterator[PathField]:
    place = record.place(name)
    if place is not None:
        yield PathField(record.text(name), place, **more)  # type: ignore[arg-type]


# --- data-blocks --------------------------------------------------------------------------------------


@_of(b"Image")
def _image(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    source = record.number(b"source")
    packed = record.number(b"packedfile") or record.number(b"packedfiles", b"first")
    if not packed and source in {_FILE, _SEQUENCE, _MOVIE, _TILED}:
        yield from _field(record, b"name", sequence=source in {_SEQUENCE, _TILED})


@_of(b"MovieClip")
def _clip(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    yield from _field(record, b"name", sequence=record.number(b"source") == 1)


@_of(b"VFont")
def _font(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    if not record.number(b"packedfile") and record.text(b"name") != b"<builtin>":
        yield from _field(record, b"name")


@_of(b"CacheFile", b"Volume")
def _cache_file(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    if not record.number(b"packedfile"):
        yield from _field(record, b"filepath", sequence=bool(record.number(b"is_sequence")))


@_of(b"CacheFileLayer", b"MeshCacheModifierData")
def _plain(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    yield from _field(record, b"filepath")


@_of(b"ImageView")
def _view(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    """The picture of one eye, where each has a file of its own."""
    yield from _field(record, b"filepath", guess=True)


@_of(b"Camera")
def _camera(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    if record.number(b"custom_mode"):
        yield from _field(record, b"custom_filepath")


@_of(b"NodeShaderScript", b"NodeShaderTexIES")
def _node_file(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    if record.number(b"mode"):
        yield from _field(record, b"filepath")


@_of(b"CustomDataExternal")
def _multires(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    yield from _field(record, b"filename")


@_of(b"Sequence")
def _strip(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    """A strip of the sequencer; sounds are heard in no picture."""
    if record.number(b"type") not in {0, 3}:
        return
    for strip in record.pointed(b"strip"):
        place = strip.place(b"dir")
        for element in strip.pointed(b"stripdata"):
            yield PathField(strip.text(b"dir"), place, leaf=element.text(b"name"))


# --- caches -------------------------------------------------------------------------------------------


@_of(b"OceanModifierData")
def _ocean(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    if record.number(b"cached"):
        yield from _field(record, b"cachepath", members=OCEAN)


@_of(b"FluidDomainSettings")
def _fluid(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    yield from _field(record, b"cache_directory", members=FLUID)


@_of(b"NodesModifierData")
def _nodes(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    """Bakes of simulation zones and bake nodes that lie on disk."""
    inherited = record.number(b"bake_target")
    for bake in record.pointed(b"bakes"):
        if (bake.number(b"bake_target") or inherited) == _PACKED:
            continue
        if bake.number(b"flag") & _CUSTOM_PATH:
            yield from _field(bake, b"directory", members=BAKED_NODES)
        else:
            members = f"{bake.number(b'id') & 0xFFFFFFFF}/{BAKED_NODES}"
            yield from _field(record, b"simulation_bake_directory", members=members)


@_of(b"PointCache")
def _points(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    flag, name = record.number(b"flag"), record.text(b"name").decode("utf-8", "surrogateescape")
    if flag & _EXTERNAL_CACHE:
        yield from _field(record, b"path", members=_point_files(name))
    elif flag & _DISK_CACHE:
        name = name or group.name[2:].hex().upper()
        for owner in dict.fromkeys((data.path, data.main)):
            folder = bytes(owner.with_name(f"blendcache_{owner.name.removesuffix('.blend')}"))
            yield PathField(folder, None, members=_point_files(name))


def _point_files(name: str) -> str:
    return re.escape(name) + r"_[0-9]{6}(?:_[0-9]{2})?\.bphys"


# --- texts that may be paths --------------------------------------------------------------------------


@_of(b"bNodeSocketValueString")
def _socket(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    yield from _guess(record.text(b"value"), record.place(b"value"))


@_of(b"NodeInputString")
def _text_node(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    yield from _guess(record.text(b"string"), record.place(b"string"))


@_of(b"IDProperty")
def _property(record: Record, group: Group, data: BlendData) -> Iterator[PathField]:
    if record.number(b"type") == _TEXT_PROPERTY:
        place = record.place(b"data", b"pointer")
        if place is not None and place.size <= _LONGEST_TEXT:
            yield from _guess(record.text(b"data", b"pointer"), place)


def _guess(text: bytes, place: Place | None) -> Iterator[PathField]:
    """A path of a file that nodes read, or the beginning of one that they put together."""
    if place is None:
        return
    if b"{" not in text and any(text.lower().endswith(ending.encode()) for ending in SHAPES):
        yield PathField(text, place, guess=True)
    begin = _BEGINNING.match(text)
    if begin is not None:
        members = re.escape(begin[1].decode("utf-8", "surrogateescape")) + _NUMBERED
        yield PathField(text, place, members=members, guess=True, stem=text[begin.start(1) :])

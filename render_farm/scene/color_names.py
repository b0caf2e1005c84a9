# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of colour spaces, looks, views and displays a .blend uses.

Blender replaces a name that its configuration lacks, mostly without a word, so they are read from the
file itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from render_farm.scene.blend_blocks import BlendData, Group, Record

_MOST_NAMES = 1000
_SPACES = {
    b"Image": ((b"colorspace_settings", b"name"),),
    b"MovieClip": ((b"colorspace_settings", b"name"),),
    b"Strip": ((b"colorspace_settings", b"name"),),
    b"NodeConvertColorSpace": ((b"from_color_space",), (b"to_color_space",)),
}
_OVERRIDE = 1


@dataclass(frozen=True, slots=True)
class ColorName:
    """A name and what it is of: `kind` is "space", "look", "view" or "display"; `owner` the data-block
    with its two letters, SCScene; `part` of a scene is "view", "output", "sequencer", else "".
    """

    owner: str
    kind: str
    name: str
    part: str = ""


def color_names(data: BlendData, group: Group) -> Iterator[ColorName]:
    """The names in a data-block."""
    owner = group.name.decode("utf-8", "replace")
    for block in group.blocks:
        kind = block.dna_type_id
        for record in data.records_of(block) if kind in _SPACES or kind in _READERS else ():
            for path in _SPACES.get(kind, ()):
                yield from _named(owner, "space", record, path, "sequencer" if kind == b"Strip" else "")
            if kind in _READERS:
                yield from _READERS[kind](owner, record)


def _named(
    owner: str, kind: str, record: Record, path: tuple[bytes, ...], part: str = ""
) -> Iterator[ColorName]:
    name = record.text(*path).decode("utf-8", "replace")
    if name:
        yield ColorName(owner, kind, name, part)


def _shown(owner: str, record: Record, path: tuple[bytes, ...], part: str) -> Iterator[ColorName]:
    yield from _named(owner, "display", record, (*path, b"display_settings", b"display_device"), part)
    yield from _named(owner, "view", record, (*path, b"view_settings", b"view_transform"), part)
    yield from _named(owner, "look", record, (*path, b"view_settings", b"look"), part)


def _scene(owner: str, record: Record) -> Iterator[ColorName]:
    yield from _shown(owner, record, (), "view")
    path = (b"sequencer_colorspace_settings", b"name")
    yield from _named(owner, "space", record, path, "sequencer")
    yield from _format(owner, record, (b"r", b"im_format"))


def _format(owner: str, record: Record, path: tuple[bytes, ...]) -> Iterator[ColorName]:
    """A file format uses names of its own only where it overrides the scene's."""
    if record.number(*path, b"color_management") == _OVERRIDE:
        yield from _shown(owner, record, path, "output")
        yield from _named(owner, "space", record, (*path, b"linear_colorspace_settings", b"name"), "output")


def _display_node(owner: str, record: Record) -> Iterator[ColorName]:
    yield from _shown(owner, record, (), "")


def _file_output(owner: str, record: Record) -> Iterator[ColorName]:
    yield from _format(owner, record, (b"format",))


_READERS: dict[bytes, Callable[[str, Record], Iterator[ColorName]]] = {
    b"Scene": _scene,
    b"NodeConvertToDisplay": _display_node,
    b"NodeImageMultiFile": _file_output,
    b"NodeCompositorFileOutputItem": _file_output,
}

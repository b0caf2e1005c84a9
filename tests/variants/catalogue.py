# SPDX-License-Identifier: GPL-3.0-or-later
"""The variants by name, read from the modules' source: nothing here loads Blender."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.variants import ways

SAMPLE_FRAMES = (4,)


@dataclass(frozen=True)
class Entry:
    """One variant: its kind is the module it stands in; `said` a piece of what must be said of it."""

    name: str
    kind: str
    way: str
    frames: tuple[int, ...] = SAMPLE_FRAMES
    said: str = ""


def _entries() -> Iterator[Entry]:
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                yield from _registered(path.stem, node)


def _registered(kind: str, function: ast.FunctionDef) -> Iterator[Entry]:
    for call in function.decorator_list:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "variant":
            (way,) = call.args
            assert isinstance(way, ast.Name)
            more = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
            yield Entry(function.name, kind, getattr(ways, way.id), **more)


ENTRIES = {entry.name: entry for entry in _entries()}


def names(*wanted: str) -> tuple[str, ...]:
    """The variants that go one of these ways."""
    return tuple(name for name, entry in ENTRIES.items() if entry.way in wanted)

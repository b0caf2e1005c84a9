# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's path templates: `{scene_name}_{resolution_x:####}` becomes what Blender 5 makes of it."""

import math
import re
from collections.abc import Mapping

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import Naming

Value = str | int | float

MOST_DIGITS = 100

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
_FORMAT = re.compile(r"(#*)(?:\.(#+))?")
_UNSAFE = re.compile(r'[\x00-\x1f/\\?*:|"<>]')


def fill_in(pattern: str, variables: Mapping[str, Value]) -> str:
    """The path with its variables' values. Raises InvalidInput for what Blender does not understand."""
    return _TOKEN.sub(lambda found: _token(found[0], pattern, variables), pattern)


def escape(text: str) -> str:
    """A text that a template shows as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def variables(naming: Naming, frame: int, size: tuple[int, int], folder: str) -> dict[str, Value]:
    """Blender's variables at a frame: `size` of the whole frame in pixels, `folder` of the .blend."""
    known: dict[str, Value] = {
        "blend_name": _file_name(naming.blend),
        "blend_dir": folder,
        "scene_name": _file_name(naming.scene),
        "fps": naming.fps,
        "resolution_x": size[0],
        "resolution_y": size[1],
    }
    camera = camera_at(naming, frame)
    return known | {"camera_name": _file_name(camera)} if camera else known


def camera_at(naming: Naming, frame: int) -> str:
    """The camera that renders: of the last marker up to the frame, else of the first, else the scene's."""
    if not naming.cameras:
        return naming.camera
    before = [marked for marked in naming.cameras if marked[0] <= frame]
    return max(before, key=_frame)[1] if before else min(naming.cameras, key=_frame)[1]


def _frame(marked: tuple[int, str]) -> int:
    return marked[0]


def _file_name(text: str) -> str:
    """As Blender makes a name fit for a file: never a folder, never only dots."""
    name = _UNSAFE.sub("_", text)
    return "_" + name[1:] if name and not name.strip(".") else name


def _token(token: str, pattern: str, known: Mapping[str, Value]) -> str:
    if token in {"{{", "}}"}:
        return token[0]
    name, colon, form = token[1:-1].partition(":")
    if len(token) == 1 or name not in known:
        names = ", ".join(f"{{{one}}}" for one in sorted(known)) or "nothing is known of the scene here"
        raise InvalidInput(
            f"'{token}' in the output '{pattern[:200]}' is no variable that can be filled in ({names}); "
            f"write {{{{ and }}}} for braces."
        )
    value = known[name]
    spec = _FORMAT.fullmatch(form) if colon else None
    if colon and (not form or spec is None or isinstance(value, str) or len(form) > MOST_DIGITS):
        raise InvalidInput(f"'{token}' is no number format of Blender's: write {{{name}:####}} for digits.")
    return _formatted(value, spec)


def _formatted(value: Value, spec: "re.Match[str] | None") -> str:
    if isinstance(value, str):
        return value
    if spec is None:
        return str(value)
    whole, part = len(spec[1]), len(spec[2] or "")
    if isinstance(value, int):
        return f"{value:0{whole}d}" + ("." + "0" * part if part else "")
    if not part:
        return f"{math.floor(value + 0.5):0{whole}d}"
    return f"{value:0{whole + part + 1}.{part}f}" if whole else f"{value:.{part}f}"

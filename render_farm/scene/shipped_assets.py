# SPDX-License-Identifier: GPL-3.0-or-later
"""The asset library that comes with Blender: a scene may name it by the path of any machine's Blender."""

import filecmp
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PLACE = "_blender"
"""The folder of a bundle these files lie in."""

_SHIPPED = re.compile(r"[\\/]datafiles[\\/]assets[\\/]((?:[\w-]+[\\/])*[\w-]+\.blend)$")


def shipped_twin(named: Path) -> Path | None:
    """The farm's own copy of the shipped file that `named` is, or is called. None for other files, and for
    one that another version of Blender left here with other contents.
    """
    match = _SHIPPED.search(str(named))
    own = match and _assets() and _assets() / match[1].replace("\\", "/")  # type: ignore[operator]
    if not isinstance(own, Path) or not own.is_file():
        return None
    return None if named.is_file() and not filecmp.cmp(named, own, shallow=False) else own


def shipped_name(path: Path) -> str | None:
    """Where a shipped file lies in a bundle; None for other files."""
    folder = _assets()
    if folder is None or not path.is_relative_to(folder):
        return None
    return f"{PLACE}/{path.relative_to(folder).as_posix()}"


@cache
def _assets() -> Path | None:
    """The folder of the Blender this farm renders with."""
    spec = find_spec("bpy")
    for place in (spec.submodule_search_locations if spec else None) or ():
        for folder in sorted(Path(place).glob("*/datafiles/assets")):
            return folder
    return None

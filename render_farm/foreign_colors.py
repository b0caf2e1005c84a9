# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of colours that the configuration at hand lacks: Blender takes others for them, without a word."""

from collections.abc import Iterable, Iterator

from farm_protocol.facts import ColorNames
from render_farm.packing import NamedColor

_OLD = frozenset(
    {"Default", "Film", "Linear", "Linear ACES", "Linear ACEScg", "None", "Raw", "RRT", "VD16", "XYZ"}
)
"""Names that earlier Blenders came with, which this one knows how to replace."""
_WORDS = {"space": "colour space", "look": "look", "view": "view transform", "display": "display"}
_MOST = 5


def foreign_colors(named: Iterable[NamedColor], known: ColorNames) -> Iterator[str]:
    """Sentences on the names that what is rendered uses and the configuration does not have."""
    if not known.spaces:
        return
    counted = [item for item in named if item.owner in known.users]
    counted = [item for item in counted if known.sequencer or item.part != "sequencer"]
    displays = {(item.owner, item.part): item.name for item in counted if item.kind == "display"}
    lacking = [item for item in counted if not _has(item, displays.get((item.owner, item.part), ""), known)]
    for item in lacking[:_MOST]:
        yield (
            f"{item.owner[2:]} uses the {_WORDS[item.kind]} '{item.name}', which the OCIO configuration here "
            f"does not have: set OCIO to your studio's configuration, or choose another in Blender."
        )


def _has(item: NamedColor, display: str, known: ColorNames) -> bool:
    if item.name in _OLD or item.name.startswith("Filmic - "):
        return True
    if item.kind == "view":
        return display not in known.displays or f"{display}/{item.name}" in known.views
    return item.name in {"space": known.spaces, "look": known.looks, "display": known.displays}[item.kind]

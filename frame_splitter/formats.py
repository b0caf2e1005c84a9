# SPDX-License-Identifier: GPL-3.0-or-later
"""File formats in Blender's words, and the extensions Blender gives them."""

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.records import RenderSettings

EXTENSIONS = {
    "BMP": ".bmp",
    "CINEON": ".cin",
    "DPX": ".dpx",
    "HDR": ".hdr",
    "IRIS": ".rgb",
    "JPEG": ".jpg",
    "JPEG2000": ".jp2",
    "OPEN_EXR": ".exr",
    "OPEN_EXR_MULTILAYER": ".exr",
    "PNG": ".png",
    "TARGA": ".tga",
    "TARGA_RAW": ".tga",
    "TIFF": ".tif",
    "WEBP": ".webp",
}

MOVIES = frozenset({"FFMPEG", "AVI_JPEG", "AVI_RAW"})
"""A movie cannot be written by many machines at once: these become PNG frames."""

SPELLINGS = {"JPG": "JPEG", "TIF": "TIFF", "EXR": "OPEN_EXR", "TGA": "TARGA", "JP2": "JPEG2000"}
"""What people type instead of Blender's word."""

KNOWN_ENDINGS = frozenset(
    {*EXTENSIONS.values(), ".jpeg", ".tiff", ".tx", ".jp2", ".j2c", ".sgi", ".rgba", ".bw", ".psd", ".dds"}
)
"""Endings Blender takes for a picture's and replaces by the right one."""


def image_format(name: str) -> str:
    """Blender's word for a file format; movies become PNG. Raises InvalidInput for unknown ones."""
    word = name.strip().upper()
    word = SPELLINGS.get(word, word)
    if word in MOVIES:
        return "PNG"
    if word not in EXTENSIONS:
        raise InvalidInput(f"'{name[:40]}' is not a file format the farm writes: use {_choices()}.")
    return word


def extension(settings: RenderSettings, facts: SceneFacts) -> str:
    """The file extension, dot included, Blender would append to a frame: none where the scene wants none."""
    if not facts.file.extension:
        return ""
    ending = EXTENSIONS[image_format(settings.format)]
    if settings.format == "JPEG2000" and facts.file.name == "JPEG2000" and facts.file.extension == ".j2c":
        return ".j2c"
    return ending


def _choices() -> str:
    names = sorted(EXTENSIONS)
    return f"{', '.join(names[:-1])} or {names[-1]}"

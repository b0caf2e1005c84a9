# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files: Blender's output patterns, and names that come from strangers."""

import os
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from pathlib import Path, PurePosixPath

from farm_protocol.errors import InvalidInput
from frame_splitter.formats import KNOWN_ENDINGS

MAX_DIGITS = 16
MAX_PATTERN = 4096
MAX_NAME = 1024
MAX_PART = 255

_HASHES = re.compile(r"#+")
_SAME_ENDINGS = {".jpg": (".jpeg",), ".tif": (".tiff",)}
_DRIVE = re.compile(r"[A-Za-z]:")
_UNWANTED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def frame_path(pattern: str, frame: int, extension: str, suffix: str = "") -> str:
    """The path Blender writes `frame` to, given its output path, whose templates are filled in, the
    format's extension and the view's suffix.

    The last run of `#` in the file's name becomes the frame number, `####` is assumed at its end
    where there is none, the suffix goes before the last dot, and the extension is appended, or put in
    the place of another picture's. Raises InvalidInput for patterns no file can have.
    """
    if "\0" in pattern or len(pattern) > MAX_PATTERN:
        raise InvalidInput("The output pattern is too long, or holds a NUL character.")
    folder, name = _split_folder(pattern)
    if not _HASHES.search(name):
        name += "####"
    runs = list(_HASHES.finditer(name))
    digits = runs[-1].end() - runs[-1].start()
    if digits > MAX_DIGITS:
        raise InvalidInput(f"The output pattern asks for {digits} digits: use at most {MAX_DIGITS} '#'.")
    name = name[: runs[-1].start()] + _number(frame, digits) + name[runs[-1].end() :]
    stem, dot, ending = name.rpartition(".")
    name = f"{stem}{suffix}{dot}{ending}" if dot else name + suffix
    return folder + _with_extension(name, extension)


FRAME = "frame"
"""What a node calls a frame's own files before the number."""

OUTPUT_FOLDERS = frozenset({"outputs", "outputs-above", "outputs-absolute", "outputs-working"})
"""The folders beside a frame that hold what File Output nodes write (`gpu_worker/child/naming.py`)."""


def view_of(name: str, frame: int, extension: str) -> tuple[str, str] | None:
    """The view's suffix and the extension of a file that a node named after the frame; None for the files
    of File Output nodes.
    """
    known = FRAME + _number(frame, 4)
    if "/" in name or not name.startswith(known):
        return None
    rest = name.removeprefix(known)
    if rest.endswith(extension):
        return rest.removesuffix(extension), extension
    suffix, dot, ending = rest.rpartition(".")
    return (suffix, dot + ending) if dot else (rest, "")


def _split_folder(pattern: str) -> tuple[str, str]:
    cut = max(pattern.rfind("/"), pattern.rfind("\\") if os.name == "nt" else -1) + 1
    return pattern[:cut], pattern[cut:]


def _number(frame: int, digits: int) -> str:
    """Blender does not count the minus sign as a digit: frame -1 under `####` is -0001."""
    return ("-" if frame < 0 else "") + str(abs(frame)).zfill(digits)


def _with_extension(name: str, extension: str) -> str:
    stem, dot, ending = name.rpartition(".")
    ending = (dot + ending).lower()
    if not dot or not extension:
        return name + extension
    if ending == extension or ending in _SAME_ENDINGS.get(extension, ()):
        return name
    return (stem if ending in KNOWN_ENDINGS else name) + extension


def refuse_overwrite(paths: Mapping[int, str], inputs: Iterable[str]) -> None:
    """Refuse output paths (by frame) that meet each other or a file the scene is read from.

    Paths are compared as the file system resolves them, links included. Raises InvalidInput.
    """
    sources = {_real(path): path for path in inputs}
    taken: dict[str, int] = {}
    for frame, path in paths.items():
        real = _real(path)
        if real in sources:
            raise InvalidInput(
                f"Frame {frame} would overwrite {sources[real]}, which the scene is read from: "
                f"choose another output."
            )
        if real in taken:
            raise InvalidInput(
                f"Frames {taken[real]} and {frame} would both be written to {path}: "
                f"put '####' into the file's name."
            )
        taken[real] = frame


def _real(path: str) -> str:
    return os.path.normcase(Path(path).resolve())


def safe_relative(name: str) -> PurePosixPath:
    """A stranger's file name as a path that stays inside the folder it is joined to.

    Raises InvalidInput for absolute names, `..`, drive letters, backslashes, control characters, and
    names longer than file systems take.
    """
    reason = _unsafe(name)
    if reason:
        raise InvalidInput(f"'{_shown(name)}' cannot be a file of a scene or a frame: {reason}.")
    return PurePosixPath(name)


def _unsafe(name: str) -> str:
    parts = name.split("/")
    checks = (
        (not name, "it is empty"),
        (_bytes(name) > MAX_NAME, f"it is longer than {MAX_NAME} bytes"),
        (name.startswith("/"), "it is absolute"),
        (_DRIVE.match(name), "it starts with a drive letter"),
        ("\\" in name, "it holds a backslash"),
        (not name.isprintable() and any(map(_is_unwanted, name)), "it holds a control character"),
        (".." in parts, "it climbs out of its folder"),
        ("" in parts or "." in parts, "it has an empty part"),
        (
            _bytes(name) > MAX_PART and any(_bytes(part) > MAX_PART for part in parts),
            f"a part of it is longer than {MAX_PART} bytes",
        ),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def _is_unwanted(letter: str) -> bool:
    return unicodedata.category(letter) in _UNWANTED


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "replace"))


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:80])


# --- names that no message may hold ---------------------------------------------------------------------

_ESCAPED = re.compile("~([a-p]{1,6})~")


def carried_name(name: str) -> str:
    """A relative path as it travels: characters that `safe_relative` refuses but disks allow, such as a
    line break, are written as letters between `~`. Other paths stay as they are.
    """
    odd = _DRIVE.match(name) is not None
    if not odd and not _ESCAPED.search(name) and not any(map(_is_odd, name)):
        return name
    name = "".join(_escape(letter) if letter == "~" or _is_odd(letter) else letter for letter in name)
    return name[0] + _escape(name[1]) + name[2:] if odd else name


def laid_out_name(name: str) -> PurePosixPath:
    """The path a file that travelled under `name` has on disk. Raises InvalidInput as `safe_relative`."""
    plain = safe_relative(name)
    if "~" not in name:
        return plain
    parts = [_ESCAPED.sub(_unescape, part) for part in plain.parts]
    if any("/" in part or "\0" in part or part in {".", ".."} or _bytes(part) > MAX_PART for part in parts):
        raise InvalidInput(f"'{_shown(name)}' cannot be a file of a scene or a frame.")
    return PurePosixPath(*parts)


def _is_odd(letter: str) -> bool:
    return letter == "\\" or _is_unwanted(letter)


def _escape(letter: str) -> str:
    return "~" + "".join(chr(ord("a") + int(digit, 16)) for digit in f"{ord(letter):x}") + "~"


def _unescape(match: re.Match[str]) -> str:
    code = int("".join(f"{ord(letter) - ord('a'):x}" for letter in match[1]), 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else match[0]


# --- colour configurations ------------------------------------------------------------------------------

_BUILT_IN = re.compile(r"ocio://[A-Za-z0-9._-]{1,200}")


def is_color_config(named: str, files: Container[str]) -> bool:
    """Whether a manifest with these files may name this OCIO configuration."""
    return not named or named in files or _BUILT_IN.fullmatch(named) is not None

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a .blend may make the artist upload.

A .blend from a stranger can name any path of the artist's machine. What goes into a bundle must be a
regular file, of a kind Blender reads by its ending and its contents, and lie where people keep work: not
among the system's files, and not in hidden folders, where keys are. What lies outside of the scene's folder
is asked for besides (`render_farm/scene/outside.py`).
"""

import os
import re
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from render_farm.scene.contents import mismatch

MAX_FILES = 100_000
MAX_ENTRIES = 1_000_000
"""Entries of one folder looked at for a sequence."""

_IMAGES = "bmp cin dds dpx exr hdr j2c jp2 jpeg jpg png psd psb rgb rgba sgi bw svg tga tif tiff tx webp"
_MOVIES = "avi flv m2t m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogg ogv r3d ts webm wmv"
_SOUNDS = "aac ac3 aif aiff flac m4a mp2 mp3 oga opus wav wma"
_FONTS = "otc otf pfb ttc ttf woff woff2"
_SHAPES = "abc bphys btx mdd obj pc2 ply stl usd usda usdc usdz vdb"
_OTHERS = "blend ies osl oso"

CACHE_ENDINGS = frozenset(f".{ending}" for ending in f"{_SHAPES} blob bobj exr gz json raw uni".split())
"""What simulations write. Only where a cache of theirs has it, under the names they give: a .json of its own
may be anything.
"""
NODE_ENDINGS = frozenset({".csv", ".txt"})
"""What nodes read besides; only where a node names it."""
ENDINGS = frozenset(
    f".{ending}"
    for group in (_IMAGES, _MOVIES, _SOUNDS, _FONTS, _SHAPES, _OTHERS)
    for ending in group.split()
)
_BACKUP = re.compile(r"\.blend[0-9]{0,2}")
_FONT_ENDINGS = frozenset(f".{ending}" for ending in _FONTS.split())
_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")
_SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/proc"),
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var",
)
_UDIM = re.compile(r"<UDIM>|<UVTILE>")
_CACHE_DEPTH = 2


@dataclass(frozen=True, slots=True)
class AssetRules:
    """The rules for one scene; `base` is the folder the scene lies in (absolute)."""

    base: Path

    def refusal(self, path: Path, endings: frozenset[str] = ENDINGS) -> str:
        """Why `path` stays here, as half a sentence; empty when it may go."""
        try:
            real = Path(os.path.realpath(path))
            seen = real.stat()
        except (OSError, ValueError) as error:
            return f"it cannot be read ({getattr(error, 'strerror', None) or error})"
        return (
            _wrong_mode(seen.st_mode)
            or self._wrong_place(path, self.base)
            or self._wrong_place(real, _real(self.base))
            or _wrong_ending(path, real, endings)
            or _wrong_name(path)
            or _wrong_contents(path, real, seen.st_size)
        )

    def folder_refusal(self, folder: Path) -> str:
        """Why no file of a cache folder may go; empty where each is judged for itself."""
        real = Path(os.path.realpath(folder))
        return self._wrong_place(folder, self.base) or self._wrong_place(real, _real(self.base))

    def _wrong_place(self, path: Path, base: Path) -> str:
        if path.suffix.lower() in _FONT_ENDINGS and in_font_folder(path):
            return ""
        for root in _above(path):
            if not _under(base, root) and not (_is_home(root) and len(path.parts) > 2):
                return "it belongs to the system"
        shared = len(os.path.commonpath((path, base)).rstrip("/").split("/"))
        if any(part.startswith(".") for part in path.parts[max(1, shared) :]):
            return "it lies in a hidden folder"
        return ""


@cache
def _real(base: Path) -> Path:
    """Where the scene's folder really lies, found once and not for each of its files."""
    return Path(os.path.realpath(base))


def _above(path: Path) -> list[str]:
    """The system's folders that a path lies in, told by text: paths come by the thousand."""
    text = str(path)
    return [root for root in _SYSTEM if text == root or text.startswith(f"{root}/")]


def _under(path: Path, root: str) -> bool:
    return path.is_relative_to(root)


def _is_home(root: str) -> bool:
    return Path.home() == Path(root)


def in_font_folder(path: Path) -> bool:
    """Whether a path lies where fonts are installed."""
    return any(path.is_relative_to(Path(folder).expanduser()) for folder in _FONT_FOLDERS)


def is_blend(path: Path) -> bool:
    """Whether a path is called as .blend files and their backups are."""
    return _BACKUP.fullmatch(path.suffix.lower()) is not None


def _wrong_mode(mode: int) -> str:
    return "" if stat.S_ISREG(mode) else "it is not a regular file"


def _wrong_ending(path: Path, real: Path, endings: frozenset[str]) -> str:
    """Links are judged by what they lead to, too: `wood.png` may be a link to a key."""
    for name in (path, real):
        if name.suffix.lower() not in endings and not _BACKUP.fullmatch(name.suffix.lower()):
            return "it is no kind of file a scene is made of"
    return ""


def _wrong_contents(path: Path, real: Path, size: int) -> str:
    """Both names are held against the contents, as with endings."""
    try:
        return next(filter(None, (mismatch(real, size, name.suffix) for name in (path, real))), "")
    except OSError as error:
        return "you may not read it" if isinstance(error, PermissionError) else f"it cannot be read ({error})"


def _wrong_name(path: Path) -> str:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return ""


def files_of(path: Path, *, sequence: bool = False, members: str = "") -> list[Path]:
    """The files an asset path stands for, as Blender reads them: one, a numbered sequence, the tiles
    of a UDIM texture, or those of the folder `path` whose relative path matches `members`.
    """
    if members:
        return _members(path, re.compile(members))
    if _UDIM.search(path.name):
        return _matching(path.parent, _udim_pattern(path.name))
    if not sequence:
        return [path] if path.is_file() else []
    return _matching(path.parent, _number_pattern(path.name))


def _udim_pattern(name: str) -> re.Pattern[str]:
    head, mark, tail = re.split(r"(<UDIM>|<UVTILE>)", name, maxsplit=1)
    tile = "[12][0-9]{3}" if mark == "<UDIM>" else "u[0-9]{1,3}_v[0-9]{1,3}"
    return re.compile(re.escape(head) + tile + re.escape(tail))


def _number_pattern(name: str) -> re.Pattern[str]:
    stem, ending = PurePosixPath(name).stem, PurePosixPath(name).suffix
    digits = list(re.finditer("[0-9]+", stem))
    if not digits:
        return re.compile(re.escape(name))
    head, tail = stem[: digits[-1].start()], stem[digits[-1].end() :]
    return re.compile(re.escape(head) + "-?[0-9]+" + re.escape(tail + ending))


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_ENTRIES or len(found) >= MAX_FILES:
                    break
                if pattern.fullmatch(entry.name):
                    found.append(folder / entry.name)
    except OSError:
        return []
    return sorted(found)


def _members(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Files at most two folders deep: no cache goes further down."""
    found: list[Path] = []
    depth = min(_CACHE_DEPTH, pattern.pattern.replace("[^/]", "").count("/"))
    seen = 0
    for parent, folders, names in os.walk(folder, followlinks=False):
        above = Path(parent).relative_to(folder)
        folders[:] = sorted(folders) if len(above.parts) < depth else []
        seen += len(names)
        found += [Path(parent, name) for name in names if pattern.fullmatch((above / name).as_posix())]
        if seen > MAX_ENTRIES or len(found) > MAX_FILES:
            break
    return sorted(found[:MAX_FILES])


def find_moved(path: str, base: Path, *, sequence: bool = False, members: str = "") -> Path | None:
    r"""Where a file named by another machine's path (`C:\work\tex\wood.png`) lies beside the scene.

    Tries the longest end of `path` first, below the scene's folder `base`, without regard to case. `sequence`
    and `members` say which files belong to it, as for `files_of`.
    """
    parts = [part for part in re.split(r"[\\/]+", path) if part and part not in (".", "..")]
    for start in range(len(parts)):
        found = _without_case(base, parts[start:])
        if found is not None and files_of(found, sequence=sequence, members=members):
            return found
    return None


def _without_case(base: Path, parts: list[str]) -> Path | None:
    at = base
    for part in parts:
        if (at / part).exists() or _UDIM.search(part):
            at = at / part
            continue
        match = _matching(at, re.compile(re.escape(part), re.IGNORECASE))
        if not match:
            return None
        at = match[0]
    return at

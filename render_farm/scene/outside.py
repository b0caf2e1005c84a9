# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that lie outside of a scene's folder: nothing of them leaves this machine unasked.

A file is inside where it really lies below the folder that the scene really lies in, whatever links say.
A folder that is nobody's project, such as the home folder or Downloads, makes nothing in it a part of the
scene.
"""

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from render_farm.scene.asset_rules import in_font_folder

REASON = "it lies outside the scene's folder, and nobody agreed to send it (--allow-outside)"

May = Callable[[Sequence[Path]], Collection[Path]]
"""Given the files outside by where they really lie, in order: those of them that may go. May raise."""

_SHARED = ("Desktop", "Documents", "Downloads", "Music", "Pictures", "Public", "Templates", "Videos")
_SYNCED = ("Dropbox", "Google Drive", "MEGA", "Nextcloud", "OneDrive", "ownCloud", "Seafile", "iCloud Drive")
"""In the home folder: whatever a person keeps, on several machines."""
_NAMED = re.compile(r'^XDG_[A-Z]+_DIR="\$HOME/?([^"\n]*)"', re.MULTILINE)
_LONGEST = 1 << 16
_SYSTEMS = frozenset({"/media", "/mnt", "/opt", "/srv", "/usr", "/var"})
_STICK = re.compile(r"(/run)?/media/[^/]+(/[^/]+)?")
"""Where desktops lay what is plugged in."""


@dataclass(frozen=True, slots=True)
class OutsideFolder:
    """A folder with the number of files the scene names in it, and their bytes."""

    folder: str
    files: int
    bytes: int


def none_may(files: Sequence[Path]) -> Collection[Path]:
    """Nothing from outside goes."""
    return ()


class Fence:
    """What is a part of the scene in the folder `base`."""

    def __init__(self, base: Path) -> None:
        self._base = Path(os.path.realpath(base))
        self._is_shared = is_shared(self._base)

    def real_if_outside(self, source: str) -> Path | None:
        """Where a file really lies, if that is outside; None for what belongs to the scene, and for fonts
        everybody has.
        """
        real = Path(os.path.realpath(source))
        if in_font_folder(real) or (real.is_relative_to(self._base) and not self._is_shared):
            return None
        return real

    def outside(self, sources: Iterable[str]) -> dict[str, Path]:
        """Those of the files that lie outside, and where they really do."""
        found = ((source, self.real_if_outside(source)) for source in sources)
        return {source: real for source, real in found if real is not None}


def is_shared(folder: Path) -> bool:
    """Whether a folder holds whatever a person keeps, or everybody's files, and is no project's own."""
    whole = any(one == folder or one.is_relative_to(folder) for one in _everybodys())
    return whole or folder in _persons() or str(folder) in _SYSTEMS or bool(_STICK.fullmatch(str(folder)))


@cache
def _everybodys() -> frozenset[Path]:
    """The home folder, temporary folders: and whatever holds these."""
    folders = (Path.home(), Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))  # noqa: S108
    return frozenset(Path(os.path.realpath(folder)) for folder in folders)


@cache
def _persons() -> frozenset[Path]:
    """Folders like Downloads, in this person's language, too."""
    home = Path.home()
    return frozenset(Path(os.path.realpath(home / name)) for name in (*_SHARED, *_SYNCED, *_own_names(home)))


def _own_names(home: Path) -> Iterator[str]:
    try:
        with (home / ".config" / "user-dirs.dirs").open(encoding="utf-8", errors="replace") as file:
            yield from _NAMED.findall(file.read(_LONGEST))
    except OSError:
        return


def by_folder(files: Iterable[Path]) -> tuple[OutsideFolder, ...]:
    """The files counted folder by folder."""
    counts: dict[str, tuple[int, int]] = {}
    for file in files:
        number, size = counts.get(str(file.parent), (0, 0))
        counts[str(file.parent)] = number + 1, size + _size(file)
    return tuple(OutsideFolder(folder, *counts[folder]) for folder in sorted(counts))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0

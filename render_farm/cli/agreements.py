# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person agreed to before: which files outside of a project may be sent, which scenes may be opened.

Kept in the user's own state folder, never in a project: a project that came from elsewhere would bring its
answers along.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from farm_protocol.errors import FarmError
from farm_protocol.fields import decode, encode
from farm_protocol.files import write_private
from render_farm.scene.outside import is_shared

NAME = "agreed.json"
MOST_PROJECTS = 1_000
MOST_FILES = 10_000
"""Of one project, and of scenes; of more than that the oldest are forgotten, and asked for again."""
MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Project:
    """Files that may go though they lie outside, and folders of which everything may."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreed:
    """All that was agreed to: `projects` by the folder a scene lies in, `scenes` are sha256s of .blend files
    that may be opened without a sandbox, `folders` those of which all may.
    """

    projects: dict[str, Project] = field(default_factory=dict)
    scenes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


class Agreements:
    """The answers kept in the folder `state`, as far as they concern scenes in the folder `base`. Where the
    one lies in the other, or the file is not the user's alone, there are none and none are kept.
    """

    def __init__(self, state: Path, base: Path) -> None:
        self._path = state / NAME
        self._base = os.path.realpath(base)
        self._is_kept = not Path(os.path.realpath(state)).is_relative_to(self._base) or is_shared(
            Path(self._base)
        )

    @property
    def base(self) -> Path:
        """The folder of the scenes, links followed."""
        return Path(self._base)

    @property
    def outside(self) -> Project:
        """What may go of the files outside of this project."""
        return self._read().projects.get(self._base, Project())

    def allow(self, files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
        """Remember that these may go with this project."""
        known = self._read()
        before = known.projects.get(self._base, Project())
        now = Project(
            _newest(before.files, map(str, files)),
            _newest(before.folders, map(str, folders)),
        )
        others = {base: one for base, one in known.projects.items() if base != self._base}
        projects = {**dict(list(others.items())[1 - MOST_PROJECTS :]), self._base: now}
        self._write(replace(known, projects=projects))

    def trusts(self, blend: Path, sha256: str) -> bool:
        """Whether a .blend may be opened without a sandbox."""
        known = self._read()
        real = Path(os.path.realpath(blend))
        return sha256 in known.scenes or any(real.is_relative_to(folder) for folder in known.folders)

    def trust(self, sha256s: Iterable[str], folders: Iterable[Path] = ()) -> None:
        """Remember that these may be opened."""
        known = self._read()
        scenes, there = _newest(known.scenes, sha256s), _newest(known.folders, map(str, folders))
        self._write(replace(known, scenes=scenes, folders=there))

    def _read(self) -> Agreed:
        """What is there; nothing where that is damaged, or others may have written it."""
        if not self._is_kept:
            return Agreed()
        try:
            with self._path.open("rb") as file:
                seen = os.fstat(file.fileno())
                is_own = seen.st_uid == os.getuid() and not stat.S_IMODE(seen.st_mode) & 0o077
                data = file.read(MOST_BYTES + 1) if is_own else b""
            return decode(data, Agreed) if 0 < len(data) <= MOST_BYTES else Agreed()
        except (OSError, FarmError):
            return Agreed()

    def _write(self, known: Agreed) -> None:
        """Raises FarmError where the disk does not take it."""
        if not self._is_kept:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._path, encode(known))
        except OSError as error:
            raise FarmError(f"{self._path} cannot be written: {error.strerror}.") from error


def _newest(before: tuple[str, ...], added: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *added)))[-MOST_FILES:]

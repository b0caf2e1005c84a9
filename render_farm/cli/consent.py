# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked before a file leaves this machine, or a stranger's file is opened on it.

On a terminal with yes or no, and the answer is remembered; in scripts options must say it.
"""

import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from farm_protocol.errors import InvalidInput
from render_farm.cli.agreements import Agreements
from render_farm.cli.console import Console
from render_farm.outside import OutsideFolder, by_folder, is_shared
from render_farm.wording import counted

_SHOWN = 20
YES, FOLDERS = ("y", "yes"), ("f", "folder", "folders")


class OutsideRefused(InvalidInput):
    """The scene names files outside of its folder that nobody agreed to send."""

    code = "outside"


class Untrusted(InvalidInput):
    """A file would be opened without a sandbox, and nobody said who made it."""

    code = "untrusted"


class Outside:
    """Decides on files outside of the scene's folder: those below `allowed`, and those agreed to before, go;
    for others a person is asked. Where there is none they stay: `render_farm.outside.May`.
    """

    def __init__(
        self, console: Console, agreements: Agreements, allowed: Sequence[Path], *, allow_missing: bool
    ) -> None:
        self._console, self._agreements, self._allow_missing = console, agreements, allow_missing
        self._allowed = [Path(os.path.realpath(folder.expanduser())) for folder in allowed]

    def __call__(self, files: Sequence[Path]) -> Collection[Path]:
        """Those that may go. Raises OutsideRefused where nobody can be asked, unless the scene may be
        rendered without them.
        """
        asked = self.unanswered(files)
        agreed = set(files) - set(asked)
        if asked and self._agree(asked):
            agreed |= set(asked)
        for line in lines(agreed):
            self._console.say(f"Taken along from outside the scene's folder: {line}")
        return agreed

    def unanswered(self, files: Sequence[Path]) -> list[Path]:
        """Those of the files that no option and no earlier answer allows."""
        before = self._agreements.outside
        known, folders = set(before.files), [*self._allowed, *map(Path, before.folders)]
        return [
            file
            for file in files
            if str(file) not in known and not any(file.is_relative_to(folder) for folder in folders)
        ]

    def _agree(self, files: Sequence[Path]) -> bool:
        if not self._console.has_somebody:
            if self._allow_missing:
                return False
            raise OutsideRefused(_refusal(files, self._agreements.base))
        told = ["The scene names files outside of its folder. They would be sent to the farm's machines:"]
        told += [f"  {line}" for line in (*lines(files), *homeless(files, self._agreements.base))]
        folders = list(_own_folders(files))
        more = "all in these [f]olders from now on / " if folders else ""
        answer = self._console.ask(told, f"Send them? [y]es, these files / {more}[N]o:")
        if answer not in FOLDERS + YES:
            if self._allow_missing:
                return False
            raise OutsideRefused(
                f"Nothing was sent: you said no to {counted(len(files), 'file')} outside of the scene's "
                f"folder. --allow-missing renders without what is not sent."
            )
        self._agreements.allow(files, folders if answer in FOLDERS else ())
        return True


def _own_folders(files: Sequence[Path]) -> Iterator[Path]:
    """The files' folders; never the home folder and its like as a whole."""
    yield from (folder for folder in dict.fromkeys(file.parent for file in files) if not is_shared(folder))


def homeless(files: Collection[Path], base: Path) -> list[str]:
    """Why files count as outside that lie beside the scene, as a sentence; nothing where none do."""
    if not is_shared(base) or not any(file.is_relative_to(base) for file in files):
        return []
    return [
        f"A scene in {one_line(str(base))} has no folder of its own: move it, with its files, into a new one."
    ]


def lines(files: Collection[Path]) -> list[str]:
    """The files for people, a folder a line."""
    folders = by_folder(files)
    more = [f"and {len(folders) - _SHOWN} more folders"] if len(folders) > _SHOWN else []
    return [*map(line, folders[:_SHOWN]), *more]


def line(folder: OutsideFolder) -> str:
    """One folder: where, how many files, how much."""
    return f"{one_line(folder.folder)}/ ({counted(folder.files, 'file')}, {_size(folder.bytes)})"


def one_line(name: str) -> str:
    """A name of a stranger's choice that cannot look like two lines."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{max(1, count // 1000)} kB"


def _refusal(files: Sequence[Path], base: Path) -> str:
    folders = by_folder(files)
    options = " ".join(f"--allow-outside {shlex.quote(one_line(folder.folder))}" for folder in folders[:3])
    more = ("; ...", " ...") if len(folders) > 3 else ("", "")
    return (
        f"The scene names {counted(len(files), 'file')} outside of its folder, and nobody agreed to send "
        f"what is there: {'; '.join(lines(files)[:3])}{more[0]}. Give {options}{more[1]}, or put the files "
        f"beside the scene." + "".join(f" {sentence}" for sentence in homeless(files, base))
    )


class Trust:
    """Decides whether .blend files may be opened without a sandbox: `render_farm.doctor.Trusts`."""

    def __init__(self, console: Console, agreements: Agreements, *, trusted: bool) -> None:
        self._console, self._agreements, self._trusted = console, agreements, trusted

    def __call__(self, blends: Mapping[Path, str], reason: str) -> None:
        """Says that there is no sandbox; `blends` are files with their sha256s. Raises Untrusted where nobody
        agrees to open them.
        """
        self._console.say(f"There is no sandbox on this machine: {reason}")
        strange = {
            blend: sha256 for blend, sha256 in blends.items() if not self._agreements.trusts(blend, sha256)
        }
        if self._trusted or not strange:
            return
        names = ", ".join(one_line(str(blend)) for blend in list(strange)[:3]) + (
            " ..." if len(strange) > 3 else ""
        )
        if not self._console.has_somebody or not self._agree(strange, names):
            raise Untrusted(
                f"{names} would be opened without a sandbox, and code in a .blend can do all that you can: "
                f"`sudo apt-get install bubblewrap` brings one (`gpu-worker doctor` says what else is "
                f"missing), or --trust-file says that you know who made it."
            )

    def _agree(self, strange: Mapping[Path, str], names: str) -> bool:
        told = [
            f"{names} would be opened without one, and code in a .blend can do all that you can.",
            "`sudo apt-get install bubblewrap` brings one; `gpu-worker doctor` says what else is missing.",
        ]
        answer = self._console.ask(
            told, "Do you know who made it? [y]es, open it / open all in its [f]older from now on / [N]o:"
        )
        if answer in FOLDERS:
            reals = [Path(os.path.realpath(blend)) for blend in strange]
            self._agreements.trust(strange.values(), _own_folders(reals))
        elif answer in YES:
            self._agreements.trust(strange.values())
        return answer in FOLDERS + YES

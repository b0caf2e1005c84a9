# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files on this disk were written by this program: no farm may write over others.

Names of a frame's further files come from a farm, and behind it from whatever a scene made a node write. What
lies in their place is only replaced if it is as this program left it.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from farm_protocol.errors import FarmError
from farm_protocol.files import locked, write_private
from farm_protocol.hashing import hash_file

NAME = "written.jsonl"
MOST = 200_000
"""Files remembered; the oldest are forgotten."""
MOST_BYTES = 256 << 20

Mark = tuple[int, int]
"""A file's size in bytes and the time of its last change in nanoseconds."""


class Written:
    """The record in the folder `state`, a line a file; without one it lasts as long as this object. Safe to
    use from several threads and processes.
    """

    def __init__(self, state: Path | None = None) -> None:
        self._path = state / NAME if state is not None else None
        self._lock = threading.Lock()
        self._known = self._read()

    def is_own(self, path: Path) -> bool:
        """Whether there is nothing at `path`, or a file as this program left it."""
        if not os.path.lexists(path):
            return True
        with self._lock:
            known = self._known.get(os.path.abspath(path))
        return known is not None and known == _mark(path)

    def add(self, path: Path) -> None:
        """Remember that the file was written just now. A disk that takes no more costs the memory, not the
        file.
        """
        mark, name = _mark(path), os.path.abspath(path)
        if mark is None:
            return
        with self._lock:
            self._known[name] = mark
            if self._path is not None:
                with suppress(OSError), _alone(self._path), self._path.open("a", encoding="ascii") as file:
                    file.write(f"{json.dumps([name, *mark])}\n")

    def _read(self) -> dict[str, Mark]:
        """What was written before; nothing where the record is not there, too long, or another user's."""
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                is_own = os.fstat(file.fileno()).st_uid == os.getuid()
                lines = file.read(MOST_BYTES).splitlines() if is_own else []
        except OSError:
            return {}
        known = dict(filter(None, map(_entry, lines)))
        if len(lines) > 2 * MOST:
            known = dict(list(known.items())[-MOST:])
            self._shorten(known)
        return known

    def _shorten(self, known: dict[str, Mark]) -> None:
        assert self._path is not None
        text = "".join(f"{json.dumps([name, *mark])}\n" for name, mark in known.items())
        with suppress(OSError), _alone(self._path):
            write_private(self._path, text.encode("ascii"))


def _entry(line: bytes) -> tuple[str, Mark] | None:
    """A line of the record; None for one that was cut off."""
    try:
        name, size, changed = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    right = isinstance(name, str) and isinstance(size, int) and isinstance(changed, int)
    return (name, (size, changed)) if right else None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One command at a time changes the record. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The record itself is replaced when it is shortened, and is nobody else's to read.
    path.touch(0o600)
    with locked(path.with_name(f".{path.name}.lock")):
        yield


def _mark(path: Path) -> Mark | None:
    """None for what is not there, or no plain file."""
    try:
        seen = os.lstat(path)
    except OSError:
        return None
    return (seen.st_size, seen.st_mtime_ns) if path.is_file() and not path.is_symlink() else None


def has_receipt(path: Path, receipt: Path) -> bool:
    """Whether a frame lies beside a receipt of its own: it came from a farm once, whoever fetched it."""
    from verification.receipts.records import MOST_BYTES as LONGEST  # noqa: PLC0415 - takes long to load
    from verification.receipts.records import read  # noqa: PLC0415

    try:
        if path.is_symlink() or not path.is_file() or receipt.stat().st_size > LONGEST:
            return False
        named = read(receipt.read_bytes()).receipt.files[0].sha256
        return hash_file(path).sha256 == named
    except (OSError, FarmError, IndexError):
        return False

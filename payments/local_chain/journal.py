# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain's memory: a line for the genesis and one for each block, on the disk before anybody is told.

A line is the first 16 hexadecimal digits of the sha256 of what follows, a space, and a JSON record. What a
crash left half-written can only be the last line: it was never answered for, and is cut off. A wrong line
before the last is damage, and no chain is made of it.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from farm_protocol.errors import Conflict, FarmError
from farm_protocol.fields import Digest, decode, encode
from farm_protocol.files import hold, open_lock, sync, sync_folder, write_all

NAME = "journal"
LONGEST_LINE = 1 << 20
"""Above any block: transactions are bounded by the server."""
_CHECK = 16

Hex = Annotated[str, msgspec.Meta(pattern="^0x([0-9a-f]{2})*$")]
Time = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class NotKept(FarmError):
    """A block could not be written down: the chain must end, it knows more than its journal."""

    code = "not_kept"


class Damaged(FarmError):
    """The journal is not what this program wrote."""

    code = "damaged_journal"


@dataclass(frozen=True, slots=True)
class Genesis:
    """How the chain began: `holder` has `balance` (Wei, decimal digits) at `time` (seconds)."""

    chain_id: int
    time: Time
    holder: Hex
    balance: str


@dataclass(frozen=True, slots=True)
class Mined:
    """A block: its time, its signed transactions, and the hash it must come to."""

    time: Time
    transactions: tuple[Hex, ...]
    hash: Digest


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the first has `genesis`, all others have `block`."""

    genesis: Genesis | None = None
    block: Mined | None = None


class Journal:
    """The file in `folder`, held alone. Raises Conflict where another process holds it, Damaged where the
    file is not whole.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        descriptor = open_lock(self.path)
        self._file: BinaryIO = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            hold(descriptor)
            self.entries, self._ends = _read(self._file, self.path)
        except BlockingIOError as error:
            self._file.close()
            raise Conflict(f"Another chain runs on {folder}.") from error
        except Damaged:
            self._file.close()
            raise
        self._cut(len(self.entries))
        sync_folder(folder)

    def append(self, entry: Entry) -> None:
        """On the disk when it returns. Raises NotKept; what was half-written is cut off at the next start."""
        line = _line(entry)
        start = self._ends[-1] if self._ends else 0
        try:
            write_all(self._file, line)
            sync(self._file)
        except OSError as error:
            raise NotKept(f"{self.path} cannot be written to: {error.strerror}.") from error
        self.entries.append(entry)
        self._ends.append(start + len(line))

    def forget(self, count: int) -> None:
        """Keep the first `count` entries only."""
        del self.entries[count:]
        del self._ends[count:]
        self._cut(count)

    def close(self) -> None:
        """Let go of the file; another process may then hold it."""
        self._file.close()

    def _cut(self, count: int) -> None:
        end = self._ends[count - 1] if count else 0
        self._file.truncate(end)
        self._file.seek(end)
        sync(self._file)


def _line(entry: Entry) -> bytes:
    body = encode(entry)
    return hashlib.sha256(body).hexdigest()[:_CHECK].encode() + b" " + body + b"\n"


def _read(file: BinaryIO, path: Path) -> tuple[list[Entry], list[int]]:
    """The whole entries, and where each ends."""
    entries: list[Entry] = []
    ends: list[int] = []
    reader = open(file.fileno(), "rb", closefd=False)  # noqa: SIM115 - a buffer over the open file
    while line := reader.readline(LONGEST_LINE):
        entry = _entry(line)
        if entry is None:
            if reader.readline(1):
                raise Damaged(f"Line {len(entries) + 1} of {path} is damaged, and others follow it.")
            break
        entries.append(entry)
        ends.append((ends[-1] if ends else 0) + len(line))
    _check_order(entries, path)
    return entries, ends


def _entry(line: bytes) -> Entry | None:
    if not line.endswith(b"\n") or len(line) < _CHECK + 2:
        return None
    body = line[_CHECK + 1 : -1]
    if hashlib.sha256(body).hexdigest()[:_CHECK].encode() != line[:_CHECK]:
        return None
    return decode(body, Entry)


def _check_order(entries: list[Entry], path: Path) -> None:
    if any((entry.genesis is None) != (number > 0) for number, entry in enumerate(entries)):
        raise Damaged(f"{path} does not begin with a genesis, or has two.")
    if any((entry.block is None) != (number == 0) for number, entry in enumerate(entries)):
        raise Damaged(f"{path} has a line that is no block.")

# SPDX-License-Identifier: GPL-3.0-or-later
"""How a client gives its scene to a farm on the same machine: by copies that its own node links to.

The artist's files are read once, hashed while they are copied (a clone where the file system can), and
remembered by device, inode, size and the times of the last change (`ctime` cannot be set by anybody): a file
that is as it was is not read again. What is changed while a job renders changes no copy.
"""

import fcntl
import hashlib
import os
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from farm_protocol.errors import FarmError
from farm_protocol.fields import Digest, Size, decode, encode
from farm_protocol.files import read_bounded, write_private
from farm_protocol.handed_over import place
from farm_protocol.records import Blob

CHUNK = 1 << 20
MOST_REMEMBERED = 100_000
MOST_BYTES = 64 << 20
YOUNG_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again within the same tick of its clock."""
_CLONE = 0x40049409
"""Linux's FICLONE."""

Nanoseconds = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
State = tuple[Size, Nanoseconds, Nanoseconds, Digest]
"""Size, mtime and ctime of a file when it had that sha256."""


@dataclass(slots=True)
class Remembered:
    """Files by device and inode, those last seen at the end."""

    files: Annotated[dict[str, State], msgspec.Meta(max_length=MOST_REMEMBERED)] = field(default_factory=dict)


class HandedOver:
    """The copies in `folder`, and what is remembered in the file `memory`. Safe to use from several threads;
    `save` at the end. `taken` counts the files so far.
    """

    def __init__(self, folder: Path, memory: Path) -> None:
        self._folder, self._memory = folder, memory
        self._lock = threading.Lock()
        self._known = _read(memory)
        self._changed = False
        self.taken = 0
        for made in (memory.parent, folder):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)

    def take(self, source: Path, target: Path | None) -> Blob:
        """See that there is a copy of `source`, and make `target` a link to it, where one is wanted. Raises
        FarmError where it changes while it is read, OSError where it cannot be read or written.
        """
        handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            blob = self._recall(os.fstat(handle)) or self._copied(handle, source)
        finally:
            os.close(handle)
        with self._lock:
            self.taken += 1
        if target is not None:
            _link(place(self._folder, blob.sha256), target)
        return blob

    def save(self) -> None:
        """Write down what was learnt, for the next command."""
        with self._lock:
            if not self._changed:
                return
            newest = dict(list(self._known.items())[-MOST_REMEMBERED:])
            self._changed = False
        with suppress(OSError):
            write_private(self._memory, encode(Remembered(newest)), durable=False)

    def _recall(self, seen: os.stat_result) -> Blob | None:
        """The blob of a file that is as it was, with its copy still there."""
        known = self._known.get(_name(seen))
        if known is None or known[:3] != (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns):
            return None
        blob = Blob(known[3], seen.st_size)
        return blob if self._has(blob) else None

    def _has(self, blob: Blob) -> bool:
        try:
            return os.lstat(place(self._folder, blob.sha256)).st_size == blob.size
        except OSError:
            return False

    def _copied(self, handle: int, source: Path) -> Blob:
        before, now = os.fstat(handle), time.time_ns()
        temporary, name = tempfile.mkstemp(prefix=".part-", dir=self._folder)
        try:
            with os.fdopen(temporary, "r+b") as copy:
                digest, size = _copy(handle, copy.fileno())
            after = os.fstat(handle)
            if _times(before) != _times(after) or size != after.st_size:
                raise FarmError(f"{source} was changed while it was read: run the command again.")
            blob = Blob(digest, size)
            os.chmod(name, 0o444)
            target = place(self._folder, digest)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(name, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
        if now - max(before.st_mtime_ns, before.st_ctime_ns) > YOUNG_NS:
            self._remember(before, blob)
        return blob

    def _remember(self, seen: os.stat_result, blob: Blob) -> None:
        with self._lock:
            self._known.pop(_name(seen), None)
            self._known[_name(seen)] = (*_times(seen), blob.sha256)
            self._changed = True


def _copy(source: int, target: int) -> tuple[str, int]:
    """Copy all bytes; their sha256 and number. What is hashed is what lies in the copy."""
    digest, size, cloned = hashlib.sha256(), 0, False
    with suppress(OSError):
        fcntl.ioctl(target, _CLONE, source)
        cloned = True
    while chunk := os.read(target if cloned else source, CHUNK):
        digest.update(chunk)
        size += len(chunk)
        view = memoryview(chunk)
        while view and not cloned:
            view = view[os.write(target, view) :]
    return digest.hexdigest(), size


def _link(copy: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(copy, target)
    except OSError:
        with copy.open("rb") as source, target.open("xb") as other:
            _copy(source.fileno(), other.fileno())


def _name(seen: os.stat_result) -> str:
    return f"{seen.st_dev}:{seen.st_ino}"


def _times(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _read(memory: Path) -> dict[str, State]:
    """What was remembered; nothing where that is not there, too long, or no such list."""
    try:
        return decode(read_bounded(memory, MOST_BYTES), Remembered).files
    except (OSError, FarmError):
        return {}

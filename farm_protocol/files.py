# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that outlive a crash: replaced as a whole, on the disk when written, locked, and read with bounds."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from farm_protocol.errors import InvalidInput

PRIVATE = 0o600


@contextlib.contextmanager
def replaced(path: Path, *, mode: int | None = None, durable: bool = True) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and is nowhere when it does not.

    `mode` is the file's; None: what any new file of this user has. Where it is `durable`, it is on the disk
    under its name when the block has ended. Raises OSError.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(handle, 0o666 & ~_umask() if mode is None else mode)
            if durable:
                os.fsync(handle)
        os.replace(name, path)
        if durable:
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file's contents at once, readable by its owner only; on the disk when this returns, where it
    is `durable`. Raises OSError.
    """
    with replaced(path, mode=PRIVATE, durable=durable) as file:
        file.write(data)


def create_private(path: Path, data: bytes) -> None:
    """Write a new file, on the disk when this returns, for its user only. Raises FileExistsError."""
    with open(path, "xb", opener=private_opener) as file:
        file.write(data)
        sync(file)
    sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Add a line so that it outlives a power cut; one that was cut off before is closed first. Raises
    OSError, also for a symbolic link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        write_all(file, (b"\n" if torn else b"") + line.encode() + b"\n")
        sync(file)


def read_bounded(path: Path, most: int, refusal: str = "is too long") -> bytes:
    """All of a file of `most` bytes at most. Raises InvalidInput for a longer one, with `refusal` as
    what is said of it, and OSError.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InvalidInput(f"{path} {refusal}.")
    return data


def private_opener(path: str, flags: int) -> int:
    """For `open`: a file that nobody else may read, one of an earlier version too."""
    handle = os.open(path, flags, PRIVATE)
    os.fchmod(handle, PRIVATE)
    return handle


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file alone, waiting for others. Raises OSError."""
    lock = open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A descriptor that holds the lock file until it is closed; None where another holds it."""
    lock = open_lock(path)
    try:
        hold(lock, shared=shared)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def hold(descriptor: int, *, shared: bool = False) -> None:
    """Lock an open file at once. Raises BlockingIOError where another holds it."""
    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def open_lock(path: Path) -> int:
    """A private file's descriptor, to lock it, which no process started meanwhile has. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)


def write_all(file: IO[Any], data: bytes) -> None:
    """Write to an unbuffered file, which may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync(file: IO[Any]) -> None:
    """What was written to an open file is on the disk when this returns."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Names made or replaced in a folder are on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's umask. There is no way to ask but to set it; Linux tells in /proc."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    return 0o022

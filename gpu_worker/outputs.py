# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking files out of a folder that a stranger's scene could write to."""

import errno
import hashlib
import os
import stat
from pathlib import Path

from farm_protocol.errors import InvalidInput
from farm_protocol.ids import Sha256
from farm_protocol.records import FailureCode, OutputFile
from frame_splitter.outputs import safe_relative
from gpu_worker.failures import TaskError

LARGEST_FILE = 16 << 30
"""Bytes of one file a task may hand over."""

MOST_FILES = 1000
CHUNK = 1 << 20


def take(folder: Path, names: tuple[str, ...], target: Path) -> tuple[OutputFile, ...]:
    """Copy the named files from `folder`, never following links, to `target`, which only we can write.

    Raises TaskError(BAD_OUTPUT) for names that leave the folder and for anything but regular files of
    bounded size; OSError where the copy cannot be written.
    """
    if not names:
        raise _bad("Blender handed over no file.")
    if len(names) > MOST_FILES:
        raise _bad(f"Blender handed over {len(names)} files; a task may have {MOST_FILES}.")
    if len(set(names)) != len(names):
        raise _bad("Blender named a file twice.")
    return tuple(_take_one(folder, name, target) for name in names)


def _take_one(folder: Path, name: str, target: Path) -> OutputFile:
    try:
        relative = safe_relative(name)
    except InvalidInput as error:
        raise _bad(error.sentence) from error
    copy = target.joinpath(relative)
    copy.parent.mkdir(parents=True, exist_ok=True)
    source = _open_below(folder, relative.parts)
    try:
        digest, size = _copy(source, copy)
    finally:
        os.close(source)
    return OutputFile(name, digest, size)


def _open_below(folder: Path, parts: tuple[str, ...]) -> int:
    """Open a regular file step by step, so that no link on the way is followed."""
    descriptor = _step(os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY), folder.name, os.O_DIRECTORY)
    for part in parts[:-1]:
        descriptor = _step(descriptor, part, os.O_DIRECTORY)
    # Not blocking: a pipe that a scene made would otherwise hold us until somebody writes to it.
    descriptor = _step(descriptor, parts[-1], os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
        os.close(descriptor)
        raise _bad(f"{parts[-1]} is not a regular file, or too large.")
    return descriptor


def _step(descriptor: int, part: str, flags: int) -> int:
    try:
        return os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=descriptor)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EACCES):
            raise _bad(f"Blender handed over {part}, which is no file of its own.") from error
        raise
    finally:
        os.close(descriptor)


def _copy(source: int, target: Path) -> tuple[Sha256, int]:
    digest = hashlib.sha256()
    size = 0
    with target.open("xb") as file:
        while chunk := os.read(source, CHUNK):
            size += len(chunk)
            if size > LARGEST_FILE:
                raise _bad(f"{target.name} is larger than {LARGEST_FILE} bytes.")
            digest.update(chunk)
            file.write(chunk)
    return Sha256(digest.hexdigest()), size


def describe(path: Path, name: str) -> OutputFile:
    """A file of our own as the record the coordinator gets."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return OutputFile(name, digest, file.tell())


def _bad(sentence: str) -> TaskError:
    return TaskError(FailureCode.BAD_OUTPUT, sentence)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of scenes that the client of a farm on this very machine left for its own node."""

import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from farm_protocol.errors import Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.handed_over import place
from gpu_worker.transfer import download

CHUNK = 1 << 20

log = structlog.get_logger()


def fetcher(folder: Path | None) -> Callable[[StoredFile, Path, threading.Event], None]:
    """What fetches a file of a scene: out of `folder` where it is there, else from the object store."""
    if folder is None:
        return download

    def fetch(file: StoredFile, target: Path, stopped: threading.Event) -> None:
        if not take(folder, file, target, stopped):
            download(file, target, stopped)

    return fetch


def take(folder: Path, file: StoredFile, target: Path, stopped: threading.Event) -> bool:
    """Make `target` (a new file) the one that was handed over, as a link where that can be. False where it is
    not there, or is not what it is named: then it is thrown away, so that it can be brought again.
    """
    source = place(folder, file.sha256)
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        seen = os.fstat(handle)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid():
            return False
        if seen.st_size != file.size or _digest(handle, stopped) != file.sha256:
            log.warning("handed_over_damaged", sha256=file.sha256)
            source.unlink(missing_ok=True)
            return False
        _link(source, handle, seen, target)
    finally:
        os.close(handle)
    return True


def _digest(handle: int, stopped: threading.Event) -> str:
    digest = hashlib.sha256()
    while chunk := os.read(handle, CHUNK):
        if stopped.is_set():
            raise Unavailable("The download was stopped.")
        digest.update(chunk)
    return digest.hexdigest()


def _link(source: Path, handle: int, seen: os.stat_result, target: Path) -> None:
    """Another name for the file that was read; a copy where the file system gives none."""
    with suppress(OSError):
        os.link(source, target, follow_symlinks=False)
        if os.path.samestat(os.lstat(target), seen):
            return
        target.unlink()
    os.lseek(handle, 0, os.SEEK_SET)
    with open(handle, "rb", closefd=False) as given, target.open("xb") as copy:
        shutil.copyfileobj(given, copy, CHUNK)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing and counting what a stranger's scene left in a folder, whatever it is.

Folders may lie in each other deeper than any path is long, or be closed to their own user. So nothing here
recurses or makes long paths, no link is followed, and no failure is more than an answer.
"""

import contextlib
import os
import stat
import uuid
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import structlog

BATCH = 1000
"""Names that are held at a time: a folder may have millions."""

DEEPEST = 64
"""Folders in each other that are counted; no honest scene writes as many."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

log = structlog.get_logger()


def remove(folder: Path) -> bool:
    """Remove a folder with all it holds. Returns whether it is gone; what cannot be removed is logged."""
    try:
        above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return not os.path.lexists(folder)
    try:
        if _remove_one(above, folder.name) or _removed_whole(above, folder.name):
            return True
    finally:
        os.close(above)
    if os.path.lexists(folder):
        log.warning("not_removed", folder=str(folder))
        return False
    return True


def empty(folder: int) -> bool:
    """Remove what an open folder holds. Returns whether it is empty."""
    progress = True
    while progress:
        names, progress = _names(folder), False
        for name in names:
            progress |= _remove_one(folder, name) or _dissolve(folder, name)
    return not _names(folder)


def _removed_whole(above: int, name: str) -> bool:
    descriptor = _opened(above, name)
    if descriptor is None:
        return False
    try:
        empty(descriptor)
    finally:
        os.close(descriptor)
    return _remove_one(above, name)


def _dissolve(above: int, name: str) -> bool:
    """Remove a folder by moving the folders in it up to beside it, so that nothing is ever deep."""
    descriptor = _opened(above, name)
    if descriptor is None:
        return False
    try:
        progress = True
        while progress:
            names, progress = _names(descriptor), False
            for inner in names:
                progress |= _remove_one(descriptor, inner) or _move_up(descriptor, inner, above)
    finally:
        os.close(descriptor)
    return _remove_one(above, name)


def _move_up(folder: int, name: str, above: int) -> bool:
    opened = _opened(folder, name)
    if opened is None:
        return False
    os.close(opened)
    try:
        os.rename(name, uuid.uuid4().hex, src_dir_fd=folder, dst_dir_fd=above)
    except OSError:
        return False
    return True


def _names(folder: int) -> list[str]:
    """Some of the names in a folder; none where there are no more."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, BATCH)]
    except OSError:
        return []


def _remove_one(folder: int, name: str) -> bool:
    """A file, or a folder that is empty. Returns whether this removed it."""
    for remove_as in (os.unlink, os.rmdir):
        try:
            remove_as(name, dir_fd=folder)
        except OSError:
            continue
        return True
    return False


def _opened(folder: int, name: str) -> int | None:
    """Folder in a folder, opened to its user first; None where it is not a folder."""
    try:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        with contextlib.suppress(OSError):
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
        return os.open(name, FOLDER, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(handle)


def written(folders: Iterable[Path], most: int) -> tuple[int, int]:
    """Files and folders below `folders` and the bytes they take on disk. Stops counting where there are more
    than `most`, which folders that are too deep or closed to their own user count as.
    """
    number = size = 0
    for folder in folders:
        more, taken = _count(folder, most - number)
        number, size = number + more, size + taken
        if number > most:
            break
    return number, size


def _count(folder: Path, most: int) -> tuple[int, int]:
    number = size = 0
    levels: list[_Level] = []
    try:
        _go_into(os.fspath(folder), levels)
        while levels:
            entry = next(levels[-1].entries, None)
            if entry is None:
                levels.pop().close()
                continue
            number, size = number + 1, size + _taken(entry)
            if number > most or len(levels) > DEEPEST:
                return most + 1, size
            if _is_folder(entry):
                _go_into(entry.name, levels)
    except PermissionError:
        return most + 1, size
    finally:
        for level in levels:
            level.close()
    return number, size


class _Level:
    """An open folder and what is left to be seen of it."""

    def __init__(self, handle: int) -> None:
        self.handle, self.entries = handle, os.scandir(handle)

    def close(self) -> None:
        self.entries.close()
        os.close(self.handle)


def _go_into(name: str, levels: list[_Level]) -> None:
    """A folder that is gone meanwhile holds nothing. Raises PermissionError for one that is closed."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        levels.append(_Level(os.open(name, FOLDER, dir_fd=levels[-1].handle if levels else None)))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _taken(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders a sandboxed child writes to, which exist in memory and only as long as it: seen from outside.

They are held open from the time that Blender has loaded and no stranger's file is open yet, so nothing that
the child does later changes what is looked at. What it was asked for is copied out, file by file.
"""

import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from farm_protocol.records import FailureCode
from gpu_worker import inner_user, removal, sandbox
from gpu_worker.failures import TaskError
from gpu_worker.usage import Filled, process_tree

MOST_FILES = 4096
"""Files and folders of one task that are copied out."""

DEEPEST = 16
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Place:
    """An open folder of a task, and where its files go."""

    handle: int
    target: Path
    depth: int


class FleetingFolders:
    """The memory folders of one child: `folders` are for what it writes, and have the same path outside,
    where they are empty. Any thread may call its methods.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._open: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._seen = Filled()

    def open(self, pid: int) -> None:
        """Hold the folders of the sandbox that process `pid` keeps. Raises OSError."""
        if not self._folders:
            return
        root = _inside(pid, self._folders[0])
        with self._lock:
            for folder in (*self._folders, *map(Path, sandbox.MEMORY_FOLDERS)):
                self._open[folder] = os.open(f"{root}{folder}", removal.FOLDER)

    def close(self) -> None:
        """Let go of them: with the last process inside, they end."""
        with self._lock:
            for handle in self._open.values():
                os.close(handle)
            self._open.clear()

    def filled(self) -> Filled:
        """How much is in them; what it was a moment ago while files are copied."""
        if self._lock.acquire(blocking=False):
            try:
                self._seen = _filled(self._open.values())
            finally:
                self._lock.release()
        return self._seen

    def fill(self, folder: Path, lay: Callable[[Path], None]) -> None:
        """Have `lay` put what a child is given into one of the folders. Only before a stranger's file is
        open: it goes by names. Raises OSError.
        """
        with self._lock:
            there = Path(f"/proc/self/fd/{self._open[folder]}")
            lay(there)
            inner_user.let_write_below(there)

    def make(self, path: Path) -> None:
        """Make the empty folder that a task writes `path` to, where that is one of these."""
        self._within(path, self._make)

    def bring_out(self, path: Path) -> None:
        """Copy all files of the folder that `path` was written to, to the same place outside.

        Raises TaskError: BAD_OUTPUT for more than a task may write, NODE where the disk does not take it.
        """
        try:
            self._within(path, self._bring_out)
        except OSError as error:
            raise TaskError(
                FailureCode.NODE, f"What Blender wrote could not be copied to this node's disk: {error}"
            ) from error

    def _within(self, path: Path, do: Callable[[int, Path], None]) -> None:
        with self._lock:
            for folder, handle in self._open.items():
                if path.is_relative_to(folder) and folder in self._folders:
                    do(handle, folder / path.relative_to(folder).parts[0])

    def _make(self, handle: int, folder: Path) -> None:
        removal.empty(handle)
        os.mkdir(folder.name, dir_fd=handle)
        os.chmod(folder.name, 0o777 if inner_user.is_root() else 0o700, dir_fd=handle)

    def _bring_out(self, handle: int, folder: Path) -> None:
        try:
            task = os.open(folder.name, removal.FOLDER, dir_fd=handle)
        except OSError as error:
            raise _bad("Blender removed the folder it was to write to.") from error
        try:
            _copy_all(task, folder)
        finally:
            os.close(task)
        removal.empty(handle)


def _inside(pid: int, folder: Path) -> str:
    """The root folder of the sandbox that process `pid` keeps, of which `folder` is another than outside."""
    outside = os.stat(folder).st_dev
    for process in process_tree(pid):
        root = f"/proc/{process.pid}/root"
        try:
            if os.stat(f"{root}{folder}").st_dev != outside:
                return root
        except OSError:
            continue
    raise FileNotFoundError("the sandbox cannot be looked into")


def _filled(handles: Iterable[int]) -> Filled:
    size = files = 0
    full = False
    for handle in handles:
        state = os.fstatvfs(handle)
        size += (state.f_blocks - state.f_bfree) * state.f_frsize
        files += state.f_files - state.f_ffree
        full |= state.f_blocks > 0 and state.f_bfree == 0
    return Filled(size, files, full)


def _copy_all(task: int, target: Path) -> None:
    """Every file below an open folder, whatever else is there; the folder stays open."""
    places = [_Place(os.dup(task), target, 0)]
    number = 0
    try:
        while places:
            place = places.pop()
            try:
                with os.scandir(place.handle) as entries:
                    for entry in entries:
                        number += 1
                        if number > MOST_FILES or place.depth > DEEPEST:
                            raise _bad(f"Blender wrote more than {MOST_FILES} files, or folders too deep.")
                        _copy_one(place, entry.name, places)
            finally:
                os.close(place.handle)
    finally:
        for place in places:
            os.close(place.handle)


def _copy_one(place: _Place, name: str, places: list[_Place]) -> None:
    """A file, or a folder for later. Links, pipes and what its user may not read are left where they are."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=place.handle)
    except OSError:
        return
    status = os.fstat(handle)
    if stat.S_ISDIR(status.st_mode):
        (place.target / name).mkdir(exist_ok=True)
        places.append(_Place(handle, place.target / name, place.depth + 1))
        return
    try:
        if stat.S_ISREG(status.st_mode):
            _copy(handle, status, place.target / name)
    finally:
        os.close(handle)


def _copy(handle: int, status: os.stat_result, target: Path) -> None:
    """What is in memory is bounded; a file that is larger than what it holds would not be."""
    if status.st_size > status.st_blocks * 512:
        raise _bad(f"{target.name} has holes, which no picture has.")
    left = status.st_size
    with target.open("xb") as file:
        while left > 0 and (chunk := os.read(handle, min(left, CHUNK))):
            file.write(chunk)
            left -= len(chunk)


def _bad(sentence: str) -> TaskError:
    return TaskError(FailureCode.BAD_OUTPUT, sentence)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a child and everything under it take of memory and disk, and whether that is too much."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from frame_splitter.records import FailureCode
from gpu_worker.failures import TaskError

LOOK_SECONDS = 0.2
"""How often the memory of known processes is read."""

SEARCH_SECONDS = 2.0
"""How often new processes are looked for, and files are counted: both cost more than a look."""

MOST_FILES = 100_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """Bytes resident of the whole process tree, and bytes below `folders`."""

    memory: int
    disk: int
    folders: tuple[Path, ...] = ()


class Usage:
    """Watches one process tree. Its methods are cheap enough to be called all the time."""

    def __init__(self, pid: int, allowance: Allowance) -> None:
        self._pid = pid
        self._allowance = allowance
        self._tree: list[psutil.Process] = []
        self._looked = self._searched = -SEARCH_SECONDS
        self.peak_memory = 0

    def complaint(self) -> TaskError | None:
        """Why the child must be stopped, if it must."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        searches = now - self._searched >= SEARCH_SECONDS
        if searches:
            self._searched = now
            self._tree = process_tree(self._pid)
        return self._memory_complaint() or (self._disk_complaint() if searches else None)

    def _memory_complaint(self) -> TaskError | None:
        held = sum(map(_resident, self._tree))
        self.peak_memory = max(self.peak_memory, held)
        if held <= self._allowance.memory:
            return None
        return TaskError(
            FailureCode.OUT_OF_MEMORY,
            f"Blender took {held / 2**30:.1f} GiB of memory; a slot of this node may take "
            f"{self._allowance.memory / 2**30:.1f} GiB.",
        )

    def _disk_complaint(self) -> TaskError | None:
        files, size = written(self._allowance.folders)
        if size <= self._allowance.disk and files <= MOST_FILES:
            return None
        return TaskError(
            FailureCode.BAD_OUTPUT,
            f"Blender wrote {files} files with {size / 2**30:.1f} GiB; a task may write {MOST_FILES} with "
            f"{self._allowance.disk / 2**30:.1f} GiB.",
        )


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and everything under it; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def written(folders: Iterable[Path]) -> tuple[int, int]:
    """Files below the folders and the bytes they take on disk; stops counting where there are too many."""
    files = size = 0
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                files += 1
                size += _taken(os.path.join(path, name))
            if files > MOST_FILES:
                return files, size
    return files, size


def _taken(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0

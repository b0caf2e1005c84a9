# SPDX-License-Identifier: GPL-3.0-or-later
"""What a child and everything under it take of memory and disk, and whether that is too much."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from farm_protocol.records import FailureCode
from gpu_worker import shortage
from gpu_worker.failures import TaskError
from gpu_worker.removal import written

LOOK_SECONDS = 0.2
"""How often memory is read."""

SEARCH_SECONDS = 2.0
"""How often files on disk are counted, which costs more than a look."""

MOST_FILES = 100_000
"""Files and folders."""

SHARED = 0.9
"""Of the memory allowed: from here on pages that several processes share are told apart, which costs more."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What lies in folders in memory: bytes, files and folders, and whether one takes no more."""

    size: int = 0
    files: int = 0
    full: bool = False


@dataclass(frozen=True, slots=True)
class Allowance:
    """Bytes in memory of the whole process tree and of its folders there, bytes below `folders` on disk.
    `filled` says what lies in the folders in memory, `starved` whether the kernel has ended a process for
    want of memory, `bounded` whether the kernel bounds it.
    """

    memory: int
    disk: int
    folders: tuple[Path, ...] = ()
    filled: Callable[[], Filled] = Filled
    starved: Callable[[], bool] = bool
    bounded: Callable[[], bool] = bool


class Usage:
    """Watches one process tree. Its methods are cheap enough to be called all the time."""

    def __init__(self, pid: int, allowance: Allowance) -> None:
        self._pid = pid
        self._allowance = allowance
        self._looked = self._searched = -SEARCH_SECONDS
        self.peak_memory = 0

    def complaint(self) -> TaskError | None:
        """Why the child must be stopped, if it must."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        filled = self._allowance.filled()
        found = self._memory_complaint(filled.size) or self._filled_complaint(filled)
        if found is None and now - self._searched >= SEARCH_SECONDS:
            self._searched = now
            found = self._disk_complaint(*written(self._allowance.folders, MOST_FILES))
        return found

    def _memory_complaint(self, filled: int) -> TaskError | None:
        tree = descendants(self._pid)
        if self._allowance.starved():
            return starved(self._allowance.memory)
        held = filled + sum(map(_resident, tree))
        if held > SHARED * self._allowance.memory:
            held = filled + sum(map(_own_share, tree))
        self.peak_memory = max(self.peak_memory, held)
        if held <= self._allowance.memory:
            return None if self._allowance.bounded() else _shortage(tree)
        return TaskError(
            FailureCode.OUT_OF_MEMORY,
            f"Blender took {held / 2**30:.1f} GiB of memory; a slot of this node may take "
            f"{self._allowance.memory / 2**30:.1f} GiB.",
        )

    def _filled_complaint(self, filled: Filled) -> TaskError | None:
        if not filled.full and filled.files <= MOST_FILES:
            return None
        return TaskError(
            FailureCode.BAD_OUTPUT,
            f"Blender wrote {filled.files} files with {filled.size / 2**30:.1f} GiB; there is no more room.",
        )

    def _disk_complaint(self, files: int, size: int) -> TaskError | None:
        if size <= self._allowance.disk and files <= MOST_FILES:
            return None
        return TaskError(
            FailureCode.BAD_OUTPUT,
            f"Blender wrote {size / 2**30:.1f} GiB in {_number(files)}; a task may write {MOST_FILES} with "
            f"{self._allowance.disk / 2**30:.1f} GiB.",
        )


def _number(files: int) -> str:
    if files <= MOST_FILES:
        return f"{files} files"
    return f"more than {MOST_FILES} files, or in folders that are too deep or closed"


def starved(memory: int) -> TaskError:
    """Why a child goes of which the kernel ended a part, or all."""
    return TaskError(
        FailureCode.OUT_OF_MEMORY,
        f"Blender took more memory than the {memory / 2**30:.1f} GiB that a slot of this node may take, and "
        f"was ended.",
    )


def _shortage(tree: list[int]) -> TaskError | None:
    if not shortage.must_go(tree):
        return None
    return TaskError(
        FailureCode.NODE,
        "This node's machine ran short of memory, which it does not bound: gpu-worker doctor says how to.",
    )


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and everything under it; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def descendants(pid: int) -> list[int]:
    """The same as numbers, without a look at every process of the machine where the kernel says whose
    children they are.
    """
    found, left = [pid], [pid]
    if not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        return [process.pid for process in process_tree(pid)]
    while left:
        children = _children(left.pop())
        found += children
        left += children
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        pass
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _resident(pid: int) -> int:
    """Bytes in memory, shared ones too, and its page tables (proc(5), /proc/PID/statm)."""
    numbers = _read(f"/proc/{pid}/statm").split()
    return (int(numbers[1]) * PAGE if len(numbers) > 1 else 0) + _tables(pid)


def _tables(pid: int) -> int:
    """Bytes of page tables: with an empty page in each, they are all there is (proc(5), /proc/PID/status)."""
    _, found, rest = _read(f"/proc/{pid}/status").partition(b"\nVmPTE:")
    return int(rest.split(maxsplit=1)[0]) << 10 if found else 0


def _own_share(pid: int) -> int:
    """Bytes in memory and swapped out, of shared ones only a share (proc(5), /proc/PID/smaps_rollup)."""
    lines = [line.split() for line in _read(f"/proc/{pid}/smaps_rollup").splitlines()]
    found = [int(line[1]) << 10 for line in lines if line and line[0] in (b"Pss:", b"SwapPss:")]
    return sum(found) + _tables(pid) if found else _resident(pid)


PAGE = os.sysconf("SC_PAGE_SIZE")

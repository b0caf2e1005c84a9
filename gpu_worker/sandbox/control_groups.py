# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: bounds on memory, processes and CPU time that the kernel keeps itself.

Linux's second version of them (Documentation/admin-guide/cgroup-v2.rst), and the first one where the second
has no controllers. What the node may not set it does without, and `gpu-worker doctor` says so.
"""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from subprocess import DEVNULL

import structlog

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
KINDS = ("memory", "pids", "cpu")
PREFIX = "render-farm-"
PERIOD = 100_000
"""Microseconds in which a group may take its share of the CPUs."""

REMOVAL_SECONDS = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes in memory, processes and threads, and CPUs' time (None: all there is)."""

    memory: int
    processes: int
    cpus: float | None = None


class Group:
    """The groups of one child: one folder, or with the first version one for each kind."""

    def __init__(self, folders: tuple[Path, ...] = ()) -> None:
        self._folders = folders

    @property
    def joins(self) -> tuple[str, ...]:
        """Options for launch.py, by which a program joins."""
        return tuple(part for one in self._folders for part in ("--group", str(one / "cgroup.procs")))

    @property
    def bounds_memory(self) -> bool:
        """Whether the kernel bounds the memory of what is in it."""
        limits = ("memory.max", "memory.limit_in_bytes")
        return any((folder / name).exists() for folder in self._folders for name in limits)

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel ended a process in it for want of memory."""
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                if any(key == "oom_kill" and value != "0" for key, value in _pairs(folder / name)):
                    return True
        return False

    def remove(self) -> None:
        """End what is left in it, and the group. Never raises."""
        for folder in self._folders:
            latest = time.monotonic() + REMOVAL_SECONDS
            _end_all(folder)
            while not _removed(folder) and time.monotonic() < latest:
                time.sleep(0.01)
                _end_all(folder)


class Groups:
    """Where this process can make groups. `root` is where they are mounted, `own` names those it is in."""

    def __init__(self, root: Path = ROOT, own: Path = OWN) -> None:
        named = dict(_named(own))
        self._second = self._nearest(root, named.get("", "")) if "" in named else None
        self._first = {} if self._second else dict(_first(root, named))
        for folder in filter(None, (self._second, *self._first.values())):
            _sweep(folder)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which of `KINDS` can be bounded."""
        if self._second is not None:
            return _enabled(self._second)
        return tuple(kind for kind in KINDS if kind in self._first)

    def make(self, bounds: Bounds) -> Group:
        """A new group with `bounds`, as far as there are any; an empty one where none can be made."""
        name = f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        wanted: dict[Path, tuple[str, ...]] = {path: (kind,) for kind, path in self._first.items()}
        if self._second is not None:
            wanted = {self._second: self.kinds}
        made: list[Path] = []
        try:
            for parent, kinds in wanted.items():
                (parent / name).mkdir()
                made.append(parent / name)
                _bound(parent / name, kinds, bounds, second=self._second is not None)
        except OSError as error:
            log.warning("no_control_group", reason=str(error))
            Group(tuple(made)).remove()
            return Group()
        return Group(tuple(made))

    def _nearest(self, root: Path, own: str) -> Path | None:
        """The nearest group above this process in which it may make others, with the controllers for them."""
        start = root / own.lstrip("/")
        for folder in (start, *start.parents):
            if not folder.is_relative_to(root):
                return None
            if _writable(folder) and _enable(folder):
                return folder
        return None


@cache
def groups() -> Groups:
    """Those of this machine. Tried for real once: what may be made need not be what may be joined."""
    found = Groups()
    if not found.kinds:
        return found
    trial = found.make(Bounds(1 << 30, 100))
    try:
        for option, path in pairwise(trial.joins):
            if option == "--group":
                subprocess.run(["/bin/sh", "-c", 'echo $$ > "$1"', "sh", path], check=True, stderr=DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return Groups(Path(os.devnull), Path(os.devnull))
    finally:
        trial.remove()
    return found


def _named(own: Path) -> Iterator[tuple[str, str]]:
    """Controller and group; "" for the second version (proc(5), /proc/PID/cgroup)."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for one in controllers.split(","):
                yield one, path


def _first(root: Path, named: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    for kind in KINDS:
        folder = root / kind / named.get(kind, "/").lstrip("/")
        if kind in named and _writable(folder):
            yield kind, folder


def _writable(folder: Path) -> bool:
    return all(os.access(path, os.W_OK) for path in (folder, folder / "cgroup.procs"))


def _enabled(folder: Path) -> tuple[str, ...]:
    with suppress(OSError):
        enabled = (folder / "cgroup.subtree_control").read_text().split()
        return tuple(kind for kind in KINDS if kind in enabled)
    return ()


def _enable(folder: Path) -> bool:
    """Whether groups in `folder` have their memory and processes bounded, which is tried to bring about."""
    with suppress(OSError):
        there = (folder / "cgroup.controllers").read_text().split()
        for kind in KINDS:
            if kind in there and kind not in _enabled(folder):
                with suppress(OSError):
                    (folder / "cgroup.subtree_control").write_text(f"+{kind}")
    return {"memory", "pids"} <= set(_enabled(folder))


def _bound(folder: Path, kinds: tuple[str, ...], bounds: Bounds, second: bool) -> None:
    """Raises OSError where what the kernel should have cannot be set."""
    if "memory" in kinds:
        (folder / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(bounds.memory))
        swap, most = ("memory.swap.max", 0) if second else ("memory.memsw.limit_in_bytes", bounds.memory)
        with suppress(OSError):  # a kernel without swap has no such file
            (folder / swap).write_text(str(most))
        if second:
            (folder / "memory.oom.group").write_text("1")
    if "pids" in kinds:
        (folder / "pids.max").write_text(str(bounds.processes))
    if "cpu" in kinds and bounds.cpus is not None:
        quota = int(bounds.cpus * PERIOD)
        if second:
            (folder / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))


def _pairs(file: Path) -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            yield key, value.strip()


def _sweep(parent: Path) -> None:
    """Groups that a process left that was killed: one that is not empty is not removed by this."""
    for folder in parent.glob(f"{PREFIX}*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not os.path.exists(f"/proc/{number}"):
            _removed(folder)


def _end_all(folder: Path) -> None:
    """End what is in a group. The first version, and the second before Linux 5.14, cannot do so at once."""
    with suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
        return
    with suppress(OSError, ValueError):
        for number in map(int, (folder / "cgroup.procs").read_text().split()):
            if number > 0:  # 0 is one of another namespace
                os.kill(number, signal.SIGKILL)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True

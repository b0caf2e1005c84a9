# SPDX-License-Identifier: GPL-3.0-or-later
"""The last guard of a machine that bounds no child's memory: what the kernel holds for a child and no process
maps is in nobody's count, so the machine's own memory is looked at, too.
"""

import os
from collections.abc import Iterable
from contextlib import suppress

LEAST = 512 << 20
SHARE = 0.03
MOST_SHARE = 0.1
"""A machine is short of memory below `LEAST` bytes or this share of all it has, whatever is more; never above
the last share.
"""

SUSPICIOUS = 64 << 20
"""Bytes that a child may hold unseen before it is the first to go."""

SOCKET_BYTES = 256 << 10
"""What an unread socket may hold, about (socket(7), wmem_max)."""

SHARED_MEMORY = "/dev/zero (deleted)"
"""How shared memory without a name is called (proc(5), /proc/PID/maps)."""


def must_go(pids: Iterable[int]) -> bool:
    """Whether a child's processes must go for want of memory: first those of whom it cannot be seen what they
    hold, and where the machine is at its last all.
    """
    total, available = memory()
    floor = max(SHARE * total, min(LEAST, MOST_SHARE * total))
    return available < floor and (available < floor / 2 or suspicion(pids) > SUSPICIOUS)


def memory() -> tuple[int, int]:
    """Bytes of the machine's memory, and of it what is still available (proc(5), /proc/meminfo)."""
    with suppress(OSError, KeyError, ValueError), open("/proc/meminfo", encoding="ascii") as file:
        found = {line.split(":")[0]: int(line.split()[1]) << 10 for line in file}
        return found["MemTotal"], found["MemAvailable"]
    return 1, 1


def suspicion(pids: Iterable[int]) -> int:
    """Bytes that processes may hold at most in shared memory without a name and in sockets."""
    shared: dict[str, int] = {}
    sockets: set[str] = set()
    for pid in pids:
        with suppress(OSError, ValueError):
            _add_shared(pid, shared)
        with suppress(OSError):
            sockets |= set(_sockets(pid))
    return sum(shared.values()) + len(sockets) * SOCKET_BYTES


def _add_shared(pid: int, shared: dict[str, int]) -> None:
    """To the largest mapping of each, by its inode."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.rstrip().endswith(SHARED_MEMORY):
                places, _, _, _, inode, *_ = line.split()
                start, end = (int(one, 16) for one in places.split("-"))
                shared[inode] = max(shared.get(inode, 0), end - start)


def _sockets(pid: int) -> Iterable[str]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("socket:"):
                yield target

# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that dies with its parent: `launch.py PARENT_PID [--group FILE]... COMMAND...`.

Each FILE is the `cgroup.procs` of a group to join. A program of its own because the code between fork and
exec of a threaded parent must not be Python. It imports nothing from the project.
"""

import ctypes
import os
import resource
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
LARGEST_FILE = 64 << 30
"""Bytes of one file: a scene must not fill the disk with a single write."""

MOST_DESCRIPTORS = 1 << 20
STARTED = 200
"""The descriptor that the sandbox's first program closes (inside/enter.py)."""


def _bind_life_to(parent: int) -> None:
    """Die by SIGKILL when the thread that started this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit("This system does not let a process be bound to its parent's life.")
    # Without these a setuid program started below could outlive the parent.
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("The parent is gone already.")


def _guard_start(parent: int) -> None:
    """See to it that nothing is left of a sandbox whose parent dies while it starts: bubblewrap's own child
    has no death signal until it is told to go on.
    """
    if os.getsid(0) != os.getpid():
        os.setsid()
    watched = os.pidfd_open(parent)
    stands, standing = os.pipe()
    if os.fork() == 0:
        _guard(stands, watched)
    os.close(stands)
    os.dup2(standing, STARTED)
    os.close(standing)


def _guard(stands: int, parent: int) -> None:
    """Wait until the sandbox stands, or the parent is gone; then end all that was started with this."""
    first, second = sorted((stands, parent))
    for low, high in ((0, first), (first + 1, second), (second + 1, MOST_DESCRIPTORS)):
        os.closerange(low, high)
    if parent in select.select([stands, parent], [], [])[0]:
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _hidden(command: list[str]) -> list[str]:
    """A command of bubblewrap without its options, which everybody inside could read."""
    end = command.index("--")
    options = os.memfd_create("options", 0)
    os.write(options, b"".join(one.encode() + b"\0" for one in command[1:end]))
    os.lseek(options, 0, os.SEEK_SET)
    return [command[0], "--args", str(options), *command[end:]]


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    largest = LARGEST_FILE if hard == resource.RLIM_INFINITY else min(hard, LARGEST_FILE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))


def _join(group: str) -> None:
    with open(group, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


def main() -> None:
    """Set the limits that survive exec, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    _bind_life_to(parent)
    groups: list[str] = []
    while command[0] == "--group":
        groups, command = [*groups, command[1]], command[2:]
    if os.path.basename(command[0]) == "bwrap":
        _guard_start(parent)
        command = _hidden(command)
    for group in groups:
        _join(group)
    _limit()
    # Ray's worker ignores some signals; a command must start with the defaults.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

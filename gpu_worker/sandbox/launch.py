# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that dies with its parent: `launch.py PARENT_PID [--group FILE]... COMMAND...`.

Each FILE is the `cgroup.procs` of a group to join. A program of its own because the code between fork and
exec of a threaded parent must not be Python. Of the project it imports the filter of system calls only.

Bubblewrap's own processes are bound before they start: as an ordinary user's, its process 1 is of the same
user as what runs in the sandbox, which may write into its memory.
"""

import ctypes
import os
import resource
import select
import signal
import sys

INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside")
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
LARGEST_FILE = 64 << 30
"""Bytes of one file: a scene must not fill the disk with a single write."""

NO_CORE = 1
"""Bytes of a core dump, at which the kernel writes none, and starts no program for one, either: at 0 it does
(do_coredump in its fs/coredump.c).
"""

OPEN_FILES = 4096
"""In a sandbox: what an unread socket holds is memory that no process maps, so there must not be too many."""

KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL = {"x86_64": 250, "aarch64": 219}
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


def _boxed(command: list[str]) -> list[str]:
    """A command of bubblewrap without its options, which everybody inside could read, and with the filter of
    system calls for all its processes inside.
    """
    sys.path.insert(0, INSIDE)
    import syscalls  # type: ignore[import-not-found]  # noqa: PLC0415

    end = command.index("--")
    options = _in_memory("options", b"".join(os.fsencode(one) + b"\0" for one in command[1:end]))
    calls = _in_memory("calls", syscalls.program(os.uname().machine))
    return [command[0], "--args", options, "--seccomp", calls, *command[end:]]


def _in_memory(name: str, contents: bytes) -> str:
    """The descriptor of a file that is in memory only."""
    descriptor = os.memfd_create(name, 0)
    left = contents
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return str(descriptor)


def _new_session_keyring() -> None:
    """Not the one of whoever started the node. A kernel without keyrings has nothing to hide."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(ctypes.c_long(KEYCTL[os.uname().machine]), KEYCTL_JOIN_SESSION_KEYRING, None)


def _limit_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _limit() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (NO_CORE, NO_CORE))
    except (ValueError, OSError):  # it may be 0 for good
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
        command = _boxed(command)
        _new_session_keyring()
        _limit_files()
    for group in groups:
        _join(group)
    _limit()
    # Ray's worker ignores some signals; a command must start with the defaults.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""The first program inside the sandbox: `enter.py USER GROUPS PROCESSES COMMAND...`.

Gives up what bubblewrap leaves it, then becomes the command. USER is a number to become where the node runs
as root, else `-`; GROUPS are numbers it keeps, with commas between, else `-`; PROCESSES is how many
processes and threads the user may have, `-` for no limit. It imports nothing from the project.
"""

import ctypes
import os
import resource
import struct
import sys

sys.path.insert(0, os.path.dirname(__file__))

import syscalls  # type: ignore[import-not-found]

STARTED = 200
"""The descriptor that says, by being closed, that the sandbox stands (launch.py)."""

PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 22, 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER = 4, 2
LAST_CAPABILITY = 63
CAPABILITIES_VERSION = 0x20080522

LIBC = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def main() -> None:
    """Give up everything, then become the command."""
    user, groups, processes, command = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    os.closerange(STARTED, STARTED + 1)
    os.umask(0o022)
    if user != "-":
        become(int(user), [int(one) for one in groups.split(",")] if groups != "-" else [])
    drop_capabilities()
    if processes != "-":
        limit(user, int(processes))
    filter_calls()
    os.execv(command[0], command)


def become(user: int, groups: list[int]) -> None:
    """Another user, with no way back."""
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups(groups)
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if os.getresuid() != (user, user, user) or os.getresgid() != (user, user, user):
        sys.exit("The sandbox could not become another user.")


def drop_capabilities() -> None:
    """None that is left, and none that a program would bring back."""
    LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header, none = struct.pack("=Ii", CAPABILITIES_VERSION, 0), bytes(24)
    if LIBC.capset(header, none) != 0:
        sys.exit("The sandbox could not give up its capabilities.")


def limit(user: str, processes: int) -> None:
    """Of a user's processes. Process 1 is of the same user where that one is ordinary, and does what this
    program's children want of it. Not before bubblewrap: there the user's other processes count.
    """
    for process in (os.getpid(), 1) if user == "-" else (os.getpid(),):
        hard = resource.prlimit(process, resource.RLIMIT_NPROC)[1]
        most = processes if hard == resource.RLIM_INFINITY else min(hard, processes)
        resource.prlimit(process, resource.RLIMIT_NPROC, (most, most))


def filter_calls() -> None:
    """From here on the kernel refuses what `syscalls` names."""
    code = syscalls.program(os.uname().machine)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = _Program(len(code) // 8, code)
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        sys.exit("This kernel takes no filter of system calls.")


if __name__ == "__main__":
    main()

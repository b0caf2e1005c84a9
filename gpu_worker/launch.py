# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that dies with its parent: `launch.py PARENT_PID COMMAND...`.

A program of its own because the code between fork and exec of a threaded parent must not be Python.
It imports nothing from the project.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
LARGEST_FILE = 64 << 30
"""Bytes of one file: a scene must not fill the disk with a single write."""


def _bind_life_to(parent: int) -> None:
    """Die by SIGKILL when the thread that started this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit("This system does not let a process be bound to its parent's life.")
    # Without these a setuid program started below could outlive the parent.
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("The parent is gone already.")


def main() -> None:
    """Set the limits that survive exec, then become the command."""
    _bind_life_to(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    largest = LARGEST_FILE if hard == resource.RLIM_INFINITY else min(hard, LARGEST_FILE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    # Ray's worker ignores some signals; a command must start with the defaults.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()

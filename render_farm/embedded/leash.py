# SPDX-License-Identifier: GPL-3.0-or-later
"""`python leash.py PARENT SIGNAL PROGRAM ...` becomes PROGRAM, and dies when its parent does.

The kernel sends SIGNAL to the program when the process (in fact the thread) that started it ends,
however it ends. Files the program makes are for its own user only. A program of its own, because code
run between fork and exec in a process with threads can lock up.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for the signal, see that the parent still lives, become the program."""
    parent, number, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)
    os.umask(0o077)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

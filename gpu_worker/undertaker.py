# SPDX-License-Identifier: GPL-3.0-or-later
"""`undertaker.py PID VARIABLE=VALUE`: when process PID ends, end every process that has this variable.

Some of Ray's processes live on for a minute after a node that was killed. The variable names a file that
only one start of one node uses. A program of its own, which imports nothing from the project.
"""

import contextlib
import os
import select
import signal
import sys
from pathlib import Path


def main() -> None:
    """Wait for the end, then clear up."""
    pid, mark = int(sys.argv[1]), os.fsencode(sys.argv[2])
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid() and _has(process, mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(process.name), signal.SIGKILL)


def _has(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


if __name__ == "__main__":
    main()

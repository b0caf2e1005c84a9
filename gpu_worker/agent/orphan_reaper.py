# SPDX-License-Identifier: GPL-3.0-or-later
"""`orphan_reaper.py PID FOLDER`: when process PID ends, end whatever writes into its session below FOLDER.

Some of Ray's processes live on for a minute after a node that was killed. Each holds its log open, in a
folder that has the node's number at the end of its name. A program of its own, which imports nothing from
the project.
"""

import contextlib
import os
import select
import signal
import sys
from pathlib import Path


def main() -> None:
    """Wait for the end, then clear up."""
    pid, folder = int(sys.argv[1]), Path(sys.argv[2])
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])
    end_writers(folder, pid)


def end_writers(folder: Path, pid: int) -> None:
    """End whatever writes into the sessions of process `pid` below `folder`, except that process and this."""
    below = str(folder.resolve()).rstrip("/") + "/"
    for process in Path("/proc").glob("[0-9]*"):
        number = int(process.name)
        if number not in (os.getpid(), pid) and _writes(process, below, f"_{pid}/"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)


def _writes(process: Path, folder: str, session: str) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith(folder) and session in target:
                    return True
    return False


if __name__ == "__main__":
    main()

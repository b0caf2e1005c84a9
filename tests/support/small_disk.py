# SPDX-License-Identifier: GPL-3.0-or-later
"""A real disk of a few megabytes that a test fills and empties: a tmpfs of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class SmallDisk:
    """A folder that is a file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, left: int = 0) -> None:
        """Leave `left` bytes of room, rounded to whole pages."""
        self.empty()
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            # Others may write meanwhile: what is left is read anew for each piece.
            while (more := self._room() - left) > 0:
                file.write(bytes(min(more, 1 << 20)))

    def _room(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mounted at `folder` (made here) until the end of the block. Raises PermissionError where this machine
    does not let its user mount.
    """
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(folder)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PermissionError(done.stderr.strip())
    try:
        yield SmallDisk(folder)
    finally:
        # What still has a file open there keeps it until it ends.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

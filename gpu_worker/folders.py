# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that are this user's alone: artists' scenes lie in them."""

import os
import stat
from pathlib import Path

from farm_protocol.errors import InvalidInput


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone, whatever the umask; one that
    others could look into is closed to them. Raises InvalidInput where it is somebody else's, or no folder.
    """
    try:
        for missing in reversed([folder, *folder.parents]):
            _make(missing)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"The folder {folder} cannot be used: {error.strerror}.") from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise InvalidInput(
                f"The folder {folder} belongs to another user (uid {found.st_uid}), who could read and "
                "change what a node keeps there: give this node one of its own with --state-dir."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _make(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        # The mode that is asked for loses what the umask takes, which may be too much.
        folder.chmod(0o700)

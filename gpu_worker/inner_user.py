# SPDX-License-Identifier: GPL-3.0-or-later
"""The user that a sandbox runs as where root starts it, and what that user may read and write."""

import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from farm_protocol.errors import FarmError

UNUSED_USERS = range(0x70000000, 0x7FFFFFFF)
"""Numbers that no system gives to its users, nor systemd to anything (systemd's UIDS-GIDS.md)."""

MOST_SHOWN = 500
"""Parts of a closed folder. Bubblewrap takes 9000 words, and each part and each folder needs a few."""

COUNTED_APART = (5, 14)
"""Since this Linux processes are counted by user namespace."""


class SandboxError(FarmError):
    """The sandbox cannot be used on this machine, or not for this folder."""

    code = "sandbox"


def is_root() -> bool:
    """Whether this process may do anything on its machine, so that what it starts must be another user."""
    return os.geteuid() == 0


def counts_processes() -> bool:
    """Whether the kernel counts a sandbox's processes apart from those of its user."""
    release = os.uname().release.split(".")
    try:
        return is_root() or (int(release[0]), int(release[1].split("-")[0])) >= COUNTED_APART
    except (IndexError, ValueError):
        return False


def own_user() -> int:
    """A user (and group) for one sandbox alone: by chance, among so many that two are never the same. Raises
    SandboxError where this system knows no user but root.
    """
    try:
        mapped = _mapped_users(Path("/proc/self/uid_map").read_text())
    except (OSError, ValueError):
        mapped = UNUSED_USERS
    if not mapped:
        raise SandboxError("Root is the only user here, and a sandbox as root holds nothing.")
    return secrets.choice(mapped)


def _mapped_users(uid_map: str) -> range:
    """Of a user namespace's map, the users that a sandbox may have: the unused ones where they are mapped,
    else the upper half of the largest part.
    """
    parts = [(int(first), int(count)) for first, _, count in map(str.split, uid_map.splitlines())]
    if any(first <= UNUSED_USERS.start and first + count >= UNUSED_USERS.stop for first, count in parts):
        return UNUSED_USERS
    first, count = max(parts, key=lambda part: part[1], default=(0, 0))
    return range(max(1, first + count // 2), first + count)


def shown(path: Path) -> tuple[Path, ...]:
    """`path`, or, where the sandbox's user might not look into it, what it holds. Links in it are never
    followed, and not shown: they might lead anywhere on the machine, and so might other kinds of files.
    Raises SandboxError for a file that its user may not read, and for more than `MOST_SHOWN` of them.
    """
    if not is_root():
        return (path,)
    try:
        return tuple(_shown(path))
    except OSError as error:
        raise SandboxError(f"{path} cannot be shown in the sandbox: {error.strerror}.") from error


def _shown(path: Path) -> Iterator[Path]:
    left, seen = [(path, path.stat())], 0
    while left:
        part, status = left.pop()
        seen += 1
        if seen > MOST_SHOWN:
            raise SandboxError(
                f"{path} may be entered by its owner only and holds more than {MOST_SHOWN} files and "
                f"folders, each of which the sandbox's user would have to be shown: chmod o+rx it."
            )
        if stat.S_ISREG(status.st_mode) and not status.st_mode & 0o004:
            raise SandboxError(
                f"{part} may be read by its owner only, and what root opens in the sandbox runs as another "
                f"user: chmod o+r it, or run this as an ordinary user."
            )
        if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o005 != 0o005:
            left += [(one, one.lstat()) for one in sorted(part.iterdir(), reverse=True)]
        elif stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            yield part


def let_write(path: Path) -> None:
    """Let the sandbox's user, who is another where root starts it, write to a folder or a new file. Both lie
    where no other user of the machine can come to.
    """
    if is_root():
        if not path.is_dir():
            path.touch()
        path.chmod(0o777 if path.is_dir() else 0o666)


def let_write_below(folder: Path) -> None:
    """The same for all that the node itself laid there, for a sandbox that is started next."""
    if is_root():
        for path in (folder, *folder.rglob("*")):
            let_write(path)


def take_back(folder: Path) -> None:
    """Make what a sandbox wrote the node's own, for others to read and nobody to change."""
    if is_root():
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                os.chown(path, os.geteuid(), os.getegid())
                path.chmod(0o755 if path.is_dir() else 0o644)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's append-only file after a crash: its torn end is cut off, a copy kept; damage inside is told.

Valkey cuts an end that is merely missing, and refuses to start where the end is zeros or something else, as
a power cut may leave it. Its own check tells how far the file is good. What follows is an end that was torn
off where no whole change is in it; where one is, something was lost in the middle, and nothing is cut unless
the user says so.
"""

import mmap
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from farm_protocol.errors import FarmError
from farm_protocol.files import private_opener, sync

FOLDER = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
CHECK = "valkey-check-aof"
"""The server's program is its check, too, when it is called by this name."""

CHECK_SECONDS = 600.0
LARGEST_MANIFEST = 1 << 20
MOST_PLACES = 10_000
"""Places where a change may begin, tried before the damage counts as one inside the file."""

_BEGIN = re.compile(rb"\*[1-9][0-9]{0,6}\r\n\$[0-9]{1,10}\r\n")
_COUNT = re.compile(rb"\*([1-9][0-9]{0,6})\r\n")
_LENGTH = re.compile(rb"\$([0-9]{1,10})\r\n")
_LISTED = re.compile(r"file (\S+) seq (\d+) type ([bhi])")
_GOOD = re.compile(r"ok_up_to=(\d+)")


class StoreDamaged(FarmError):
    """The store's files are damaged in a way that needs the user's decision."""

    code = "store_damaged"


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut off a file: `size` bytes from `at` on, now in `copy`."""

    file: Path
    at: int
    size: int
    copy: Path

    @property
    def sentence(self) -> str:
        """For the user."""
        return (
            f"The end of the store's file {self.file} was damaged, as after a power cut: its last "
            f"{self.size} bytes were cut off (a copy is {self.copy}). Changes of the last second before that "
            "may be lost."
        )


def mend(folder: Path, program: Path, anyway: bool = False) -> Cut | None:
    """Make the append-only file below a store's `folder` one that the server `program` starts with.

    What was cut, or None where nothing was. Raises StoreDamaged where whole changes follow the damage, unless
    they are to go `anyway`, and where the list of files is damaged.
    """
    file = _last_file(folder)
    if file is None or not file.stat().st_size:
        return None
    good = _good_bytes(file, program)
    size = file.stat().st_size
    if good >= size:
        return None
    if not anyway and _changes_follow(file, good):
        raise StoreDamaged(
            f"The store's file {file} is damaged at byte {good} of {size}, and changes follow the damage: "
            f"nothing was cut. `render-farm up --cut-store` goes on with what is before it and keeps a copy "
            f"of the rest; with {folder} moved away the farm starts over, without its jobs and nodes."
        )
    return _cut(file, good, folder)


def _last_file(folder: Path) -> Path | None:
    """The file that is written to, as the manifest names it; None before there is any."""
    manifest = folder / FOLDER / MANIFEST
    try:
        with manifest.open("rb") as file:
            lines = file.read(LARGEST_MANIFEST).decode().splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _bad_manifest(manifest, folder) from error
    found = [
        re.fullmatch(r"file (\S+) seq (\d+) type ([bhi])", line.strip()) for line in lines if line.strip()
    ]
    if not found or not all(found):
        raise _bad_manifest(manifest, folder)
    named = [(int(one[2]), one[1]) for one in found if one and one[3] == "i"]
    if not named:
        return None
    path = manifest.with_name(Path(max(named)[1]).name)
    if not path.exists():
        raise StoreDamaged(
            f"The store's file {path} is missing: put it back; or move {folder} away, then the farm starts "
            f"over, without its jobs and nodes."
        )
    return path


def _bad_manifest(manifest: Path, folder: Path) -> StoreDamaged:
    return StoreDamaged(
        f"{manifest}, which lists the store's files, is damaged: put a good one there; or move {folder} "
        "away, then the farm starts over, without its jobs and nodes."
    )


def _good_bytes(file: Path, program: Path) -> int:
    """How far a file is good by the server's own check; an unfinished transaction is not."""
    try:
        done = subprocess.run(
            [CHECK, str(file)],
            executable=str(program),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StoreDamaged(f"The check of {file} took more than {CHECK_SECONDS:g} seconds.") from error
    told = _GOOD.search(done.stdout.decode("utf-8", "replace"))
    if told:
        return int(told[1])
    if done.returncode == 0:
        return file.stat().st_size
    raise StoreDamaged(f"{file} cannot be checked: {done.stdout.decode('utf-8', 'replace').strip()[-300:]}")


def _changes_follow(file: Path, at: int) -> bool:
    """Whether a whole change follows the damage: then it is inside the file, not its end."""
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _end_of_open_transaction(data, at)
        for number, place in enumerate(_BEGIN.finditer(data, at)):
            if number >= MOST_PLACES or _end_of_change(data, place.start()) is not None:
                return True
    return False


def _end_of_open_transaction(data: mmap.mmap, at: int) -> int:
    """Where a transaction that begins at `at` and was not finished breaks off; `at` where none begins."""
    if not data[at : at + 20].upper().startswith(b"*1\r\n$5\r\nMULTI\r\n"):
        return at
    end: int | None = at
    while end is not None and end < len(data):
        at = end
        end = _end_of_change(data, at)
    return at if end is None else end


def _end_of_change(data: mmap.mmap, at: int) -> int | None:
    """Where the change that begins at `at` ends; None where it is not whole."""
    head = _COUNT.match(data, at)
    if head is None:
        return None
    at = head.end()
    for _ in range(int(head[1])):
        length = _LENGTH.match(data, at)
        if length is None:
            return None
        at = length.end() + int(length[1]) + 2
        if at > len(data) or data[at - 2 : at] != b"\r\n":
            return None
    return at


def _set_heads_aside(state: Path, now: str) -> None:
    """What this farm's own node and user kept of its log may be of what was cut off: to them it would look as
    if the farm had rewritten it.
    """
    for kept in (state / "node" / "heads").glob("*.jsonl"):
        for path in (kept, state / "heads" / kept.name):
            if path.exists():
                path.rename(path.with_name(f"{path.name}.before-{now}"))


def _cut(file: Path, at: int, folder: Path) -> Cut:
    size = file.stat().st_size - at
    now = time.strftime("%Y%m%d-%H%M%S")
    copy = folder / f"cut-{now}-{file.name}-at-{at}"
    with file.open("rb") as source, open(copy, "xb", opener=private_opener) as target:
        source.seek(at)
        while chunk := source.read(1 << 20):
            target.write(chunk)
        sync(target)
    with file.open("r+b") as handle:
        handle.truncate(at)
        sync(handle)
    _set_heads_aside(folder.parent, now)
    return Cut(file, at, size, copy)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store's volumes after a crash: an index that may be torn is set aside, and made again.

SeaweedFS appends objects to a volume's `.dat` and where they lie to its `.idx`. With a torn index it starts,
and answers for none of the volume's objects; without one it reads the `.dat` and makes it. A power cut can
tear any page that was not on the disk yet, so after one no index is believed.
"""

import contextlib
import os
import time
from pathlib import Path

from farm_protocol.files import write_private

ENTRY = 17
"""Bytes of an index entry: key (8), offset in units of 8 (4, and a high byte), size (4), big endian."""

LOOKED_AT = 4096
"""Entries at the end of an index that are looked at."""

AROUND = 16 + 4 + 8
"""Bytes of an object's header, checksum and time, which its size leaves out."""

MARK = "running"
"""In the store's folder: the machine's boot under which the store was started; gone after a clean stop."""

BOOT = Path("/proc/sys/kernel/random/boot_id")


def set_aside_torn(folder: Path) -> list[Path]:
    """Call before every start: which indexes were set aside, beside the place they had. Raises OSError."""
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    mark = folder / MARK
    before = mark.read_text(errors="replace") if mark.exists() else boot
    torn = [index for index in sorted(folder.glob("*.idx")) if before != boot or not _is_whole(index)]
    for index in torn:
        index.replace(index.with_name(f"{index.name}.torn-{time.strftime('%Y%m%d-%H%M%S')}"))
    with contextlib.suppress(OSError):  # on a full disk: the next start believes less, and that is all
        write_private(mark, boot.encode())
    return torn


def stopped_cleanly(folder: Path) -> None:
    """Call after the store has ended by itself: what it wrote is on the disk when this returns."""
    for path in (*folder.glob("*.dat"), *folder.glob("*.idx")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    (folder / MARK).unlink(missing_ok=True)


def _is_whole(index: Path) -> bool:
    """Whether an index ends with whole entries, of objects that are in the volume's file."""
    data = index.with_suffix(".dat")
    size = index.stat().st_size
    if size % ENTRY or not data.exists():
        return not size
    with index.open("rb") as file:
        file.seek(max(0, size - LOOKED_AT * ENTRY))
        entries = file.read()
    end = data.stat().st_size
    return all(_is_inside(entries[at : at + ENTRY], end) for at in range(0, len(entries), ENTRY))


def _is_inside(entry: bytes, end: int) -> bool:
    key = int.from_bytes(entry[:8], "big")
    offset = 8 * (int.from_bytes(entry[8:12], "big") | entry[12] << 32)
    size = int.from_bytes(entry[13:], "big", signed=True)
    # The size of a removed object is -1; what is left of it need not be anywhere.
    room = offset + size + AROUND if size > 0 else offset
    return key > 0 and size >= -1 and (offset > 0 or size < 0) and room <= end

# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as blobs."""

import hashlib
from pathlib import Path

from farm_protocol.records import Blob


def hash_file(path: Path) -> Blob:
    """The sha256 and size in bytes of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Blob(digest, file.tell())

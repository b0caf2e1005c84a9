# SPDX-License-Identifier: GPL-3.0-or-later
"""Where files of scenes lie that are handed over on one machine, instead of through an object store.

The folder is the user's who runs the farm, and nobody else's: client, coordinator and own node run as that
user. A file in it is a copy of the artist's, named by its sha256, and is never changed.
"""

from pathlib import Path

FOLDER = "handed"
"""Its name in the folder of an embedded farm."""


def place(folder: Path, sha256: str) -> Path:
    """Where the bytes with this sha256 (64 hexadecimal digits) lie, if they are there."""
    return folder / sha256[:2] / sha256

# SPDX-License-Identifier: GPL-3.0-or-later
"""A token as commands take it: in a file that only its user may read."""

import os
from pathlib import Path


def token_file(folder: Path, token: str) -> str:
    """The path of a new file with the token."""
    path = folder / f"token-{len(list(folder.glob('token-*')))}"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{token}\n")
    return str(path)

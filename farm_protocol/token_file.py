# SPDX-License-Identifier: GPL-3.0-or-later
"""A token from a file or from standard input: every user of a machine can read its command lines."""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from farm_protocol.errors import InvalidInput

LONGEST = 4096
STANDARD_INPUT = "-"


def read_token(path: str) -> str:
    """The token in a file that only this user may read, or for `-` on standard input.

    Raises InvalidInput naming what is wrong and how it is mended; the text of the file is in no message.
    """
    where = "standard input" if path == STANDARD_INPUT else path
    try:
        token = _text(path).decode().strip()
    except OSError as error:
        raise InvalidInput(f"The token file {where} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where} holds no token.") from error
    if not token:
        raise InvalidInput(f"{where} holds no token: it is empty.")
    if not token.isascii() or not token.isprintable() or " " in token or len(token) > LONGEST:
        raise InvalidInput(f"{where} holds more than a token: write the token alone into it.")
    return token


def refuse_on_command_line(words: Sequence[str], variable: str) -> None:
    """Raise InvalidInput where a token was given as a word, as earlier versions took it."""
    if any(word == "--token" or word.startswith("--token=") for word in words):
        raise InvalidInput(
            "Every user of this machine can read its command lines, so no token is taken from one: put it "
            f"into a file (chmod 600) and give --token-file FILE (-: standard input), or set {variable}. "
            "Have the one you gave replaced: `render-farm token rotate`."
        )


def _text(path: str) -> bytes:
    if path == STANDARD_INPUT:
        return sys.stdin.buffer.read(LONGEST + 2)
    with Path(path).expanduser().open("rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
            raise InvalidInput(f"Others may read the token file {path}: chmod 600 {path}")
        return file.read(LONGEST + 2)

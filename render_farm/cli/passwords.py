# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords of wallets: from a file, or from whoever sits at the terminal; never from a command line."""

import sys
from getpass import getpass
from pathlib import Path

from farm_protocol.errors import InvalidInput
from render_farm.cli.options import UsageError


def given_password(file: Path | None) -> str:
    """The password of a wallet that is there. Raises UsageError where nobody can be asked."""
    return _from(file) or _asked("Password: ")


def chosen_password(file: Path | None) -> str:
    """The password for a new wallet, typed twice. Raises InvalidInput where the two differ."""
    found = _from(file)
    if found:
        return found
    password = _asked("Password for the new wallet: ")
    if _asked("The same again: ") != password:
        raise InvalidInput("The two passwords differ. Nothing was written.")
    return password


def _from(file: Path | None) -> str:
    from payments import keystore  # noqa: PLC0415 - what signs takes long to load

    return keystore.read_password(file) if file else ""


def _asked(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("The password is needed: --password-file (or FARM_WALLET_PASSWORD_FILE).")
    try:
        password = getpass(prompt, stream=sys.stderr)
    except EOFError:
        password = ""
    if not password:
        raise InvalidInput("An empty password protects nothing.")
    return password

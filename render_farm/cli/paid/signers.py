# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signs for a wallet: a keystore file with its password, or, for a wallet that is named by its address, a
signer at a URL.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from frame_splitter.command_line import UsageError
from payments import wallets
from payments.wallets import is_remote
from render_farm.cli.paid.passwords import given_password

if TYPE_CHECKING:
    from payments.sending import Signer


def open_signer(wallet: Path, password: Path | None, url: str) -> "Signer":
    """What signs for the wallet. Raises UsageError where an address comes without a signer, FarmError for a
    keystore that cannot be opened.
    """
    if is_remote(wallet) and not url:
        raise UsageError(f"{wallet} is an address, and needs a signer: its URL in FARM_SIGNER_URL.")
    return wallets.open_signer(wallet, lambda: given_password(password), url)


def address_of(wallet: Path) -> str:
    """Whose wallet it is. Raises NotFound, InvalidInput for what is no keystore."""
    from payments import keystore  # noqa: PLC0415 - what signs takes long to load

    return str(wallet) if is_remote(wallet) else keystore.address_in(wallet)

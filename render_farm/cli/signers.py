# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signs for a wallet: a keystore file with its password, or, for a wallet that is named by its address, a
signer at a URL.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from render_farm.cli.options import UsageError
from render_farm.cli.passwords import given_password

if TYPE_CHECKING:
    from payments.sending import Signer

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def is_remote(wallet: Path) -> bool:
    """Whether a wallet is named by its address."""
    return _ADDRESS.fullmatch(str(wallet)) is not None


def open_signer(wallet: Path, password: Path | None, url: str) -> "Signer":
    """What signs for the wallet. Raises UsageError where an address comes without a signer, FarmError for a
    keystore that cannot be opened.
    """
    # What signs takes long to load.
    from payments import keystore  # noqa: PLC0415
    from payments.signer import RemoteSigner  # noqa: PLC0415

    if not is_remote(wallet):
        return keystore.load(wallet, given_password(password))
    if not url:
        raise UsageError("A wallet that is named by its address needs a signer: its URL in FARM_SIGNER_URL.")
    return RemoteSigner(url, str(wallet))


def address_of(wallet: Path) -> str:
    """Whose wallet it is. Raises NotFound, InvalidInput for what is no keystore."""
    from payments import keystore  # noqa: PLC0415 - what signs takes long to load

    return str(wallet) if is_remote(wallet) else keystore.address_in(wallet)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signs for a wallet: a keystore file with its password, or, for a wallet that is named by its address, a
signer at a URL.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from farm_protocol.errors import InvalidInput

if TYPE_CHECKING:
    from payments.sending import Signer

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def is_remote(wallet: Path | str) -> bool:
    """Whether a wallet is named by its address."""
    return _ADDRESS.fullmatch(str(wallet)) is not None


def open_signer(wallet: Path, password: Callable[[], str], url: str) -> "Signer":
    """What signs for the wallet; `password` is asked for a keystore only. Raises InvalidInput where an
    address has a slip in it or comes without a signer's URL, FarmError for a keystore that cannot be opened.
    """
    # What signs takes long to load, and raises Python's recursion limit beyond what a thread's stack holds.
    limit = sys.getrecursionlimit()
    from payments import keystore  # noqa: PLC0415
    from payments.signer import RemoteSigner  # noqa: PLC0415

    sys.setrecursionlimit(limit)
    if not is_remote(wallet):
        return keystore.load(wallet, password())
    if not url:
        raise InvalidInput(
            "A wallet that is named by its address needs a signer: its URL in FARM_SIGNER_URL."
        )
    return RemoteSigner(url, str(wallet))

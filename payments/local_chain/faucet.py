# SPDX-License-Identifier: GPL-3.0-or-later
"""The one account that a local chain begins with. Its key lies by the journal: it is play money."""

import secrets
from pathlib import Path

from payments.local_chain.errors import BadParameter
from payments.wallet.keystore import Key, load, new_key, read_password, save, write_private

BANK_OUTBOX = "bank.setup"
"""The outbox of what the faucet's account sends to set a farm up, beside the farm's wallets."""
KEYSTORE = "faucet.json"
PASSWORD = "faucet.password"  # noqa: S105 - a file's name
BALANCE = 10**27
"""Wei: a thousand million ether."""
MOST = 10**21
"""Wei given at a time: a thousand ether."""


def faucet(folder: Path) -> Key:
    """The faucet's key, made at the first start."""
    keystore, password = folder / KEYSTORE, folder / PASSWORD
    if not password.exists():
        write_private(password, secrets.token_hex(32))
    if not keystore.exists():
        save(new_key(), keystore, read_password(password), iterations=1)
    return load(keystore, read_password(password))


def transfer(key: Key, to: str, amount: int, nonce: int, chain_id: int, base_fee: int) -> bytes:
    """The signed transaction that gives `amount` Wei. Raises BadParameter for none, or too many."""
    if not 0 < amount <= MOST:
        raise BadParameter(f"the faucet gives 1 to {MOST} Wei at a time")
    return key.sign_transaction(
        {
            "chainId": chain_id,
            "nonce": nonce,
            "to": to,
            "value": amount,
            "gas": 100_000,
            "maxFeePerGas": 2 * base_fee + 1,
            "maxPriorityFeePerGas": 1,
            "data": "0x",
        }
    )

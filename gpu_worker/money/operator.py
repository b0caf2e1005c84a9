# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator behind a node: its wallet, opened once, and what it asks."""

import sys

from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address

from farm_protocol.errors import InvalidInput
from gpu_worker.config import SellingConfig
from gpu_worker.money.selling import Operator
from payments import amounts, network
from payments.statements import NOBODY

MOST_PRICE = 1 << 96
"""As in the contract."""


def load_operator(config: SellingConfig) -> Operator:
    """The operator that the settings name. Raises InvalidInput or NotFound saying what is wrong."""
    # What reads keystores raises Python's recursion limit beyond what a thread's stack holds.
    limit = sys.getrecursionlimit()
    from payments import keystore  # noqa: PLC0415

    sys.setrecursionlimit(limit)
    where = network.load(config.network)
    price = amounts.parse(config.price, where.decimals)
    if not 0 < price < MOST_PRICE:
        raise InvalidInput(f"--price {config.price[:40]} is nothing, or more than the contract holds.")
    key = keystore.load(config.wallet, keystore.read_password(config.password))
    return Operator(
        key=key.reveal(),
        address=key.address,
        payee=_payee(config.payee or key.address),
        price=price,
        capacity=config.capacity,
        days=config.days,
        network=where,
    )


def _payee(written: str) -> str:
    is_plain = written[2:] in (written[2:].lower(), written[2:].upper())
    good = written.startswith("0x") and is_hex_address(written) and written.lower() != NOBODY
    # Letters of both kinds are a checksum: what is paid to a slip of the pen is lost.
    if not good or not (is_plain or is_checksum_address(written)):
        raise InvalidInput(f"--payee '{written[:60]}' is no address.")
    return str(to_checksum_address(written))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the contracts on a chain: the market makes its vault and its disputes contract itself."""

import time
from collections.abc import Callable
from dataclasses import astuple

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from frame_splitter.errors import Conflict, InvalidInput, Unavailable
from payments.artifacts import artifact
from payments.chain import Chain, Reverted
from payments.network import Network, Windows
from payments.outbox import Outbox, Outcome
from payments.sending import Sender, SendingRules, Signer

SUPPLY = 10**9 * 10**18
"""Of the local chain's token, in its smallest unit."""
LOOK_SECONDS = 0.1


def deploy(
    chain: Chain,
    signer: Signer,
    outbox: Outbox,
    windows: Windows,
    token: str | None = None,
    confirmations: int = 0,
    wait: float = 300.0,
    clock: Callable[[], float] = time.time,
) -> Network:
    """Deploy a market over `token`, or over a new token whose whole supply is the signer's. Done again with
    the same outbox it goes on where it was cut off. Raises InvalidInput for what is no token, Unavailable.
    """
    first = chain.head()
    sender = Sender(chain, signer, outbox, clock, SendingRules(confirmations=confirmations))
    if token is None:
        made = (
            artifact("RenderToken").bytecode + encode(["address", "uint256"], [signer.address, SUPPLY]).hex()
        )
        token = _deployed(chain, sender, "deploy token", made, wait)
    symbol, decimals = _about(chain, token)
    arguments = encode(["address", "(uint64,uint64,uint64,uint64,uint64)"], [token, astuple(windows)])
    market = _deployed(
        chain, sender, "deploy market", artifact("RenderMarket").bytecode + arguments.hex(), wait
    )
    abi = artifact("RenderMarket").abi
    vault, disputes = (str(chain.read(market, abi, name)) for name in ("vault", "disputes"))
    return Network(
        chain.chain_id, token, market, vault, disputes, windows, symbol, decimals, confirmations, first
    )


def _about(chain: Chain, token: str) -> tuple[str, int]:
    abi = artifact("RenderToken").abi
    try:
        return str(chain.read(token, abi, "symbol")), int(chain.read(token, abi, "decimals"))
    except Reverted as error:
        raise InvalidInput(f"{token} is no token of this chain.") from error


def _deployed(chain: Chain, sender: Sender, key: str, code: str, wait: float) -> str:
    sender.submit(key, "", code)
    end = time.monotonic() + wait
    while time.monotonic() < end:
        intent = next(one for one in sender.advance() if one.key == key)
        if intent.outcome is Outcome.DONE and intent.transaction is not None:
            receipt = chain.receipt(intent.transaction)
            if receipt is not None and receipt.created is not None:
                return str(to_checksum_address(receipt.created))
        if intent.outcome in (Outcome.REVERTED, Outcome.DISPLACED):
            raise Conflict(f"{key}: the chain refused it.")
        time.sleep(LOOK_SECONDS)
    raise Unavailable(f"{key}: the chain has not carried it out yet; the same command goes on with it.")

# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the contracts on a chain: the market makes its vault and its disputes contract itself."""

import time
from collections.abc import Callable
from dataclasses import astuple

from eth_abi.abi import encode
from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address

from farm_protocol.errors import InvalidInput, Unavailable
from payments.artifacts import artifact
from payments.carrying import carried_out
from payments.chain import Chain, Receipt, Reverted
from payments.network import Network, Windows
from payments.outbox import Outbox, Outcome
from payments.refusals import SENTENCES, refusal
from payments.sending import Sender, SendingRules, Signer

SUPPLY = 10**9 * 10**18
"""Of the local chain's token, in its smallest unit."""
MOST_DECIMALS = 36
LONGEST_SYMBOL = 32
LONGEST_UNBONDING = 366 * 86_400
"""Seconds (LONGEST in Jobs.sol)."""
_TOKEN, _MARKET = "deploy token", "deploy market"


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
    the same outbox it goes on where it was cut off. Raises InvalidInput for what is no token and for
    windows that do not fit together, NoFunds, Unavailable.
    """
    check_windows(windows)
    made = _Deployer(chain, Sender(chain, signer, outbox, clock, SendingRules(confirmations)), outbox, wait)
    if token is None:
        given = encode(["address", "uint256"], [signer.address, SUPPLY])
        token = _place(made.carry_out(_TOKEN, artifact("RenderToken").bytecode + given.hex()))
    symbol, decimals = about_token(chain, token)
    given = encode(["address", "(uint64,uint64,uint64,uint64,uint64)"], [token, astuple(windows)])
    mined = made.carry_out(_MARKET, artifact("RenderMarket").bytecode + given.hex())
    market, abi = _place(mined), artifact("RenderMarket").abi
    vault, disputes = (str(chain.read(market, abi, name)) for name in ("vault", "disputes"))
    named = (str(to_checksum_address(token)), market, vault, disputes)
    return Network(chain.chain_id, *named, windows, symbol, decimals, confirmations, mined.block)


def check_windows(windows: Windows) -> None:
    """Raises InvalidInput for times that the market would refuse: before a token is made for it."""
    named = astuple(windows)
    longer = windows.claim + windows.decision + windows.grace < windows.unbonding <= LONGEST_UNBONDING
    if not all(named) or not longer or windows.slash > windows.unbonding:
        raise InvalidInput(
            f"The times do not fit together: {SENTENCES['BadWindows'].partition(': ')[2]}, "
            "and unbonding no longer than 366 days."
        )


def about_token(chain: Chain, token: str) -> tuple[str, int]:
    """A token's symbol and decimals. Raises InvalidInput where it does not answer as a plain ERC-20 does.

    That it keeps nothing of what is sent shows when it is sent: the contracts look, each time.
    """
    mixed = token.lower() != token
    if not is_hex_address(token) or (mixed and not is_checksum_address(token)):
        raise InvalidInput(f"'{token[:80]}' is no address, or has a mistake in it.")
    abi = artifact("RenderToken").abi
    try:
        symbol, decimals = str(chain.read(token, abi, "symbol")), int(chain.read(token, abi, "decimals"))
        supply = int(chain.read(token, abi, "totalSupply"))
        chain.read(token, abi, "balanceOf", to_checksum_address(token))
        chain.read(token, abi, "allowance", to_checksum_address(token), to_checksum_address(token))
    except (Reverted, Unavailable) as error:
        chain.head()  # raises where it is the chain that does not answer
        raise InvalidInput(f"{token} is no ERC-20 token of this chain.") from error
    if not symbol.isprintable() or not 0 < len(symbol) <= LONGEST_SYMBOL:
        raise InvalidInput(f"The token {token} has no symbol that can be shown.")
    if decimals > MOST_DECIMALS or supply == 0:
        raise InvalidInput(f"The token {token} has {decimals} decimals and a supply of {supply}.")
    return symbol, decimals


class _Deployer:
    """Makes contracts, each once: what came to nothing before is tried again."""

    def __init__(self, chain: Chain, sender: Sender, outbox: Outbox, wait: float) -> None:
        self._chain, self._sender, self._outbox, self._wait = chain, sender, outbox, wait

    def carry_out(self, what: str, code: str) -> Receipt:
        tried = [one for one in self._outbox.all() if one.key.startswith(what)]
        over = [one for one in tried if one.outcome in (Outcome.REVERTED, Outcome.DISPLACED)]
        key = what if not over else f"{what} again {len(over)}"
        try:
            self._sender.submit(key, "", code)
        except Reverted as error:
            raise refusal(key, error) from error
        receipt = self._chain.receipt(carried_out(self._sender, key, self._wait).transaction)
        if receipt is None:
            raise Unavailable(f"{key}: the chain has taken it back; the same command goes on with it.")
        return receipt


def _place(receipt: Receipt) -> str:
    assert receipt.created is not None
    return str(to_checksum_address(receipt.created))

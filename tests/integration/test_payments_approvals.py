# SPDX-License-Identifier: GPL-3.0-or-later
"""What a wallet approves: as much as is needed, once, however the run before it ended."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm_protocol.errors import Unavailable
from payments.outbox import FileOutbox, Intent
from payments.refusals import Refused
from payments.sending import SendingRules
from payments.wallet import Wallet
from tests.local_chain import LocalChain, local_chain
from tests.market_place import UNIT, WAIT, Place

Staker = Callable[..., Wallet]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    with local_chain(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(scope="module")
def place(chain: LocalChain, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(chain, tmp_path_factory.mktemp("wallets"))


@pytest.fixture
def staker(place: Place, tmp_path: Path) -> Staker:
    """An operator's wallet, for one run after the other."""
    key = place.chain.rich_key()
    place.bank.transfer(f"to {key.address}", key.address, 20 * UNIT, WAIT)
    held: list[FileOutbox] = []

    def run(outbox: type[FileOutbox] = FileOutbox, **rules: int) -> Wallet:
        for one in held:
            one.close()
        held[:] = [outbox(tmp_path / "outbox")]
        return Wallet(place.market, key, held[0], rules=SendingRules(**rules))

    return run


def free(place: Place, wallet: Wallet) -> int:
    return place.market.stake(wallet.address).free


class Unsent(Exception):
    """The process died between meaning and sending."""


class Dying(FileOutbox):
    def save(self, intent: Intent) -> None:
        super().save(intent)
        if not intent.attempts:
            raise Unsent


def test_an_allowance_is_not_counted_on_that_something_under_way_uses_up(
    place: Place, staker: Staker
) -> None:
    wallet = staker()
    wallet.do("approve", place.market.approve(place.network.vault, 3 * UNIT), wait=WAIT)
    with pytest.raises(Unsent):
        staker(Dying).stake("stake", wallet.address, 3 * UNIT, WAIT)
    again = staker()
    again.stake("more stake", wallet.address, 2 * UNIT, WAIT)
    assert free(place, wallet) == 5 * UNIT
    assert place.market.allowance(wallet.address, place.network.vault) == 0


def test_a_smaller_allowance_left_over_is_taken_away_first(place: Place, staker: Staker) -> None:
    """Some tokens change none but to and from nothing."""
    wallet, vault = staker(), place.network.vault
    wallet.do("approve", place.market.approve(vault, UNIT), wait=WAIT)
    first = place.rpc.head() + 1
    wallet.stake("stake", wallet.address, 2 * UNIT, WAIT)
    told = place.rpc.events(place.network.token, _approval_abi(), first, place.rpc.head())
    assert [event.values["value"] for event in told] == [0, 2 * UNIT]
    assert place.market.allowance(wallet.address, vault) == 0


def _approval_abi() -> list[dict[str, object]]:
    inputs = [
        {"name": "owner", "type": "address", "indexed": True},
        {"name": "spender", "type": "address", "indexed": True},
        {"name": "value", "type": "uint256", "indexed": False},
    ]
    return [{"type": "event", "name": "Approval", "inputs": inputs, "anonymous": False}]


def test_an_approval_waits_for_a_block_and_what_it_is_for_for_confirmations(
    place: Place, chain: LocalChain, staker: Staker
) -> None:
    wallet = staker(confirmations=3)
    with pytest.raises(Unavailable, match="goes on with it"):
        wallet.stake("stake", wallet.address, 4 * UNIT, 0.3)
    assert free(place, wallet) == 4 * UNIT
    for _ in range(3):
        chain.rpc("evm_mine")
    again = staker(confirmations=3)
    again.stake("stake", wallet.address, 4 * UNIT, WAIT)
    assert free(place, wallet) == 4 * UNIT
    assert place.rpc.count(wallet.address) == 2


def test_what_is_done_once_is_tried_again_where_it_came_to_nothing(
    place: Place, chain: LocalChain, staker: Staker
) -> None:
    wallet, market = staker(), place.market
    wallet.stake("stake", wallet.address, 3 * UNIT, WAIT)
    chain.rpc("evm_setAutomine", False)
    try:
        wallet.begin("all", market.withdraw(3 * UNIT))
        with pytest.raises(Unavailable):
            wallet.do("once", market.withdraw(2 * UNIT), wait=0.1)
        chain.rpc("evm_mine")
        with pytest.raises(Refused, match="had changed"):
            wallet.do("once", market.withdraw(2 * UNIT), wait=WAIT)
    finally:
        chain.rpc("evm_setAutomine", True)
    wallet.stake("stake", wallet.address, 3 * UNIT, WAIT)
    sent = wallet.do("once", market.withdraw(2 * UNIT), wait=WAIT)
    assert wallet.do("once", market.withdraw(2 * UNIT), wait=WAIT) == sent
    assert free(place, wallet) == UNIT

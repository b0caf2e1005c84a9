# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's whole life on a real chain, by the calls that the farm, clients and operators use."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm_protocol.ids import JobId
from payments import accepted_tree, signing
from payments.chain import WrongChain
from payments.keystore import new_key
from payments.market import Market
from payments.market_records import AgreementState
from payments.network import Windows, load, save
from payments.outbox import FileOutbox
from payments.promises import (
    Credit,
    Offer,
    Order,
    Raise,
    Release,
    SignedOffer,
    SignedOrder,
    SignedRaise,
    SignedRelease,
    SignedVoucher,
    Voucher,
)
from payments.refusals import Refused
from payments.session import session_key
from payments.wallet import Wallet
from tests.anvil import anvil, without_anvil
from tests.local_chain import LocalChain, local_chain
from tests.market_place import FARM_KEY, NOBODY, UNIT, WAIT, Place, terms_of

CHAINS = [
    pytest.param(local_chain, id="local"),
    pytest.param(anvil, id="anvil", marks=without_anvil),
]


@pytest.fixture(scope="module", params=CHAINS)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    with request.param(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(scope="module")
def place(chain: LocalChain, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(chain, tmp_path_factory.mktemp("wallets"))


def test_a_job_is_opened_paid_and_its_rest_taken_back(place: Place, tmp_path: Path) -> None:
    job = JobId("j0123456789abcdef")
    session = session_key(FARM_KEY, job)
    key, client = place.wallet("client", 20 * UNIT)
    owner, operator = place.wallet("operator", 10 * UNIT)
    operator.stake("stake", owner.address, 10 * UNIT, WAIT)
    terms = terms_of(place, job, key.address, session)
    first = client.open_job("open", terms, 12 * UNIT, WAIT)
    assert client.open_job("open", terms, 12 * UNIT, WAIT) == first
    number = place.market.number_of(terms.message.farm, job)
    assert place.market.job(number).budget == 12 * UNIT

    node = new_key()
    offer = Offer(
        terms.message.farm,
        node.address,
        owner.address,
        "CPU:é:5.0.1",
        UNIT // 2,
        1000,
        10_000,
        terms.message.deadline,
        1,
    )
    offered = SignedOffer(offer, place.signed(offer, owner.reveal()))
    order = Order(number, signing.struct_hash(offer).hex(), 2 * UNIT, UNIT, 16, 5)
    ordered = SignedOrder(order, place.signed(order, session))
    agreement = signing.agreement_id(order, place.network)
    more = Raise(agreement, 5 * UNIT)
    credited = [Credit(f"{job}.f{i}", "cd" * 32, UNIT // 4 + i) for i in range(3)]
    root, total = accepted_tree.root(credited)
    voucher = Voucher(agreement, total, root)
    release = Release(agreement, total)
    calls = (
        place.market.open_agreement(offered, ordered),
        place.market.raise_cap(SignedRaise(more, place.signed(more, session))),
        place.market.redeem([SignedVoucher(voucher, place.signed(voucher, session))]),
        place.market.release_for(SignedRelease(release, place.signed(release, owner.reveal()))),
    )
    place.bank.do("all", *calls, wait=WAIT)
    found = place.market.agreement(agreement)
    assert (found.state, found.paid, found.cap) == (AgreementState.CLOSED, total, 5 * UNIT)
    assert found.operator == owner.address
    assert found.task_cap == UNIT
    assert place.market.token_balance(owner.address) == total
    assert place.market.stake(owner.address).bound == 5 * UNIT
    assert place.market.available(number) == 12 * UNIT - total
    client.take_back("back", number, 12 * UNIT - total, WAIT)
    assert place.market.token_balance(key.address) == 20 * UNIT - total
    told = [event.name for event in place.market.events(0, place.rpc.head())]
    wanted = ["JobOpened", "Funded", "AgreementOpened", "Locked", "CapRaised", "Locked", "Paid"]
    assert [name for name in told if name in wanted] == wanted
    save(place.network, tmp_path / "chain.toml")
    assert load(tmp_path / "chain.toml") == place.network


def test_what_the_contract_refuses_is_told_in_words(place: Place) -> None:
    job = JobId("j1")
    key, client = place.wallet("poor", UNIT)
    terms = terms_of(place, job, key.address, session_key(FARM_KEY, job))
    with pytest.raises(Refused, match="too little of the token"):
        client.open_job("open", terms, 2 * UNIT, WAIT)


WRONG = [
    ({"market": "0x" + "12" * 20}, "no render market"),
    ({"token": "0x" + "12" * 20}, "token is"),
    ({"vault": "0x" + "12" * 20}, "vault is"),
    ({"disputes": "0x" + "12" * 20}, "disputes is"),
    ({"decimals": 6}, "18 decimals"),
    ({"symbol": "DAI"}, "is called"),
    ({"windows": Windows(600, 600, 600, 2000, 61)}, "times are"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_nothing_is_sent_to_contracts_other_than_named(
    place: Place, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    place.market.check()
    market = Market(place.rpc, replace(place.network, **changes))
    key, _ = place.wallet(sentence)
    wallet = Wallet(market, key, FileOutbox(tmp_path / "outbox"))
    with pytest.raises(WrongChain, match=sentence):
        wallet.transfer("gift", NOBODY, 1, WAIT)
    assert place.rpc.count(key.address) == 0

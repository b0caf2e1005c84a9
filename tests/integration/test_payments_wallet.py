# SPDX-License-Identifier: GPL-3.0-or-later
"""What a wallet does happens once, and nothing gets stuck: killed, cut off, stalled, asked for otherwise."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.errors import Conflict, Unavailable
from farm_protocol.ids import JobId
from payments.chain import Chain, NoFunds
from payments.keystore import Key, new_key
from payments.market import Market
from payments.outbox import FileOutbox, Intent
from payments.promises import SignedTerms
from payments.refusals import Refused
from payments.sending import SendingRules
from payments.session import session_key
from payments.wallet import Wallet
from tests.flaky_rpc import Fault, flaky_rpc
from tests.local_chain import LocalChain, local_chain
from tests.market_place import FARM_KEY, UNIT, WAIT, Place, terms_of

CLIENT_TOKENS = 1000 * UNIT
COUNT = itertools.count()


DEATHS = [(0, False), (1, False), (2, True), (2, False), (4, False), (5, True), (5, False)]
"""At which write, and whether before it: meant, signed, handed over and done, of the approval and of the
deposit."""


class Killed(Exception):
    """The process died here."""


class Mortal(FileOutbox):
    """An outbox whose process dies before or after one of its writes."""

    def __init__(self, path: Path, dies_at: int, before: bool) -> None:
        super().__init__(path)
        self.left, self.before = dies_at, before

    def save(self, intent: Intent) -> None:
        if self.left == 0 and self.before:
            raise Killed
        super().save(intent)
        if self.left == 0:
            raise Killed
        self.left -= 1


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    with local_chain(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(scope="module")
def place(chain: LocalChain, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(chain, tmp_path_factory.mktemp("wallets"))


class Client:
    """A client whose process can be started anew, with a job."""

    def __init__(self, place: Place, folder: Path, key: Key) -> None:
        self.place, self.path, self.key = place, folder / "outbox", key
        give = place.market.transfer(key.address, CLIENT_TOKENS)
        place.bank.do(f"to {key.address}", give, wait=WAIT)
        self.job, self.terms = self.new_job()

    def new_job(self) -> tuple[JobId, SignedTerms]:
        job = JobId(f"j{self.key.address[2:14]}x{next(COUNT)}")
        return job, terms_of(self.place, job, self.key.address, session_key(FARM_KEY, job))

    def wallet(self, outbox: FileOutbox | None = None, url: str = "", **rules: int) -> Wallet:
        place = self.place
        market = Market(Chain(url or place.chain.url, place.chain.chain_id), place.network)
        return Wallet(market, self.key, outbox or FileOutbox(self.path), rules=SendingRules(**rules))

    @property
    def number(self) -> int:
        return self.place.market.number_of(self.terms.message.farm, self.job)

    @property
    def budget(self) -> int:
        return self.place.market.job(self.number).budget if self.number else 0

    @property
    def spent(self) -> int:
        return CLIENT_TOKENS - self.place.market.token_balance(self.key.address)


@pytest.fixture
def client(place: Place, tmp_path: Path) -> Client:
    return Client(place, tmp_path, place.chain.rich_key())


@pytest.fixture
def stalled(chain: LocalChain) -> Iterator[None]:
    """Nothing is mined until it is asked for."""
    chain.rpc("evm_setAutomine", False)
    yield
    chain.rpc("evm_setAutomine", True)


def dies(client: Client, at: int, before: bool) -> Wallet:
    return client.wallet(Mortal(client.path, at, before))


def test_a_deposit_is_made_once_wherever_the_process_dies(client: Client, tmp_path: Path) -> None:
    for at, before in DEATHS:
        client.job, client.terms = client.new_job()
        client.path, spent = tmp_path / client.job, client.spent
        wallet = dies(client, at, before)
        with pytest.raises(Killed):
            wallet.open_job("open", client.terms, 3 * UNIT, WAIT)
        wallet._outbox.close()
        client.wallet().open_job("open", client.terms, 3 * UNIT, WAIT)
        assert client.budget == client.spent - spent == 3 * UNIT
        assert client.place.market.allowance(client.key.address, client.place.network.market) == 0


@pytest.mark.parametrize(("at", "before"), [(2, False), (5, True)])
def test_a_top_up_is_finished_and_not_doubled(client: Client, at: int, before: bool, tmp_path: Path) -> None:
    client.wallet(FileOutbox(tmp_path / "opening")).open_job("open", client.terms, UNIT, WAIT)
    wallet = dies(client, at, before)
    with pytest.raises(Killed):
        wallet.top_up("fund", client.number, 2 * UNIT, WAIT)
    wallet._outbox.close()
    client.wallet().top_up("fund", client.number, 2 * UNIT, WAIT)
    assert client.spent == 3 * UNIT


def test_another_amount_than_the_one_under_way_is_done_after_it(
    client: Client, chain: LocalChain, request: pytest.FixtureRequest
) -> None:
    wallet = client.wallet()
    wallet.open_job("open", client.terms, UNIT, WAIT)
    wallet.do("approve", client.place.market.approve(client.place.network.market, 100 * UNIT), wait=WAIT)
    request.getfixturevalue("stalled")
    with pytest.raises(Unavailable, match="goes on with it"):
        wallet.top_up("fund", client.number, 2 * UNIT, 0.1)
    chain.rpc("evm_setAutomine", True)
    chain.rpc("evm_mine")
    first = wallet.top_up("fund", client.number, 5 * UNIT, WAIT)
    assert client.budget == 8 * UNIT
    assert wallet.top_up("fund", client.number, 5 * UNIT, WAIT) != first
    assert client.budget == 13 * UNIT


def test_what_is_approved_already_is_not_approved_again(client: Client) -> None:
    wallet, market = client.wallet(), client.place.market
    spender = client.place.network.market
    wallet.do("approve", market.approve(spender, 5 * UNIT), wait=WAIT)
    wallet.open_job("open", client.terms, 3 * UNIT, WAIT)
    assert client.place.rpc.count(client.key.address) == 2
    assert market.allowance(client.key.address, spender) == 2 * UNIT
    wallet.top_up("fund", client.number, 4 * UNIT, WAIT)
    assert market.allowance(client.key.address, spender) == 0
    assert client.budget == 7 * UNIT


def test_what_came_to_nothing_can_be_tried_again(client: Client, chain: LocalChain, stalled: None) -> None:
    wallet, market = client.wallet(), client.place.market
    chain.rpc("evm_setAutomine", True)
    wallet.open_job("open", client.terms, 3 * UNIT, WAIT)
    chain.rpc("evm_setAutomine", False)
    wallet.begin("first", market.take_back(client.number, 3 * UNIT))
    with pytest.raises(Unavailable):
        wallet.take_back("back", client.number, 2 * UNIT, 0.1)
    chain.rpc("evm_mine")
    with pytest.raises(Refused, match="had changed"):
        wallet.take_back("back", client.number, 2 * UNIT, WAIT)
    with pytest.raises(Refused, match="has not so much free"):
        wallet.take_back("back", client.number, 2 * UNIT, WAIT)
    chain.rpc("evm_setAutomine", True)
    wallet.top_up("fund", client.number, 2 * UNIT, WAIT)
    wallet.take_back("back", client.number, 2 * UNIT, WAIT)
    assert client.spent == 0


def test_a_deposit_whose_place_another_transaction_took_is_made_once(client: Client, tmp_path: Path) -> None:
    market = client.place.market
    client.wallet().do("approve", market.approve(client.place.network.market, 9 * UNIT), wait=WAIT)
    wallet = client.wallet(FileOutbox(tmp_path / "mine"))
    wallet.begin("open", market.open_job(client.terms, 3 * UNIT))
    client.wallet(FileOutbox(tmp_path / "other")).transfer("gift", "0x" + "11" * 20, 1, WAIT)
    with pytest.raises(Conflict, match="took its place"):
        wallet.open_job("open", client.terms, 3 * UNIT, WAIT)
    assert client.budget == 0
    first = wallet.open_job("open", client.terms, 3 * UNIT, WAIT)
    assert wallet.open_job("open", client.terms, 3 * UNIT, WAIT) == first
    assert client.budget == client.spent - 1 == 3 * UNIT


def test_a_job_is_not_opened_twice_from_two_outboxes(client: Client, tmp_path: Path) -> None:
    client.wallet().open_job("open", client.terms, 3 * UNIT, WAIT)
    with pytest.raises(Refused, match="opened before"):
        client.wallet(FileOutbox(tmp_path / "other")).open_job("open", client.terms, 3 * UNIT, WAIT)
    assert client.budget == 3 * UNIT


def test_done_means_as_deep_as_was_asked(client: Client, chain: LocalChain) -> None:
    wallet = client.wallet(confirmations=2)
    with pytest.raises(Unavailable):
        wallet.transfer("gift", "0x" + "11" * 20, 7, 0.1)
    chain.rpc("evm_mine")
    with pytest.raises(Unavailable):
        wallet.transfer("gift", "0x" + "11" * 20, 7, 0.1)
    chain.rpc("evm_mine")
    wallet.transfer("gift", "0x" + "11" * 20, 7, WAIT)
    assert client.spent == 7


@pytest.mark.parametrize("fault", [Fault.LOSE, Fault.BUSY])
def test_an_action_is_seen_through_a_bad_connection(client: Client, fault: Fault) -> None:
    """Some calls go wrong while the chain is waited for, the first that sends among them."""
    chance = random.Random(5)
    with flaky_rpc(client.place.chain.url) as relay:
        wallet = client.wallet(url=relay.url, patience=1)
        wallet.begin("gift", client.place.market.transfer("0x" + "11" * 20, 9))
        relay.plan = lambda _: fault if _sends_first(relay.calls) or chance.random() < 0.2 else Fault.NONE
        assert wallet.settle("gift", WAIT)
    assert "eth_sendRawTransaction" in relay.calls
    assert client.spent == 9


def _sends_first(calls: list[str]) -> bool:
    return calls[-1] == "eth_sendRawTransaction" and calls.count(calls[-1]) == 1


def test_a_wallet_without_coins_is_told(place: Place, tmp_path: Path) -> None:
    client = Client(place, tmp_path, new_key())
    with pytest.raises(NoFunds):
        client.wallet().transfer("gift", "0x" + "11" * 20, 1, WAIT)
    assert client.spent == 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""Every payment happens once, whatever the chain, its answers and the paying process do."""

import itertools
import json
import logging
import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.errors import Conflict, FarmError, InvalidInput, Unavailable
from payments.chain import Chain, NoFunds, Reverted, WrongChain
from payments.events import Cursor, DeepReorganisation, event_id, next_batch
from payments.keystore import Key, load, new_key, save
from payments.money import Wei
from payments.outbox import FileOutbox, Intent, Outcome
from payments.sending import Sender, SendingRules
from tests.anvil import anvil, without_anvil
from tests.flaky_rpc import Fault, FlakyRpc, Handler, flaky_rpc
from tests.local_chain import LocalChain, local_chain

CHAINS = [
    pytest.param(local_chain, id="local"),
    pytest.param(anvil, id="anvil", marks=without_anvil),
]
TOKEN = json.loads((Path(__file__).parents[2] / "payments/contracts/artifacts/RenderToken.json").read_text())


@pytest.fixture(scope="module", params=CHAINS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """A chain whose blocks stay."""
    with request.param(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(params=CHAINS)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalChain]:
    """A chain of the test's own."""
    folder = tmp_path / "chain"
    folder.mkdir()
    with request.param(folder) as running:
        yield running


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[LocalChain]:
    """A chain of the test's own that comes back after a kill."""
    folder = tmp_path / "chain"
    folder.mkdir()
    with local_chain(folder) as running:
        yield running


class Wallet:
    """A wallet whose process can die at any moment; its clock stands still unless told otherwise."""

    def __init__(self, chain: LocalChain, folder: Path, url: str = "", **rules: float) -> None:
        self.chain = chain
        self.key = chain.rich_key()
        self.path = folder / "outbox"
        self.url = url or chain.url
        self.rules = SendingRules(**rules)
        self.now = 1000.0
        self.outbox = FileOutbox(self.path)
        self.start()

    def start(self) -> None:
        self.outbox.close()
        self.outbox = FileOutbox(self.path)
        way = Chain(self.url, self.chain.chain_id)
        self.sender = Sender(way, self.key, self.outbox, lambda: self.now, self.rules)

    def advance(self) -> tuple[Intent, ...]:
        try:
            return self.sender.advance()
        finally:
            # What was sent before it failed is mined as well.
            self.chain.catch_up()

    def outcomes(self) -> list[Outcome]:
        return [intent.outcome for intent in self.advance()]


def balance(chain: LocalChain, address: str) -> int:
    return chain.number("eth_getBalance", address, "latest")


def test_a_payment_is_sent_once_and_known_by_its_key(shared: LocalChain, tmp_path: Path) -> None:
    wallet, to = Wallet(shared, tmp_path), new_key().address
    first = wallet.sender.submit("pay", to.lower(), value=Wei(5))
    assert balance(shared, to) == 0
    assert wallet.sender.submit("pay", to, value=Wei(5)) == first
    with pytest.raises(Conflict, match="for something else"):
        wallet.sender.submit("pay", to, value=Wei(6))
    wallet.outcomes()
    assert wallet.outcomes() == [Outcome.DONE]
    assert wallet.outcomes() == [Outcome.DONE]
    assert balance(shared, to) == 5
    assert shared.number("eth_getTransactionCount", wallet.key.address, "latest") == 1


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
def test_sending_may_go_wrong_in_any_way(shared: LocalChain, tmp_path: Path, fault: Fault) -> None:
    with flaky_rpc(shared.url) as relay:
        wallet, to = Wallet(shared, tmp_path, relay.url), new_key().address
        wallet.sender.submit("pay", to, value=Wei(5))
        relay.plan = lambda method: fault if method == "eth_sendRawTransaction" else Fault.NONE
        if fault is Fault.REPEAT:
            wallet.advance()
        else:
            with pytest.raises(Unavailable) as failure:
                wallet.advance()
            assert "secret" not in str(failure.value)
        assert balance(shared, to) == (0 if fault is Fault.REFUSE else 5)
        relay.plan = lambda _method: Fault.NONE
        wallet.outcomes()
        assert wallet.outcomes() == [Outcome.DONE]
        assert balance(shared, to) == 5


@pytest.mark.parametrize("seed", range(6))
def test_a_bad_day_at_random(shared: LocalChain, tmp_path: Path, seed: int) -> None:
    """Faults in half of all calls, the process killed now and then, more payments all the while."""
    chance = random.Random(seed)
    faults = [fault for fault in Fault if fault is not Fault.NONE]
    to = [new_key().address for _ in range(8)]
    with flaky_rpc(shared.url) as relay:
        wallet = Wallet(shared, tmp_path, relay.url)

        def plan(method: str) -> Fault:
            return chance.choice(faults) if method != "eth_chainId" and chance.random() < 0.3 else Fault.NONE

        relay.plan = plan
        for _ in range(400):
            number = chance.randrange(len(to))
            try:
                if chance.random() < 0.5:
                    wallet.sender.submit(f"pay {number}", to[number], value=Wei(number + 1))
                wallet.advance()
            except Unavailable:
                pass
            wallet.now += chance.choice([0, 0, 100])
            if chance.random() < 0.2:
                wallet.start()
            intents = wallet.outbox.all()
            if len(intents) == len(to) and all(one.outcome is Outcome.DONE for one in intents):
                break
    assert [balance(shared, one) for one in to] == [number + 1 for number in range(len(to))]
    assert shared.number("eth_getTransactionCount", wallet.key.address, "latest") == len(to)


class Crash(BaseException):
    """The process dies here."""


class CrashingOutbox(FileOutbox):
    """Dies before or after its nth save."""

    def __init__(self, path: Path, at: int, after: bool) -> None:
        super().__init__(path)
        self.left, self.after = at, after

    def save(self, intent: Intent) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Crash
        super().save(intent)
        if self.left == 0 and self.after:
            raise Crash


def pay_until_done(sender: Sender, to: str) -> None:
    sender.submit("pay", to, value=Wei(5))
    for _ in range(3):
        sender.advance()


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True])
def test_killed_between_any_two_steps(shared: LocalChain, tmp_path: Path, at: int, after: bool) -> None:
    wallet, to = Wallet(shared, tmp_path), new_key().address
    wallet.outbox.close()
    outbox = CrashingOutbox(wallet.path, at, after)
    sender = Sender(Chain(shared.url, shared.chain_id), wallet.key, outbox, lambda: 0.0, SendingRules())
    with pytest.raises(Crash):
        pay_until_done(sender, to)
    outbox.close()
    wallet.outbox = FileOutbox(tmp_path / "another")
    wallet.start()
    wallet.sender.submit("pay", to, value=Wei(5))
    wallet.outcomes()
    assert wallet.outcomes() == [Outcome.DONE]
    assert balance(shared, to) == 5


def test_a_stalled_chain_gets_a_higher_fee_and_pays_once(fresh: LocalChain, tmp_path: Path) -> None:
    wallet, to = Wallet(fresh, tmp_path, patience=60, most_fee=20 * 10**9), new_key().address
    wallet.sender.submit("pay", to, value=Wei(5))
    fresh.rpc("evm_setAutomine", False)
    for _ in range(60):
        assert wallet.outcomes() == [Outcome.PENDING]
        wallet.now += 61
    attempts = wallet.outbox.all()[0].attempts
    fees = [attempt.max_fee for attempt in attempts]
    assert len(fees) > 3
    assert all(after >= 1.1 * before for before, after in itertools.pairwise(fees))
    assert fees[-1] <= 20 * 10**9
    fresh.rpc("evm_setAutomine", True)
    assert wallet.outcomes() == [Outcome.DONE]
    assert balance(fresh, to) == 5
    assert wallet.outbox.all()[0].transaction == attempts[-1].hash


def test_an_earlier_attempt_may_be_the_one_that_is_mined(fresh: LocalChain, tmp_path: Path) -> None:
    with flaky_rpc(fresh.url) as relay:
        wallet, to = Wallet(fresh, tmp_path, relay.url, patience=60), new_key().address
        fresh.rpc("evm_setAutomine", False)
        wallet.sender.submit("pay", to, value=Wei(5))
        wallet.advance()
        wallet.now += 61
        relay.plan = lambda method: Fault.REFUSE if method == "eth_sendRawTransaction" else Fault.NONE
        with pytest.raises(Unavailable):
            wallet.advance()
        fresh.rpc("evm_setAutomine", True)
        assert wallet.outcomes() == [Outcome.DONE]
        (intent,) = wallet.outbox.all()
        assert len(intent.attempts) == 2
        assert intent.transaction == intent.attempts[0].hash
        assert balance(fresh, to) == 5


def test_a_chain_that_forgot_what_waited_is_told_again(durable: LocalChain, tmp_path: Path) -> None:
    with flaky_rpc(durable.url) as relay:
        wallet, to = Wallet(durable, tmp_path, relay.url), new_key().address
        durable.rpc("evm_setAutomine", False)
        wallet.sender.submit("pay", to, value=Wei(5))
        wallet.advance()
        durable.kill()
        with pytest.raises(Unavailable):
            wallet.advance()
        durable.start()
        relay.target = durable.url
        wallet.advance()
        assert wallet.outcomes() == [Outcome.DONE]
        assert balance(durable, to) == 5


def test_reorganised_away_it_is_sent_again_and_counts_when_it_is_deep(
    fresh: LocalChain, tmp_path: Path
) -> None:
    wallet, to = Wallet(fresh, tmp_path, confirmations=2), [new_key().address for _ in range(2)]
    for number in range(2):
        wallet.sender.submit(f"pay {number}", to[number], value=Wei(5))
    wallet.advance()
    assert wallet.outcomes() == [Outcome.PENDING, Outcome.PENDING]
    fresh.rpc("evm_increaseTime", 50)
    fresh.rpc("anvil_rollback", 2)
    assert balance(fresh, to[0]) == 0
    wallet.advance()
    for _ in range(2):
        fresh.rpc("evm_mine")
    assert wallet.outcomes() == [Outcome.DONE, Outcome.DONE]
    assert [balance(fresh, one) for one in to] == [5, 5]


def test_a_nonce_that_somebody_else_used_is_said_and_not_paid_twice(
    shared: LocalChain, tmp_path: Path
) -> None:
    wallet, to = Wallet(shared, tmp_path), new_key().address
    wallet.sender.submit("pay", to, value=Wei(5))
    shared.rpc("eth_sendRawTransaction", shared.transfer(wallet.key, 0))
    wallet.advance()
    assert wallet.outcomes() == [Outcome.DISPLACED]
    assert balance(shared, to) == 0
    wallet.sender.submit("pay again", to, value=Wei(5))
    wallet.advance()
    assert wallet.outcomes() == [Outcome.DISPLACED, Outcome.DONE]
    assert balance(shared, to) == 5


def test_two_processes_do_not_send_from_one_outbox(shared: LocalChain, tmp_path: Path) -> None:
    wallet = Wallet(shared, tmp_path)
    with pytest.raises(Conflict, match="Another process sends from"):
        FileOutbox(wallet.path)
    wallet.outbox.close()
    wallet.path.write_bytes(b"[{}]")
    with pytest.raises(InvalidInput):
        FileOutbox(wallet.path)


def test_another_chain_nothing_there_and_an_empty_wallet_are_said(shared: LocalChain, tmp_path: Path) -> None:
    with pytest.raises(WrongChain, match="set up for chain 5"):
        Chain(shared.url, 5)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer"):
        Chain("http://user:password@127.0.0.1:1/secret", 5)
    wallet = Wallet(shared, tmp_path)
    with pytest.raises(NoFunds):
        wallet.sender.submit("too much", new_key().address, value=Wei(10**20))
    assert wallet.outbox.all() == ()


class _Authorities(Handler):
    """A chain whose blocks are signed in their extra data, which is longer than elsewhere."""

    def forward(self, body: bytes) -> bytes:
        answer = json.loads(super().forward(body))
        if isinstance(answer.get("result"), dict) and "extraData" in answer["result"]:
            answer["result"]["extraData"] = "0x" + "5a" * 97
        return json.dumps(answer).encode()


def test_chains_with_authorities_are_chains_too_and_are_asked_who_they_are_once(
    shared: LocalChain, tmp_path: Path
) -> None:
    wallet = Wallet(shared, tmp_path)
    address = token(shared, wallet)
    with flaky_rpc(shared.url) as relay:
        relay.RequestHandlerClass = _Authorities
        way = Chain(relay.url, shared.chain_id)
        assert way.time() > 0
        assert way.block_hash(way.head())
        assert way.read(address, TOKEN["abi"], "balanceOf", wallet.key.address) == 1000
        assert way.estimate(wallet.key.address, new_key().address, "0x", Wei(0)) >= 21_000
        assert relay.calls.count("eth_chainId") == 1


def token(chain: LocalChain, wallet: Wallet, supply: int = 1000) -> str:
    way = Chain(chain.url, chain.chain_id)
    made = TOKEN["bytecode"] + wallet.key.address[2:].lower().rjust(64, "0") + f"{supply:064x}"
    wallet.sender.submit("deploy", "", made)
    wallet.advance()
    chain.catch_up()
    done = next(one for one in wallet.outbox.all() if one.key == "deploy")
    receipt = way.receipt(done.attempts[-1].hash)
    assert receipt.success
    return receipt.created


def test_contracts_are_made_read_and_refuse(shared: LocalChain, tmp_path: Path) -> None:
    wallet, way, to = Wallet(shared, tmp_path), Chain(shared.url, shared.chain_id), new_key().address
    address = token(shared, wallet)
    with pytest.raises(Reverted) as failure:
        wallet.sender.submit("too much", address, way.encode(TOKEN["abi"], "transfer", to, 1001))
    assert failure.value.data.startswith("0xe450d38c")
    assert len(wallet.outbox.all()) == 1
    wallet.sender.submit("pay", address, way.encode(TOKEN["abi"], "transfer", to, 7))
    wallet.advance()
    assert way.read(address, TOKEN["abi"], "balanceOf", to) == 7
    with pytest.raises(InvalidInput, match="cannot be called"):
        way.encode(TOKEN["abi"], "transfer", to, -1)


def test_a_transaction_that_fails_when_it_is_mined_is_reverted(fresh: LocalChain, tmp_path: Path) -> None:
    wallet, way = Wallet(fresh, tmp_path), Chain(fresh.url, fresh.chain_id)
    address = token(fresh, wallet)
    all_of_it = way.encode(TOKEN["abi"], "transfer", new_key().address, 1000)
    for number in range(2):
        wallet.sender.submit(f"pay {number}", address, all_of_it)
    wallet.advance()
    assert wallet.outcomes()[1:] == [Outcome.DONE, Outcome.REVERTED]


def test_events_are_given_out_under_one_name_and_reorganised_ones_never(
    fresh: LocalChain, tmp_path: Path
) -> None:
    wallet, way = Wallet(fresh, tmp_path), Chain(fresh.url, fresh.chain_id)
    address = token(fresh, wallet)
    start = Cursor(-1, "")
    for number in range(3):
        data = way.encode(TOKEN["abi"], "transfer", new_key().address, number + 1)
        wallet.sender.submit(f"pay {number}", address, data)
    wallet.advance()
    everything = next_batch(way, [(address, TOKEN["abi"])], start, 0)
    amounts = [event.values["value"] for event in everything.events]
    assert amounts == [1000, 1, 2, 3]
    assert next_batch(way, [(address, TOKEN["abi"])], start, 0) == everything
    assert next_batch(way, [(address, TOKEN["abi"])], everything.cursor, 0).events == ()
    assert len({event_id(event) for event in everything.events}) == 4
    sure = next_batch(way, [(address, TOKEN["abi"])], start, 2)
    assert [event.values["value"] for event in sure.events] == [1000, 1]
    fresh.rpc("evm_increaseTime", 50)
    fresh.rpc("anvil_rollback", 2)
    for _ in range(3):
        fresh.rpc("evm_mine")
    assert next_batch(way, [(address, TOKEN["abi"])], sure.cursor, 2).events == ()
    with pytest.raises(DeepReorganisation, match="deeper than 0 blocks"):
        next_batch(way, [(address, TOKEN["abi"])], everything.cursor, 0)


def shown(relay: FlakyRpc, wallet: Wallet) -> str:
    """Whatever goes wrong, as it would be logged."""
    said = [repr(wallet.key), str(vars(wallet)), str(wallet.outbox.all())]
    for fault in Fault:
        relay.plan = lambda _method, fault=fault: fault
        try:
            said.append(repr(wallet.advance()))
        except FarmError as error:
            said.append(repr(error) + repr(error.__context__ if not error.__suppress_context__ else ""))
    return "\n".join(said)


def test_no_key_password_or_secret_url_is_ever_shown(
    shared: LocalChain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # What the HTTP library itself logs at DEBUG is the address's path: the farm keeps it at WARNING.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    password = "correct horse battery staple"
    with flaky_rpc(shared.url) as relay:
        wallet = Wallet(shared, tmp_path, relay.url)
        save(wallet.key, tmp_path / "wallet.json", password, iterations=1)
        wallet.sender.submit("pay", new_key().address, value=Wei(5))
        text = shown(relay, wallet)
        with pytest.raises(InvalidInput) as failure:
            load(tmp_path / "wallet.json", password + "r")
    secret = wallet.key.reveal()
    text += caplog.text + repr(failure.value) + (tmp_path / "outbox").read_text()
    text += (tmp_path / "wallet.json").read_text()
    text = text.replace(wallet.url, "")
    for leaked in (
        secret.hex(),
        str(int.from_bytes(secret, "big")),
        repr(secret)[2:-1],
        password,
        "secret-in",
    ):
        assert leaked not in text
    assert wallet.key.address in text


def test_keystores_hold_what_was_put_in_and_nothing_else_opens_them(tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "wallet.json"
    save(key, path, "password", iterations=1)
    assert path.stat().st_mode & 0o077 == 0
    assert load(path, "password").reveal() == key.reveal()
    with pytest.raises(Conflict, match="never written over"):
        save(new_key(), path, "password", iterations=1)
    for password in ("", "Password", "password "):
        with pytest.raises(InvalidInput, match="does not open"):
            load(path, password)
    record = json.loads(path.read_text())
    for change in (
        {"version": 2},
        {"crypto": None},
        {"crypto": {}},
        {"crypto": {"kdfparams": {"n": 1 << 30}}},
    ):
        other = tmp_path / "other.json"
        other.write_text(json.dumps({**record, **change}))
        with pytest.raises(InvalidInput):
            load(other, "password")
    for data in (b"", b"[]", b"[" * 15_000, b"{" * 20_000, b"\xff\xfe"):
        other.write_bytes(data)
        with pytest.raises(InvalidInput, match="not a keystore file"):
            load(other, "password")


def test_a_key_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(Key(b"\1" * 32))

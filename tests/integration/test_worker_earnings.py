# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does with its node's folder, its wallet and a real chain, by the commands it types; the
farm brings nothing.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from farm_protocol import typed_data
from farm_protocol.documents import Attestation, Submission
from farm_protocol.errors import Conflict
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import Lease, RenderSettings, Task, TaskKind
from gpu_worker.__main__ import main
from gpu_worker.earnings import commands
from gpu_worker.earnings.agreements import Seller
from gpu_worker.earnings.earnings_journal import EarningsJournal, Work
from gpu_worker.earnings.funding_verifier import unfunded_reason
from payments.chain.market_records import AgreementState, ArbiterPanel
from payments.messages import accepted_tree, signing
from payments.messages.network import save
from payments.messages.promises import Credit, Offer, Order, Promise, Raise, Ruling, Signed, Terms, Voucher
from payments.messages.session import session_key
from payments.wallet import keystore
from payments.wallet.keystore import Key, new_key
from payments.wallet.wallet import Wallet
from render_farm.cli.paid.client_wallet import ClientWallet as ClientPurse
from render_farm.cli.paid.contesting import contest
from tests.support.local_chain import LocalChain, local_chain
from tests.support.market_place import FARM_KEY, UNIT, WAIT, WINDOWS, Place, terms_of
from verification.protocol import attestation

FARM = typed_data.address_of(FARM_KEY)
NODE_KEY = bytes(31) + b"\x09"
NODE = typed_data.address_of(NODE_KEY)
TILE = Tile(0, 0, 8, 8)
SETTINGS = RenderSettings(1, 0, 100, "PNG")
MILLION = 1_000_000


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    with local_chain(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(scope="module")
def place(chain: LocalChain, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(chain, tmp_path_factory.mktemp("wallets"))


@pytest.fixture(scope="module")
def client(place: Place) -> tuple[Key, Wallet]:
    return place.wallet("client", 1000 * UNIT)


@dataclass
class Shop:
    """An operator with its node's folder, its wallet as a file, and what a farm once signed for it."""

    place: Place
    client: tuple[Key, Wallet]
    folder: Path
    key: Key
    capsys: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        self.journal = EarningsJournal(self.folder, self.place.rpc.time)

    def run(self, *words: str, status: int = 0) -> dict[str, Any]:
        """A command's answer as JSON."""
        self.capsys.readouterr()
        found = main([*words, "--json", "--state-dir", str(self.folder)])
        out, err = self.capsys.readouterr()
        assert found == status, out + err
        answer: dict[str, Any] = json.loads(out)
        return answer

    def job(self, name: str, deposit: int = 20 * UNIT) -> tuple[JobId, Signed[Terms]]:
        """A job that a client opened."""
        job = JobId(name)
        terms = terms_of(self.place, job, self.client[0].address, session_key(FARM_KEY, job))
        self.client[1].open_job(f"open {name}", terms, deposit, WAIT)
        return job, terms

    def order(self, name: JobId, terms: Signed[Terms], /, **changes: int) -> Promise:
        """The farm takes the operator's offer for a job, and tells nobody else."""
        session = session_key(FARM_KEY, name)
        number = self.place.market.number_of(FARM, name)
        # One offer for each job, so that none is used up.
        offer = Offer(FARM, NODE, self.key.address, "cpu", UNIT, 1000, 10_000, terms.message.deadline, number)
        offered = Signed(offer, self.place.signed(offer, self.key.reveal()))
        digest = signing.struct_hash(offer).hex()
        self.journal.add_offer(digest, offered)
        order = replace(Order(number, digest, 4 * UNIT, UNIT, 2, 0), **changes)
        ordered = Signed(order, self.place.signed(order, session))
        agreement = signing.agreement_id(order, self.place.network)
        return self.take(Promise(name, agreement, terms, offered, ordered))

    def take(self, promise: Promise) -> Promise:
        """The node hears a promise."""
        seller = Seller(self.place.network, FARM, self.key.address, self.journal.offers)
        self.journal.take(promise, seller)
        return promise

    def vouched(self, promise: Promise, *frames: int) -> Promise:
        """The farm signs for frames."""
        credited = tuple(Credit(f"{promise.job}.f{one}", "ab" * 32, UNIT) for one in frames)
        root, total = accepted_tree.root(credited)
        said = Voucher(promise.agreement, total, root)
        signature = self.place.signed(said, session_key(FARM_KEY, promise.job))
        return self.take(replace(promise, voucher=Signed(said, signature), credits=credited))

    def raised(self, promise: Promise, cap: int) -> Promise:
        """The farm lets an agreement earn more."""
        said = Raise(promise.agreement, cap)
        signature = self.place.signed(said, session_key(FARM_KEY, promise.job))
        return self.take(replace(promise, cap_raise=Signed(said, signature), credits=()))

    def works(self, promise: Promise, *frames: int, farm_key: bytes = FARM_KEY, ago: int = 0) -> None:
        """The node did frames, and has receipts for them from whoever has `farm_key`."""
        for frame in frames:
            self.journal.add_work(lease_of(promise.job, frame), self.work(promise, frame, farm_key, ago))

    def work(self, promise: Promise, frame: int, farm_key: bytes, ago: int) -> Work:
        name = f"{promise.job}.f{frame}"
        said = Attestation(name, 7, "ab" * 32, "cd" * 32, "cpu:é:5.0.1", "5.0.1", 1500)
        digest = attestation.digest(said, FARM).hex()
        then = (self.place.rpc.time() - ago) * 1000
        receipt = Submission(digest, then, 12, "00" * 32, MILLION)
        return Work(
            promise.agreement,
            MILLION,
            UNIT,
            said,
            attestation.sign(said, FARM, NODE_KEY),
            receipt,
            attestation.sign(receipt, FARM, farm_key),
        )

    def later(self, seconds: int) -> None:
        """The chain's clock goes on."""
        self.place.chain.rpc("evm_increaseTime", seconds)
        self.place.chain.rpc("evm_mine")

    def state(self, promise: Promise) -> tuple[AgreementState, int]:
        """An agreement on the chain: its state, and what was paid."""
        found = self.place.market.agreement(promise.agreement)
        return found.state, found.paid


def lease_of(job: JobId, frame: int) -> Lease:
    task = Task(TaskId(f"{job}.f{frame}"), job, TaskKind.RENDER, frame, TILE)
    return Lease(task, LeaseToken(7), "cpu-0", 30.0, SceneId("s"), OwnerId("o"), SETTINGS, 8, 8, TILE, TILE)


@pytest.fixture
def shop(
    place: Place,
    client: tuple[Key, Wallet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shop:
    key = place.chain.rich_key()
    place.bank.transfer(f"to {key.address}", key.address, 100 * UNIT, WAIT)
    keystore.save(key, tmp_path / "operator.json", "secret", iterations=1)
    (tmp_path / "password").write_text("secret\n")
    save(place.network, tmp_path / "chain.toml")
    monkeypatch.setenv("FARM_CHAIN_URL", place.chain.url)
    monkeypatch.setenv("FARM_CHAIN", str(tmp_path / "chain.toml"))
    monkeypatch.setenv("FARM_WALLET", str(tmp_path / "operator.json"))
    monkeypatch.setenv("FARM_WALLET_PASSWORD_FILE", str(tmp_path / "password"))
    return Shop(place, client, tmp_path / "node", key, capsys)


def agreements(shop: Shop, *words: str) -> Sequence[dict[str, Any]]:
    found: Sequence[dict[str, Any]] = shop.run("earnings", *words)["agreements"]
    return found


def test_vouchers_are_paid_though_the_farm_brought_nothing_and_one_is_refused(shop: Shop) -> None:
    assert shop.run("stake", "9")["stake_free"] == 9 * UNIT
    good, dear = shop.order(*shop.job("ja1")), shop.order(*shop.job("ja2"), cap=10 * UNIT)
    shop.vouched(good, 1, 2)
    shop.vouched(dear, 1)
    # More than the job's budget: not brought, because the voucher needs no raise.
    shop.raised(
        replace(good, voucher=shop.journal.jobs[good.job].agreements[good.agreement].promise.voucher),
        100 * UNIT,
    )
    answer = shop.run("redeem", status=1)
    assert (answer["redeemed"], answer["agreements"]) == (2 * UNIT, 1)
    assert "too little free stake" in answer["refused"][dear.agreement]
    assert shop.state(good) == (AgreementState.OPEN, 2 * UNIT)
    assert shop.place.market.token_balance(shop.key.address) == 93 * UNIT

    shop.run("stake", "5")
    assert shop.run("redeem")["redeemed"] == UNIT
    assert shop.run("redeem") == {"redeemed": 0, "agreements": 0, "transactions": []}
    told = {line["job"]: line for line in agreements(shop)}
    assert {job: line["paid"] for job, line in told.items()} == {"ja1": 2 * UNIT, "ja2": UNIT}
    answer = shop.run("unstake", "5", status=1)
    assert answer["code"] == "conflict"
    assert "behind agreements" in answer["message"]


def test_a_raise_is_brought_where_a_voucher_needs_it(shop: Shop) -> None:
    shop.run("stake", "20")
    held = shop.order(*shop.job("jr1"), cap=UNIT)
    shop.raised(held, 3 * UNIT)
    raised = shop.journal.jobs[held.job].agreements[held.agreement].promise
    shop.vouched(raised, 1, 2, 3)
    assert shop.run("redeem", "jr1")["redeemed"] == 3 * UNIT
    assert shop.place.market.agreement(held.agreement).cap == 3 * UNIT


def test_work_with_receipts_is_claimed_and_settled_when_its_window_is_over(shop: Shop) -> None:
    shop.run("stake", "20")
    held = shop.order(*shop.job("jb1"))
    shop.vouched(held, 1)
    shop.works(held, 1, 2, 3, 4)
    (early,) = shop.run("claim")["claims"]
    assert early["step"] == "early"
    assert shop.state(held) == (AgreementState.NONE, 0)
    shop.later(3700)
    (claimed,) = shop.run("claim")["claims"]
    # The order lets no more than two tasks be claimed; the voucher is paid on the way.
    assert (claimed["step"], claimed["tasks"], claimed["amount"]) == ("claim", 2, 2 * UNIT)
    assert shop.state(held) == (AgreementState.CLAIMED, UNIT)
    (waits,) = shop.run("claim", "jb1")["claims"]
    assert waits["step"] == "wait"
    assert "can be settled after" in waits["said"]
    shop.later(WINDOWS.claim)
    (settled,) = shop.run("claim")["claims"]
    assert settled["step"] == "settle"
    assert shop.state(held) == (AgreementState.OPEN, 3 * UNIT)
    (over,) = shop.run("claim")["claims"]
    assert (over["step"], over["said"]) == ("over", "jb1: what has no voucher can no longer be claimed")
    (line,) = agreements(shop)
    assert (line["vouched"], line["paid"], line["unpaid"]) == (UNIT, 3 * UNIT, 3 * UNIT)


def test_a_claim_for_work_never_done_is_contested_and_refused(shop: Shop) -> None:
    """The node has receipts for what it never rendered; the client looks, and the arbiters say no."""
    place, (owner, _) = shop.place, shop.client
    shop.run("stake", "20")
    before = place.market.token_balance(owner.address)
    held = shop.order(*shop.job("jc1"))
    shop.vouched(held, 1)
    shop.works(held, 2, 3)
    shop.run("claim", "--now")
    number = place.market.number_of(FARM, held.job)
    folder = place.folder / "purse"
    folder.mkdir()
    purse = ClientPurse(place.market, owner, folder)
    (contested,) = contest(purse, held.job, number, print).claims
    assert (contested.claimed, contested.bond) == (2 * UNIT, UNIT // 5)
    with pytest.raises(Conflict, match="No claim"):
        contest(purse, held.job, number, print)
    ruling = Ruling(held.agreement, 0)
    panel = ArbiterPanel((FARM,), 1, (place.signed(ruling, FARM_KEY),))
    place.bank.do("rule jc1", place.market.rule_claim(ruling, panel), wait=WAIT)
    (over,) = shop.run("claim", "--now")["claims"]
    assert over["step"] == "over"
    assert shop.state(held) == (AgreementState.OPEN, UNIT)

    shop.later(place.market.job(number).deadline + WINDOWS.grace - place.rpc.time() + 1)
    place.bank.do("close jc1", place.market.close(held.agreement), wait=WAIT)
    place.bank.do("refund jc1", place.market.refund(number), wait=WAIT)
    assert place.market.token_balance(owner.address) == before - UNIT
    shop.later(WINDOWS.unbonding)
    assert shop.run("unstake")["unstaked"] == 20 * UNIT
    assert place.market.token_balance(shop.key.address) == 101 * UNIT


def test_a_receipt_that_the_farm_never_gave_is_refused_and_the_next_claim_is_made(shop: Shop) -> None:
    shop.run("stake", "20")
    forged, honest = shop.order(*shop.job("jd1")), shop.order(*shop.job("jd2"))
    shop.works(forged, 1, farm_key=new_key().reveal())
    shop.works(honest, 1, ago=4000)
    claims = {one["job"]: one for one in shop.run("claim", "--now", status=1)["claims"]}
    assert claims["jd1"]["refused"] == "WrongSigner"
    assert shop.state(forged) == (AgreementState.OPEN, 0)
    assert claims["jd2"]["amount"] == UNIT
    assert shop.state(honest)[0] is AgreementState.CLAIMED


def test_what_a_farm_promises_without_the_chain_is_told_by_a_look_at_it(shop: Shop) -> None:
    place, name = shop.place, JobId("jw1")
    never = terms_of(place, JobId("jw0"), shop.client[0].address, session_key(FARM_KEY, JobId("jw0")))

    def said(promise: Promise) -> str:
        return unfunded_reason(place.market, shop.key.address, promise)

    # A farm's word alone: orders and vouchers of a job that nobody opened check out, and are worth nothing.
    assert "not on the chain" in said(shop.order(JobId("jw0"), never))
    job, terms = shop.job(name)
    held = shop.order(job, terms)
    assert "not on the chain" in said(shop.order(job, terms, job=place.market.number_of(FARM, job) + 1))
    assert "too little free stake" in said(held)
    shop.run("stake", "20")
    assert said(held) == ""
    assert "no room" in said(shop.order(job, terms, cap=21 * UNIT))
    cheaper = replace(terms.message, stakeShare=1)
    assert "other terms" in said(replace(held, terms=Signed(cheaper, terms.signature)))
    other = replace(terms.message, sessionKey=FARM)
    assert "not its key" in said(replace(held, terms=Signed(other, terms.signature)))
    place.bank.do("open jw1", place.market.open_agreement(held.offer, held.order), wait=WAIT)
    assert said(held) == ""
    shop.works(held, 1)
    shop.run("claim", "--now")
    assert "under a claim" in said(held)
    number = place.market.number_of(FARM, job)
    shop.client[1].do("end jw1", place.market.end(number), wait=WAIT)
    assert "over on the chain" in said(held)


def test_without_a_chain_the_folder_tells_what_is_owed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    held = shop.order(*shop.job("je1"))
    shop.vouched(held, 1)
    shop.works(held, 2)
    monkeypatch.delenv("FARM_CHAIN_URL")
    (line,) = agreements(shop, "--offline")
    assert (line["vouched"], line["unpaid"], line["unpaid_tasks"], line["paid"]) == (UNIT, UNIT, 1, None)
    assert "FARM_CHAIN_URL" in shop.run("earnings", status=1)["message"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stake", "1000"), "has 100"),
        (("stake", "0"), "no amount"),
        (("stake", "1e3"), "no amount"),
        (("stake", "0.0000000000000000001"), "finer than the token"),
        (("unstake",), "is free"),
        (("redeem", "nojob"), "never promised anything"),
        (("claim", "nojob"), "never promised anything"),
        (("earnings", "--wallet", "/nothing/there"), "cannot be read"),
        (("earnings", "--chain", "/nothing/there"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told(shop: Shop, words: tuple[str, ...], said: str) -> None:
    assert said in shop.run(*words, status=1)["message"]


class SignerHandler(BaseHTTPRequestHandler):
    """Signs transactions as whoever `key` is."""

    key: Key

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["params"][0]
        del asked["from"]
        plain = {name: int(value, 16) for name, value in asked.items() if name not in ("to", "data")}
        raw = self.key.sign_transaction({**asked, **plain})
        data = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x" + raw.hex()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), SignerHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("FARM_SIGNER_URL", f"http://127.0.0.1:{server.server_address[1]}/hidden")
    monkeypatch.delenv("FARM_WALLET_PASSWORD_FILE")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_operator_whose_key_is_at_a_signer_stakes_and_takes_back(shop: Shop, signer: None) -> None:
    SignerHandler.key = shop.key
    wallet = ("--wallet", shop.key.address)
    staked = shop.run("stake", "3", *wallet)
    assert staked["stake_free"] == 3 * UNIT
    assert shop.place.rpc.receipt(staked["transaction"]) is not None
    assert shop.run("unstake", "3", *wallet)["stake_free"] == 0


def test_a_signer_that_signs_as_somebody_else_moves_nothing(shop: Shop, signer: None) -> None:
    SignerHandler.key = Key(b"\3" * 32)
    answer = shop.run("stake", "3", "--wallet", shop.key.address, status=1)
    assert "and not as" in answer["message"]
    assert "hidden" not in json.dumps(answer)
    assert shop.place.market.stake(shop.key.address).free == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "FARM_SIGNER_URL"),
        ("ftp://host/hidden", "no URL of a signer"),
        ("http:///hidden", "no URL of a signer"),
        ("http://[hidden", "no URL of a signer"),
        ("http://host:hidden/", "no URL of a signer"),
        ("http://user:hidden@127.0.0.1:1/hidden", "The signer at 127.0.0.1 does not answer"),
    ],
)
def test_a_signer_that_cannot_be_asked_is_told_without_its_secret(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("FARM_SIGNER_URL", url)
    monkeypatch.setattr(commands, "SENDING_SECONDS", 0.0)
    answer = json.dumps(shop.run("stake", "3", "--wallet", shop.key.address, status=1))
    assert said in answer
    assert "hidden" not in answer


def test_an_address_with_a_slip_in_it_is_no_wallet(shop: Shop, signer: None) -> None:
    slipped = shop.key.address[:2] + shop.key.address[2:].swapcase()
    assert "slip" in shop.run("stake", "3", "--wallet", slipped, status=1)["message"]


def test_a_wrong_password_tells_nothing_of_the_key(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("guess\n")
    answer = shop.run("earnings", "--password-file", str(tmp_path / "wrong"), status=1)
    assert "does not open with this password" in answer["message"]
    assert shop.key.reveal().hex() not in json.dumps(answer)

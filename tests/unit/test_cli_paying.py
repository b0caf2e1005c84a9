# SPDX-License-Identifier: GPL-3.0-or-later
"""Paying for a job and settling it, with a farm and a chain that do what the tests want of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farm_protocol.errors import FarmError
from farm_protocol.ids import JobId
from farm_protocol.records import JobState
from payments.promises import SignedTerms
from payments.quotes import Band, CostBand, Quote, QuoteState, WorkBand
from render_farm.cli import settling
from render_farm.cli.options import UsageError, parse
from render_farm.cli.paying import AlreadyPaid, BelowQuote, Offered, Paying
from render_farm.cli.program import run
from render_farm.cli.purse import Kept, place
from render_farm.cli.settling import settle
from render_farm.cli.terms_check import BadTerms, WrongNetwork
from render_farm.cli.up_command import _options
from tests.unit.test_cli_money import (
    CLIENT,
    ETHER,
    FARM,
    JOB,
    KEPT,
    NETWORK,
    PAYMENT,
    POLICY,
    SCENE,
    SETTINGS,
    STATEMENT,
    TERMS,
    THIEF,
    address_of,
    signed,
)

QUOTE = Quote(
    quote=JobId("q1"),
    state=QuoteState.READY,
    fingerprint="0" * 64,
    frames=(1, 2),
    frame_units=(10**6, 10**6),
    units=WorkBand(10**6, 2 * 10**6, 3 * 10**6),
    audit_units=10**5,
    price=ETHER,
    cost=CostBand(ETHER, 2 * ETHER, 3 * ETHER),
    slot_seconds=Band(1.0, 2.0, 3.0),
)


@dataclass
class FakePurse:
    """A wallet on no chain; what it sends is written down."""

    network: Any = NETWORK
    address: str = address_of(CLIENT)
    number: int = 0
    opening: bool = False
    free: list[int] = field(default_factory=lambda: [0])
    records: dict[str, Kept] = field(default_factory=dict)
    sent: list[tuple[Any, ...]] = field(default_factory=list)

    def balance(self, address: str = "") -> int:
        return 100 * ETHER

    def check_funds(self, amount: int) -> None:
        self.sent.append(("looked", amount))

    def number_of(self, farm: str, job: JobId) -> int:
        return self.number

    def available(self, number: int) -> int:
        return self.free.pop(0) if len(self.free) > 1 else self.free[0]

    def is_opening(self, job: JobId) -> bool:
        return self.opening

    def open_job(self, job: JobId, terms: SignedTerms, deposit: int) -> str:
        self.sent.append(("opened", deposit))
        return "0x1"

    def take_back(self, job: JobId, number: int, amount: int) -> str:
        self.sent.append(("back", amount))
        self.free = [0]
        return "0x2"

    def end(self, job: JobId, number: int) -> None:
        self.sent.append(("end", number))

    def keep(self, kept: Kept) -> None:
        self.records[kept.job] = kept

    def kept(self, job: JobId) -> Kept | None:
        return self.records.get(job)


@dataclass
class FakeFarm:
    """A coordinator; its statements come one after the other, the last again and again."""

    terms_given: SignedTerms = field(default_factory=lambda: signed(replace(TERMS, deadline=2**40)))
    network: Any = NETWORK
    quote_given: Quote = QUOTE
    statements: list[Any] = field(default_factory=list)
    submitted: list[Any] = field(default_factory=list)
    cancelled: list[JobId] = field(default_factory=list)

    def rules(self) -> Any:
        return SimpleNamespace(address=address_of(FARM), policy=POLICY, network=self.network)

    def quote(self, spec: Any, facts: Any) -> Quote:
        return self.quote_given

    def submit(self, spec: Any, facts: Any, payment: Any) -> Any:
        self.submitted.append(payment)
        return job()

    def cancel(self, job: JobId) -> None:
        self.cancelled.append(job)

    def terms(self, job: JobId) -> Any:
        return SimpleNamespace(terms=self.terms_given, network=self.network)

    def statement(self, job: JobId) -> Any:
        found = self.statements.pop(0) if len(self.statements) > 1 else self.statements[0]
        if isinstance(found, FarmError):
            raise found
        return found


def job(state: JobState = JobState.AWAITING_FUNDS) -> Any:
    return SimpleNamespace(job=JOB, scene=SCENE, state=state, money=None)


def payer(farm: FakeFarm, purse: FakePurse, budget: str = "1", cap: str | None = "0.01") -> Paying:
    return Paying(farm, purse, Offered(budget, cap), lambda text: None)  # type: ignore[arg-type]


def asked(purse: FakePurse) -> FakePurse:
    """The wallet that asked for the job."""
    purse.records[JOB] = KEPT
    return purse


# --- the deposit ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _long_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terms' deadline is far away: what it may be has its own tests."""
    monkeypatch.setattr("render_farm.cli.terms_check.LONGEST_DAYS", 2**40)


def test_the_deposit_is_what_was_asked_for() -> None:
    purse = asked(FakePurse())
    payer(FakeFarm(), purse).deposit(job(), SETTINGS)
    assert purse.sent == [("opened", PAYMENT.budget)]


@pytest.mark.parametrize(
    "lie",
    [
        replace(TERMS, refundTo=address_of(THIEF), deadline=2**40),
        replace(TERMS, priceCap=PAYMENT.price_cap * 2, deadline=2**40),
        replace(TERMS, termsHash="1" * 64, deadline=2**40),
    ],
)
def test_nothing_is_deposited_under_false_terms(lie: Any) -> None:
    purse = asked(FakePurse())
    with pytest.raises(BadTerms):
        payer(FakeFarm(terms_given=signed(lie)), purse).deposit(job(), SETTINGS)
    assert purse.sent == []


def test_nothing_is_deposited_for_other_settings_or_elsewhere() -> None:
    purse, farm = asked(FakePurse()), FakeFarm()
    with pytest.raises(BadTerms):
        payer(farm, purse).deposit(job(), replace(SETTINGS, samples=SETTINGS.samples + 1))
    paying = payer(farm, purse)
    farm.network = replace(NETWORK, market=NETWORK.vault)
    with pytest.raises(WrongNetwork):
        paying.deposit(job(), SETTINGS)
    with pytest.raises(WrongNetwork):
        payer(farm, purse)
    assert purse.sent == []


def test_a_job_that_has_its_deposit_gets_no_other() -> None:
    purse = asked(FakePurse(number=7))
    payer(FakeFarm(), purse).deposit(job(), SETTINGS)
    assert purse.sent == []


def test_a_job_that_this_wallet_did_not_ask_for_is_not_paid() -> None:
    purse = FakePurse()
    with pytest.raises(AlreadyPaid, match="not made by this wallet"):
        payer(FakeFarm(), purse).deposit(job(), SETTINGS)
    assert purse.sent == []


def test_which_jobs_are_gone_on_with() -> None:
    farm = FakeFarm()
    assert payer(farm, asked(FakePurse())).goes_on_with(job())
    assert payer(farm, asked(FakePurse()), cap=None).goes_on_with(job())
    assert payer(farm, FakePurse(number=7), "50").goes_on_with(job())
    assert not payer(farm, FakePurse()).goes_on_with(job())
    assert not payer(farm, asked(FakePurse()), "2").goes_on_with(job())
    assert not payer(farm, asked(FakePurse()), cap="0.02").goes_on_with(job())
    with pytest.raises(AlreadyPaid, match="A deposit of 1 TEST for job job1 is under way"):
        payer(farm, asked(FakePurse(opening=True)), "2").goes_on_with(job())


def test_a_budget_is_held_against_the_quote() -> None:
    farm, purse = FakeFarm(), FakePurse()
    with pytest.raises(BelowQuote, match=r"budget of 1\.9 TEST is below the quote of 2 TEST.*--budget 2\.1 "):
        payer(farm, purse, "1.9", None).submit(None, None)  # type: ignore[arg-type]
    # At half the price the same budget is enough.
    payer(farm, purse, "1.9", "0.5").submit(None, None)  # type: ignore[arg-type]
    (payment,) = farm.submitted
    assert (payment.budget, payment.price_cap, payment.quote) == (19 * ETHER // 10, ETHER // 2, QUOTE.quote)
    assert payment.client == payment.refund_to == purse.address
    assert purse.records[JOB] == Kept(JOB, address_of(FARM), payment)


def test_a_quote_that_is_broken_off_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    farm = FakeFarm(quote_given=replace(QUOTE, state=QuoteState.PROBING))

    def broken(client: Any, quote: Quote) -> Quote:
        raise KeyboardInterrupt

    monkeypatch.setattr("render_farm.cli.paying.finished", broken)
    with pytest.raises(KeyboardInterrupt):
        payer(farm, FakePurse()).submit(None, None)  # type: ignore[arg-type]
    assert farm.cancelled == [QUOTE.quote]
    assert farm.submitted == []


# --- the end --------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that goes on by a second at each look."""
    now = [0.0]

    def look(seconds: float = 0.0) -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(settling.time, "monotonic", look)
    monkeypatch.setattr(settling.time, "sleep", look)
    return now


OPEN = replace(STATEMENT, settled=False, refunded=0, refundable=9 * ETHER, transactions=())
OWED = replace(OPEN, paid=0, owed=3 * ETHER)


def settled(farm: FakeFarm, purse: FakePurse) -> tuple[Any, list[str]]:
    said: list[str] = []
    return settle(farm, purse, address_of(FARM), JOB, said.append), said  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick")
def test_what_nobody_earned_comes_back_once_all_are_paid() -> None:
    purse = FakePurse(number=7, free=[8 * ETHER, 8 * ETHER, 9 * ETHER])
    found, said = settled(FakeFarm(statements=[OWED, OWED, OPEN, STATEMENT]), purse)
    assert found.settled
    assert purse.sent == [("back", 9 * ETHER)]
    assert said[0].startswith("The nodes hold vouchers for 3 TEST more")
    assert any(line.startswith("Took back 9 TEST") for line in said)


@pytest.mark.usefixtures("quick")
def test_nothing_is_taken_while_something_is_owed() -> None:
    purse = FakePurse(number=7, free=[9 * ETHER])
    found, said = settled(FakeFarm(statements=[OWED]), purse)
    assert not found.settled
    assert purse.sent == []
    assert said[-1] == "Not all is settled yet. `render-farm job refund job1` takes back later what is left."


@pytest.mark.usefixtures("quick")
def test_who_keeps_an_agreement_open_holds_back_its_cap_only() -> None:
    purse = FakePurse(number=7, free=[8 * ETHER])
    kept = replace(OPEN, refunded=8 * ETHER, refundable=ETHER)
    _, said = settled(FakeFarm(statements=[OPEN] * 20 + [kept]), purse)
    assert purse.sent == [("back", 8 * ETHER), ("end", 7)]
    assert "stay reserved for a node that did not give up its agreement. It has 60 s" in said[-1]


@pytest.mark.usefixtures("quick")
def test_a_statement_older_than_the_chain_is_not_the_end() -> None:
    purse = FakePurse(number=7, free=[ETHER])
    found, _ = settled(FakeFarm(statements=[STATEMENT]), purse)
    assert purse.sent == [("back", ETHER)]
    assert found.settled


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "-1"], "is no amount"),
        (["--budget", "1e3"], "is no amount"),
        (["--budget", "nan"], "is no amount"),
        (["--budget", "0"], "above 0"),
        (["--budget", "0." + "0" * 18 + "1"], "finer than the token"),
        (["--budget", "9" * 30], "more than there can be"),
        (["--budget", "1", "--price-cap", "0"], "above 0"),
        (["--budget", "1", "--price-cap", "x"], "is no amount"),
        (["--price-cap", "1"], "give a --budget"),
    ],
)
def test_bad_amounts_are_refused_before_anything_starts(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = tmp_path / "scene.blend"
    scene.write_bytes(b"BLENDER-v500" + b"\0" * 100)
    (tmp_path / "state").write_text("no folder: a farm could not even start here")
    assert run(["render", str(scene), *words, "--state-dir", str(tmp_path / "state")]) == 1
    assert said in capsys.readouterr().err


def test_a_chain_is_named_with_its_url() -> None:
    with pytest.raises(UsageError, match="FARM_CHAIN_URL"):
        _options(parse(["up", "--chain", "chain.toml"], {}))
    known = {"FARM_CHAIN_URL": "http://rpc", "FARM_CHAIN": "chain.toml", "FARM_WALLET": "gas.json"}
    outside = _options(parse(["up"], known)).chain
    assert outside is not None
    assert (outside.url, outside.network, outside.wallet) == (
        "http://rpc",
        Path("chain.toml"),
        Path("gas.json"),
    )
    assert _options(parse(["up", "--no-money"], known)).chain is None
    assert not _options(parse(["up", "--no-money"], known)).money
    assert _options(parse(["up"], {})).money


@pytest.mark.parametrize(
    ("known", "access", "said"),
    [
        ({}, None, "Which chain"),
        ({"FARM_CHAIN": "chain.toml"}, None, "FARM_CHAIN_URL"),
        ({"FARM_CHAIN": "chain.toml", "FARM_CHAIN_URL": "http://rpc"}, None, "Which wallet pays"),
        (
            {"FARM_CHAIN": "c.toml", "FARM_CHAIN_URL": "http://rpc", "FARM_WALLET": "w.json"},
            None,
            "--password-file",
        ),
    ],
)
def test_what_is_needed_to_pay_is_asked_for(known: dict[str, str], access: None, said: str) -> None:
    chosen = parse(["render", "s.blend", "--budget", "1"], known)
    with pytest.raises(UsageError, match=said):
        place(chosen, access)


def test_an_embedded_farm_pays_from_its_own_wallet(tmp_path: Path) -> None:
    chosen = parse(["job", "refund", "j", "--state-dir", str(tmp_path)], {})
    found = place(chosen, SimpleNamespace(chain="http://127.0.0.1:1"))  # type: ignore[arg-type]
    assert found.wallet == tmp_path / "chain" / "wallets" / "client.json"
    assert found.password == tmp_path / "chain" / "wallets" / "password"
    assert found.folder == tmp_path / "chain" / "purse"


def test_a_job_is_named_or_the_last() -> None:
    for action in ("statement", "refund"):
        with pytest.raises(UsageError, match="required"):
            parse(["job", action], {})
        with pytest.raises(UsageError, match="not allowed"):
            parse(["job", action, "JOB", "--last"], {})
        assert parse(["job", action, "--last"], {}).last

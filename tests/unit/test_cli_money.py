# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client looks at before and after its money moves: terms, networks, statements, the chain."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from farm_protocol.errors import FarmError
from farm_protocol.ids import JobId, SceneId
from farm_protocol.records import JobSpec
from farm_protocol.typed_data import address_of
from frame_splitter.split import pin
from payments.chain.chain_events import AnyEvent, decoded
from payments.chain.rpc import Log
from payments.messages.network import Network, Windows
from payments.messages.promises import Signed, Terms, job_name
from payments.messages.signing import sign
from payments.messages.statements import (
    NOBODY,
    FrameLine,
    JobMoney,
    NodeLine,
    Payment,
    Statement,
    TransactionLine,
)
from render_farm.cli.paid.client_wallet import Kept
from render_farm.cli.paid.statement_check import Standing, compare, of_job
from render_farm.cli.paid.statement_text import money_line, statement_text
from render_farm.cli.paid.terms_check import BadTerms, WrongNetwork, check_network, check_terms, check_work
from render_farm.policy.payment_terms import terms_hash
from tests.support.plain_facts import PLAIN_SCENE
from verification.audit.sampling import AuditPolicy

FARM, CLIENT, THIEF = (bytes([number]) * 32 for number in (1, 2, 3))
NOW = 1_000_000.0
DAY = 86_400
MARKET, TOKEN, VAULT, DISPUTES = (f"0x{digit * 40}" for digit in "abcd")
NETWORK = Network(721_337, TOKEN, MARKET, VAULT, DISPUTES, Windows(60, 60, 60, 600, 60), "TEST", 18)
JOB = JobId("job1")
SCENE = SceneId("5" * 64)
PAYMENT = Payment(10**18, 10**16, address_of(CLIENT), address_of(CLIENT), JobId("q1"))
KEPT = Kept(JOB, address_of(FARM), PAYMENT)
SETTINGS = pin(JobSpec(SCENE, (1, 2)), PLAIN_SCENE)
POLICY = AuditPolicy()
TERMS = Terms(
    client=PAYMENT.client,
    refundTo=PAYMENT.refund_to,
    farm=address_of(FARM),
    name=job_name(JOB),
    deadline=int(NOW) + 30 * DAY,
    sessionKey=address_of(THIEF),
    priceCap=PAYMENT.price_cap,
    stakeShare=90_000,
    watcher=NOBODY,
    arbiters=(address_of(FARM),),
    threshold=1,
    termsHash=terms_hash(SCENE, SETTINGS, PAYMENT.price_cap, POLICY),
)


def signed(terms: Terms, key: bytes = FARM, network: Network = NETWORK) -> Signed[Terms]:
    return Signed(terms, sign(terms, network, key))


def test_terms_as_they_were_asked_for_are_paid() -> None:
    check_terms(signed(TERMS), NETWORK, KEPT, NOW)
    check_work(TERMS, SCENE, SETTINGS, POLICY)


@pytest.mark.parametrize(
    "changed",
    [
        {"client": address_of(THIEF)},
        {"refundTo": address_of(THIEF)},
        {"farm": address_of(THIEF)},
        {"name": job_name(JobId("job2"))},
        {"priceCap": PAYMENT.price_cap + 1},
        {"watcher": address_of(THIEF)},
        {"deadline": int(NOW)},
        {"deadline": int(NOW) + 93 * DAY},
        {"arbiters": ()},
        {"threshold": 0},
        {"threshold": 2},
        {"stakeShare": 9_999},
    ],
    ids=str,
)
def test_other_terms_are_not_paid(changed: dict[str, Any]) -> None:
    with pytest.raises(BadTerms, match="Nothing was paid"):
        check_terms(signed(replace(TERMS, **changed)), NETWORK, KEPT, NOW)


def test_terms_that_another_farm_signed_or_for_another_chain_are_not_paid() -> None:
    with pytest.raises(FarmError, match="signature"):
        check_terms(signed(TERMS, THIEF), NETWORK, KEPT, NOW)
    with pytest.raises(FarmError, match="signature"):
        check_terms(signed(TERMS, network=replace(NETWORK, chain_id=1)), NETWORK, KEPT, NOW)


def test_a_deadline_that_was_asked_for_is_kept() -> None:
    asked = replace(KEPT, payment=replace(PAYMENT, deadline=int(NOW) + 200 * DAY))
    check_terms(signed(replace(TERMS, deadline=int(NOW) + 200 * DAY)), NETWORK, asked, NOW)
    with pytest.raises(BadTerms, match="deadline"):
        check_terms(signed(TERMS), NETWORK, asked, NOW)


def test_terms_over_other_work_are_not_paid() -> None:
    with pytest.raises(BadTerms, match="another scene"):
        check_work(TERMS, SceneId("6" * 64), SETTINGS, POLICY)
    with pytest.raises(BadTerms, match="other settings"):
        check_work(TERMS, SCENE, replace(SETTINGS, samples=SETTINGS.samples + 1), POLICY)
    with pytest.raises(BadTerms):
        check_work(TERMS, SCENE, SETTINGS, replace(POLICY, crops=POLICY.crops + 1))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"chain_id": 1}, "chain id is 1"),
        ({"token": VAULT}, "token is"),
        ({"market": VAULT}, "market is"),
        ({"decimals": 6}, "decimals is 6"),
    ],
)
def test_a_farm_that_settles_elsewhere_gets_nothing(changed: dict[str, Any], named: str) -> None:
    check_network(NETWORK, replace(NETWORK, market=MARKET.upper().replace("X", "x")))
    with pytest.raises(WrongNetwork, match=named):
        check_network(replace(NETWORK, **changed), NETWORK)


def test_a_farm_without_a_chain_takes_no_payments() -> None:
    with pytest.raises(WrongNetwork, match="takes no payments"):
        check_network(None, NETWORK)


# --- statements -------------------------------------------------------------------------------

ETHER = 10**18
OPENED, PAID, BACK, SLASHED = (f"0x{digit * 64}" for digit in "1234")
AGREEMENT, OTHERS = b"\xaa" * 32, b"\xbb" * 32
STATEMENT = Statement(
    job=JOB,
    number=7,
    state="settled",
    settled=True,
    token=TOKEN,
    symbol="TEST",
    decimals=18,
    budget=12 * ETHER,
    deposit=12 * ETHER,
    paid=3 * ETHER,
    owed=0,
    refunded=9 * ETHER,
    refundable=0,
    compensated=ETHER // 2,
    audits=1,
    audits_amount=ETHER // 10,
    terms="0" * 64,
    frames=(FrameLine(1, "done", 2, 1_500_000, 2 * ETHER), FrameLine(2, "done", 1, 500_000, ETHER)),
    nodes=(
        NodeLine("node1", "0x1", "0x2", AGREEMENT.hex(), 3, 1, 2_000_000, 3 * ETHER, 3 * ETHER, 4 * ETHER),
        NodeLine("mine", "", "", "", 1, 0, 500_000, 0, 0, 0),
    ),
    transactions=(
        TransactionLine("opened", OPENED, 3, 0),
        TransactionLine("funded", OPENED, 3, 12 * ETHER),
        TransactionLine("agreement", OPENED, 4, 0, AGREEMENT.hex()),
        TransactionLine("paid", PAID, 5, 2 * ETHER, AGREEMENT.hex()),
        TransactionLine("paid", PAID, 5, ETHER, AGREEMENT.hex()),
        TransactionLine("slashed", SLASHED, 6, 2 * ETHER, AGREEMENT.hex()),
        TransactionLine("refunded", BACK, 7, 9 * ETHER),
    ),
)


def event(name: str, transaction: str, block: int, **values: Any) -> AnyEvent:
    (made,) = decoded([Log(name, MARKET, values, block, "0x", block, transaction)])
    return made


EVENTS = (
    event("JobOpened", OPENED, 3, job=7, client="0x1"),
    event("Funded", OPENED, 3, job=7, amount=12 * ETHER),
    event("Funded", OPENED, 3, job=8, amount=99),
    event("AgreementOpened", OPENED, 4, job=7, agreement=AGREEMENT, cap=4 * ETHER),
    event("AgreementOpened", OPENED, 4, job=8, agreement=OTHERS, cap=4 * ETHER),
    event("Paid", PAID, 5, agreement=AGREEMENT, amount=2 * ETHER, cumulative=2 * ETHER),
    event("Paid", PAID, 5, agreement=AGREEMENT, amount=ETHER, cumulative=3 * ETHER),
    event("Paid", PAID, 5, agreement=OTHERS, amount=ETHER, cumulative=ETHER),
    event("Slashed", SLASHED, 6, agreement=AGREEMENT, client=ETHER // 2, reporter=0, burned=3 * ETHER // 2),
    event("Refunded", BACK, 7, job=7, amount=9 * ETHER),
)
STANDING = Standing(budget=3 * ETHER, committed=3 * ETHER, balance=5 * ETHER)


def differences(
    statement: Statement = STATEMENT, events: Sequence[AnyEvent] = EVENTS, standing: Standing = STANDING
) -> list[str]:
    return list(compare(statement, of_job(events, 7), standing))


def test_a_true_statement_agrees_with_the_chain() -> None:
    assert differences() == []


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (lambda one: replace(one, deposit=13 * ETHER), "deposit is 13, and the chain's 12"),
        (lambda one: replace(one, paid=4 * ETHER, refunded=8 * ETHER), "paid is 4, and the chain's 3"),
        (lambda one: replace(one, refunded=10 * ETHER), "refunded is 10, and the chain's 9"),
        (lambda one: replace(one, owed=1), "parts come to 12.000000000000000001"),
        (
            lambda one: replace(one, transactions=one.transactions[:-1]),
            f"{BACK} \\(refunded\\) moved 9 on the",
        ),
        (
            lambda one: replace(one, transactions=(*one.transactions, TransactionLine("paid", BACK, 8, 5))),
            f"{BACK} \\(paid\\) moved 0 on the",
        ),
    ],
)
def test_a_false_statement_does_not(lie: Callable[[Statement], Statement], found: str) -> None:
    assert any(re.search(found, one) for one in differences(lie(STATEMENT)))


def test_a_contract_that_holds_something_back_is_seen() -> None:
    kept = differences(standing=replace(STANDING, committed=4 * ETHER))
    assert kept == [
        "The statement is settled, and the contract has more of the budget reserved than was paid."
    ]
    open_still = replace(STATEMENT, settled=False)
    assert differences(open_still, standing=replace(STANDING, committed=4 * ETHER)) == []
    poor = replace(STATEMENT, refunded=0, refundable=9 * ETHER, settled=False)
    poor = replace(poor, transactions=poor.transactions[:-1])
    standing = Standing(budget=12 * ETHER, committed=3 * ETHER, balance=8 * ETHER)
    assert differences(poor, EVENTS[:-1], standing) == [
        "The market has less of the token than the job has left in it."
    ]


def test_a_statement_in_words() -> None:
    said = statement_text(STATEMENT)
    assert "Job job1 (number 7 in the contract) is settled." in said
    assert "deposit" in said
    assert "12 TEST" in said
    assert "for 3 tiles and 1 audit" in said
    assert "0.5 TEST" in said
    assert "unpaid (own)" in said
    assert "1.500" in said
    assert PAID in said
    assert "owed" not in said
    waiting = statement_text(replace(STATEMENT, settled=False, state="rendering", owed=1))
    assert "is rendering, not settled yet" in waiting
    assert "0.000000000000000001 TEST" in waiting


def test_a_long_statement_is_cut_and_says_so() -> None:
    frames = tuple(FrameLine(number, "done", 1, 1, 1) for number in range(1000))
    said = statement_text(replace(STATEMENT, frames=frames))
    assert "... and 960 more frames: --json has all." in said
    assert len(said.splitlines()) < 120


def test_money_in_a_line() -> None:
    money = JobMoney(budget=12 * ETHER, symbol="TEST")
    assert money_line(money) == "waits for 12 TEST"
    money = replace(money, deposited=12 * ETHER, paid=2 * ETHER, owed=ETHER, refundable=9 * ETHER)
    assert money_line(money) == "3 of 12 TEST earned, 2 paid"
    assert money_line(replace(money, refunded=9 * ETHER)).endswith("2 paid, 9 back")

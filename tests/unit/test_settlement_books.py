# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's ledger makes of entries: credits, statements, slashes and notices, to the unit."""

import random
from dataclasses import replace

import pytest

from payments.chain.chain_events import AnyEvent, decoded
from payments.chain.rpc import Log
from payments.messages import accepted_tree, signing
from render_farm.settlement import event_index, notices, session_signer, slashing, statements
from render_farm.settlement.event_index import Index
from render_farm.settlement.farm_entries import FarmEntry
from render_farm.settlement.job_ledger import JobLedger
from render_farm.settlement.statements import Told
from tests.support.settling import CLIENT, FARM, NETWORK, OPERATOR, PRICE, UNIT, Paper, facts, job_name
from verification.audit.rate import STAKE

TOLD = Told("rendering", 10**19, "ab" * 32, {1: "rendering"}, ())


def paper() -> Paper:
    made = Paper()
    made.opened()
    return made


# --- credits and vouchers --------------------------------------------------------------------------


def test_tiles_are_credited_when_their_frame_is_settled_and_audits_at_once() -> None:
    made = paper()
    held = made.order()
    made.accept("f1.t0", held)
    made.accept("audit", held, frame=None, units=UNIT // 20)
    assert made.ledger.cumulative(held.agreement) == PRICE // 20
    made.farm("settled", frame=1)
    assert made.ledger.cumulative(held.agreement) == PRICE + PRICE // 20
    assert [one.task for one in made.ledger.credits(held.agreement)] == ["audit", "f1.t0"]


def test_work_without_an_agreement_earns_nothing_and_is_told() -> None:
    made = paper()
    made.accept("f1.t0", None)
    made.farm("settled", frame=1)
    told = statements.statement(made.ledger, TOLD, NETWORK)
    assert (told.owed, told.nodes[0].node, told.nodes[0].agreement, told.nodes[0].earned) == (
        0,
        "own1",
        "",
        0,
    )
    assert (told.frames[0].tiles, told.frames[0].units, told.frames[0].amount) == (1, UNIT, 0)


def test_a_tile_that_was_taken_back_is_credited_to_whoever_renders_it_again() -> None:
    made = paper()
    one, other = made.order("n1"), made.order("n2")
    first = made.accept("f1.t0", one)
    made.farm("returned", task=first.task, token=first.token)
    made.accept("f1.t0", other)
    made.farm("settled", frame=1)
    assert (made.ledger.cumulative(one.agreement), made.ledger.cumulative(other.agreement)) == (0, PRICE)
    assert made.ledger.frames[1].tiles == 1


def test_a_voucher_is_over_all_credits_and_a_promise_brings_what_is_new() -> None:
    made = paper()
    held = made.order(cap=100 * PRICE)
    for number in range(5):
        made.accept(f"f{number}.t0", held, frame=number)
        made.farm("settled", frame=number)
    owed = made.ledger.credits(held.agreement)
    (first,) = made.signer.vouched(held.promise, owed[:2])
    (second,) = made.signer.vouched(first, owed)
    assert [credit.task for credit in second.credits] == ["f2.t0", "f3.t0", "f4.t0"]
    said = second.voucher
    assert (said.message.acceptedRoot, said.message.cumulative) == accepted_tree.root(owed)
    key = first.terms.message.sessionKey
    signing.require_signer(said.message, NETWORK, said.signature, key)
    assert made.signer.vouched(second, owed) == [], "nothing is signed twice"
    assert made.signer.vouched(first, owed) == [second], "and again it would be the same"


def test_many_credits_come_in_several_promises(monkeypatch) -> None:
    monkeypatch.setattr(session_signer, "CREDITS_AT_ONCE", 2)
    made = paper()
    held = made.order(cap=100 * PRICE)
    for number in range(5):
        made.accept(f"t{number}", held, frame=None)
    promises = made.signer.vouched(held.promise, made.ledger.credits(held.agreement))
    assert [len(one.credits) for one in promises] == [2, 2, 1]
    assert [one.voucher.message.cumulative for one in promises] == [2 * PRICE, 4 * PRICE, 5 * PRICE]


def test_a_book_is_the_same_when_it_is_read_again_whatever_came_between() -> None:
    """Farm and chain entries in a random order: a second ledger of the same entries has the same credits."""
    for seed in range(30):
        chance = random.Random(seed)
        made = paper()
        farm, chain = [], []
        tell = made.chain
        held = made.order(cap=16 * PRICE)
        chain += [tell("agreement", held.agreement, total=held.cap, who=OPERATOR)]
        for number in range(12):
            what = chance.choice(["accept", "settle", "paid", "closed", "funded"])
            if what == "accept":
                farm += [made.accept(f"t{number}", held, frame=chance.choice([1, 2, None]))]
            elif what == "settle":
                farm += [made.farm("settled", frame=chance.choice([1, 2]))]
            elif what == "paid":
                cumulative = made.ledger.cumulative(held.agreement)
                chain += [tell("paid", held.agreement, amount=1, total=cumulative)]
            elif what == "closed" and chance.random() < 0.3:
                chain += [tell("closed", held.agreement)]
            elif what == "funded":
                chain += [tell("funded", amount=7)]
        first = Paper()
        opening = [first.chain("opened", total=1, who=CLIENT), first.chain("funded", amount=10**19)]
        again = JobLedger(made.ledger.job)
        again.promise(held)
        again.replay(farm, [*opening, *chain])
        assert again.credits(held.agreement) == made.ledger.credits(held.agreement)
        assert again.accounts.balance() == made.ledger.accounts.balance()
        assert again.frames == made.ledger.frames


def test_the_same_event_said_twice_is_taken_once() -> None:
    made = paper()
    held = made.order()
    made.agreed(held)
    entry = made.chain("slashed", held.agreement, amount=5, total=2)
    before = statements.statement(made.ledger, TOLD, NETWORK)
    made.ledger.take_chain(entry)
    assert statements.statement(made.ledger, TOLD, NETWORK) == before


# --- statements ------------------------------------------------------------------------------------


def test_a_statement_adds_up_all_the_way() -> None:
    made = paper()
    held = made.order()

    def figures():
        told = statements.statement(made.ledger, TOLD, NETWORK)
        assert told.deposit == told.paid + told.owed + told.refunded + told.refundable
        return told.paid, told.owed, told.refunded

    assert figures() == (0, 0, 0)
    made.agreed(held)
    made.accept("f1.t0", held)
    made.farm("settled", frame=1)
    assert figures() == (0, PRICE, 0)
    made.chain("paid", held.agreement, amount=PRICE, total=PRICE)
    assert figures() == (PRICE, 0, 0)
    assert not statements.is_settled(made.ledger, "complete")
    made.chain("closed", held.agreement, total=PRICE)
    made.chain("refunded", amount=10**19 - PRICE)
    assert figures() == (PRICE, 0, 10**19 - PRICE)
    assert statements.is_settled(made.ledger, "complete")
    assert not statements.is_settled(made.ledger, "rendering")


def test_no_more_is_owed_than_is_there() -> None:
    made = paper()
    held = made.order()
    made.accept("f1.t0", held)
    made.farm("settled", frame=1)
    made.chain("refunded", amount=10**19)
    found = statements.figures(made.ledger)
    assert (found.owed, found.refundable) == (0, 0)
    assert "took money back" in notices.reason_to_stop(made.ledger, facts(), "", 0)


# --- slashes ---------------------------------------------------------------------------------------


def rejected(held, code: str, task: str = "f1.t0") -> FarmEntry:
    return FarmEntry(
        "rejected", task, 3, held.node, held.agreement, UNIT, frame=1, code=code, reason="It differs."
    )


@pytest.mark.parametrize("code", sorted(slashing.DISHONEST))
def test_dishonest_work_costs_stake(code) -> None:
    made = paper()
    held = made.order()
    made.ledger.take_farm(rejected(held, code))
    (charge,) = slashing.charges(made.ledger)
    expected = slashing.MOST if code == "equivocation" else STAKE * PRICE
    assert (charge.message.agreement, charge.message.amount) == (held.agreement, expected)
    assert charge.message.price == PRICE


def test_broken_files_own_nodes_and_unpaid_work_cost_none() -> None:
    made = paper()
    stranger, own = made.order("n1"), made.order("own", own=True)
    for code in ("undecodable", "too_large", "wrong_size", "wrong_passes", "not_finite", "unresolved"):
        made.ledger.take_farm(rejected(stranger, code))
    made.ledger.take_farm(rejected(own, "differs"))
    made.ledger.take_farm(replace(rejected(stranger, "differs"), agreement=""))
    assert list(slashing.charges(made.ledger)) == []


def test_each_rejected_tile_is_a_slash_of_its_own() -> None:
    made = paper()
    held = made.order()
    made.ledger.take_farm(rejected(held, "differs"))
    made.ledger.take_farm(rejected(held, "differs", "f2.t0"))
    one, other = slashing.charges(made.ledger)
    assert one.message.reason != other.message.reason
    assert slashing.reason(one.entry) == one.message.reason


# --- events ----------------------------------------------------------------------------------------


def event(kind: str, number: int, /, **values: object) -> AnyEvent:
    (made,) = decoded([Log(kind, NETWORK.market, values, number, f"0x{number:064x}", 0, f"0x{number:064x}")])
    return made


def opened(farm: str, job: str = "job1", number: int = 4) -> AnyEvent:
    name = bytes.fromhex(job_name(job))
    values = {"job": number, "client": CLIENT, "farm": farm, "name": name, "termsHash": b"\1" * 32}
    return event("JobOpened", number, **values)


def test_events_find_their_job_by_number_and_agreement() -> None:
    index = Index(FARM)
    agreement, slash = b"\2" * 32, b"\3" * 32
    events = [
        opened(FARM.lower()),
        event("Funded", 5, job=4, amount=7),
        event("AgreementOpened", 6, agreement=agreement, job=4, operator=OPERATOR, node=CLIENT, cap=9),
        event("Locked", 7, operator=OPERATOR, agreement=agreement, amount=3),
        event("SlashProposed", 8, slash=slash, agreement=agreement, amount=1, executeAt=99),
        event("SlashWithdrawn", 9, slash=slash),
    ]
    made = event_index.by_job(events, index, lambda _job: 11)
    kinds = [(one.kind, one.after) for one in made["job1"]]
    assert kinds == [
        (kind, 11) for kind in ("opened", "funded", "agreement", "locked", "proposed", "withdrawn")
    ]
    assert list(made) == ["job1"]


def test_jobs_of_other_farms_under_the_same_name_are_not_ours() -> None:
    index = Index(FARM)
    stranger = "0x" + "77" * 20
    events = [opened(stranger, number=5), event("Funded", 6, job=5, amount=7)]
    assert event_index.by_job(events, index, lambda _job: 0) == {}


def test_what_stops_a_job_is_said() -> None:
    made = paper()
    assert notices.reason_to_stop(made.ledger, facts(), "", 0) == ""
    assert "deadline" in notices.reason_to_stop(made.ledger, facts(), "", 2_000_000_000)
    assert notices.reason_to_stop(made.ledger, facts(), "The chain is odd.", 0) == "The chain is odd."
    made.chain("revoked", who=facts().terms.message.sessionKey.lower())
    assert "revoked" in notices.reason_to_stop(made.ledger, facts(), "", 0)
    made.chain("appointed", who=facts().terms.message.sessionKey)
    assert notices.reason_to_stop(made.ledger, facts(), "", 0) == "", "the client appointed it again"
    other = paper()
    other.ledger.escrow.client = "0x" + "55" * 20
    assert "another wallet" in notices.reason_to_stop(other.ledger, facts(), "", 0)
    other.chain("ended", total=5)
    assert "ended the job" in notices.reason_to_stop(other.ledger, facts(), "", 0)

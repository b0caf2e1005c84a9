# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a job's money, out of its ledger. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from farm_protocol.fields import Digest
from farm_protocol.records import FINAL_JOB_STATES
from payments.accounting.ledger import Balance
from payments.messages.network import Network
from payments.messages.statements import FrameLine, JobMoney, NodeLine, Statement
from payments.messages.units import Wei
from render_farm.settlement.job_ledger import JobLedger, Work
from render_farm.store.money import Agreement

ENDED = FINAL_JOB_STATES
MOST_NOTICES = 50


@dataclass(frozen=True, slots=True)
class Told:
    """What a statement says beside the ledger: the job's state, what its frames came to, and notices."""

    state: str
    budget: int
    terms: Digest
    frames: Mapping[int, str]
    notices: Sequence[str]


def figures(ledger: JobLedger) -> Balance:
    """Where the deposit is: deposited = paid + owed + refunded + refundable, none of them below 0. Where a
    client took back what was promised and not on the chain yet, no more is owed than is there.
    """
    balance = ledger.accounts.balance()
    there = balance.deposited - balance.paid - balance.refunded
    owed = min(balance.owed, there)
    return replace(balance, owed=Wei(owed), refundable=Wei(there - owed))


def is_settled(ledger: JobLedger, state: str) -> bool:
    """Whether a job has ended and nothing of its deposit is left: paid or back."""
    if state not in ENDED or not ledger.escrow.number:
        return False
    found = figures(ledger)
    still_open = any(not one.closed for one in ledger.escrow.agreements.values())
    return not still_open and found.owed == 0 and found.refundable == 0


def money(ledger: JobLedger, told: Told, network: Network) -> JobMoney:
    """What the job's record shows."""
    found = figures(ledger)
    return JobMoney(
        budget=told.budget,
        deposited=found.deposited,
        paid=found.paid,
        owed=found.owed,
        refunded=found.refunded,
        refundable=found.refundable,
        symbol=network.symbol,
        decimals=network.decimals,
        notice=told.notices[0] if told.notices else "",
    )


def statement(ledger: JobLedger, told: Told, network: Network) -> Statement:
    """All of a job's money."""
    found = figures(ledger)
    settled = is_settled(ledger, told.state)
    audits = [work for work in ledger.work.values() if work.audits]
    return Statement(
        job=ledger.job,
        number=ledger.escrow.number,
        state="settled" if settled and told.state == "complete" else told.state,
        settled=settled,
        token=network.token,
        symbol=network.symbol,
        decimals=network.decimals,
        budget=told.budget,
        deposit=found.deposited,
        paid=found.paid,
        owed=found.owed,
        refunded=found.refunded,
        refundable=found.refundable,
        compensated=ledger.accounts.compensated(),
        audits=sum(work.audits for work in audits),
        audits_amount=sum(work.audits_amount for work in audits),
        terms=told.terms,
        frames=tuple(_frame_lines(ledger, told.frames)),
        nodes=tuple(_node_lines(ledger)),
        transactions=tuple(ledger.escrow.transactions),
        notices=tuple(told.notices[:MOST_NOTICES]),
    )


def _frame_lines(ledger: JobLedger, states: Mapping[int, str]) -> list[FrameLine]:
    numbers = sorted({*states, *ledger.frames})
    lines = []
    for number in numbers:
        frame = ledger.frames.get(number)
        state = states.get(number, "")
        if frame is None:
            lines.append(FrameLine(number, state, 0, 0, 0))
        else:
            lines.append(FrameLine(number, state, frame.tiles, frame.units, frame.amount))
    return lines


def _node_lines(ledger: JobLedger) -> list[NodeLine]:
    """A line for each agreement, and one for each node that worked without."""
    lines = [
        _node_line(ledger, held, ledger.work.get((held.node, held.agreement), Work()))
        for held in ledger.held.values()
    ]
    unpaid = [(node, work) for (node, agreement), work in ledger.work.items() if agreement not in ledger.held]
    lines += [
        NodeLine(node, "", "", "", work.tiles, work.audits, work.units, 0, 0, 0) for node, work in unpaid
    ]
    return lines


def _node_line(ledger: JobLedger, held: Agreement, work: Work) -> NodeLine:
    found = held.chain
    return NodeLine(
        node=held.node,
        operator=held.operator,
        payee=held.promise.offer.message.payee,
        agreement=held.agreement,
        tiles=work.tiles,
        audits=work.audits,
        units=work.units,
        earned=max(ledger.cumulative(held.agreement), found.paid),
        paid=found.paid,
        cap=max(held.cap, found.cap),
        slashed=found.taken,
        compensated=found.compensated,
    )

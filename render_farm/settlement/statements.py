# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a job's money, out of its book. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frame_splitter.fields import Digest
from frame_splitter.records import FINAL_JOB_STATES
from payments.network import Network
from payments.statements import FrameLine, JobMoney, NodeLine, Statement
from render_farm.settlement.book import Book, Held, Work
from render_farm.settlement.escrow import OnChain

ENDED = FINAL_JOB_STATES
MOST_NOTICES = 50


@dataclass(frozen=True, slots=True)
class Told:
    """What a statement says beside the book: the job's state, what its frames came to, and notices."""

    state: str
    budget: int
    terms: Digest
    frames: Mapping[int, str]
    notices: Sequence[str]


@dataclass(frozen=True, slots=True)
class Figures:
    """Where the deposit is. deposited = paid + owed + refunded + refundable, none of them below 0."""

    deposited: int
    paid: int
    owed: int
    refunded: int
    refundable: int


def figures(book: Book) -> Figures:
    """Out of the ledger. Where a client took back what was promised and not on the chain yet, no more is
    owed than is there.
    """
    balance = book.ledger.balance()
    there = balance.deposited - balance.paid - balance.refunded
    owed = min(balance.owed, there)
    return Figures(balance.deposited, balance.paid, owed, balance.refunded, there - owed)


def is_settled(book: Book, state: str) -> bool:
    """Whether a job has ended and nothing of its deposit is left: paid or back."""
    if state not in ENDED or not book.escrow.number:
        return False
    found = figures(book)
    still_open = any(not one.closed for one in book.escrow.agreements.values())
    return not still_open and found.owed == 0 and found.refundable == 0


def money(book: Book, told: Told, network: Network) -> JobMoney:
    """What the job's record shows."""
    found = figures(book)
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


def statement(book: Book, told: Told, network: Network) -> Statement:
    """All of a job's money."""
    found = figures(book)
    settled = is_settled(book, told.state)
    audits = [work for work in book.work.values() if work.audits]
    return Statement(
        job=book.job,
        number=book.escrow.number,
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
        compensated=book.ledger.compensated(),
        audits=sum(work.audits for work in audits),
        audits_amount=sum(work.audits_amount for work in audits),
        terms=told.terms,
        frames=tuple(_frame_lines(book, told.frames)),
        nodes=tuple(_node_lines(book)),
        transactions=tuple(book.escrow.transactions),
        notices=tuple(told.notices[:MOST_NOTICES]),
    )


def _frame_lines(book: Book, states: Mapping[int, str]) -> list[FrameLine]:
    numbers = sorted({*states, *book.frames})
    lines = []
    for number in numbers:
        frame = book.frames.get(number)
        state = states.get(number, "")
        if frame is None:
            lines.append(FrameLine(number, state, 0, 0, 0))
        else:
            lines.append(FrameLine(number, state, frame.tiles, frame.units, frame.amount))
    return lines


def _node_lines(book: Book) -> list[NodeLine]:
    """A line for each agreement, and one for each node that worked without."""
    lines = [
        _node_line(book, held, book.work.get((held.node, held.agreement), Work()))
        for held in book.held.values()
    ]
    unpaid = [(node, work) for (node, agreement), work in book.work.items() if agreement not in book.held]
    lines += [
        NodeLine(node, "", "", "", work.tiles, work.audits, work.units, 0, 0, 0) for node, work in unpaid
    ]
    return lines


def _node_line(book: Book, held: Held, work: Work) -> NodeLine:
    found = book.escrow.agreements.get(held.agreement, OnChain())
    return NodeLine(
        node=held.node,
        operator=held.operator,
        payee=held.promise.offer.message.payee,
        agreement=held.agreement,
        tiles=work.tiles,
        audits=work.audits,
        units=work.units,
        earned=max(book.cumulative(held.agreement), found.paid),
        paid=found.paid,
        cap=max(held.cap, found.cap),
        slashed=found.slashed,
        compensated=found.compensated,
    )

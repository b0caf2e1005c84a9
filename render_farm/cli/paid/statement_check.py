# SPDX-License-Identifier: GPL-3.0-or-later
"""A statement held against the chain: the contracts' own events and balances, read afresh.

Nothing that the farm says is used but the statement itself and the job's number.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from payments import amounts
from payments.chain import Event
from payments.network import load
from payments.statements import Statement
from render_farm.cli.paid.purse import history, open_market
from render_farm.wording import counted

MOVES = {"Funded": "funded", "Refunded": "refunded", "Paid": "paid", "Slashed": "slashed"}
"""Events that move tokens, and what a statement calls them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the market says of the job now: `budget` put in and not taken back, `committed` reserved or paid
    of it; and what the market has of the token in all.
    """

    budget: int
    committed: int
    balance: int


@dataclass(frozen=True, slots=True)
class Findings:
    """A statement, and where the chain says otherwise. `sentence`: what was compared."""

    statement: Statement
    differences: tuple[str, ...]
    sentence: str


def check(
    statement: Statement, network_file: Path, url: str, say: Callable[[str], None] = lambda _: None
) -> Findings:
    """Read the chain and compare."""
    market = open_market(load(network_file), url, say)
    job = market.job(statement.number)
    balance = market.token_balance(market.network.market)
    standing = Standing(job.budget, job.committed, balance)
    events = of_job(history(market), statement.number)
    differences = tuple(compare(statement, events, standing))
    blocks = f"blocks {events[0].block} to {events[-1].block}" if events else "no block"
    said = f"{counted(len(events), 'event')} in {blocks}, the job's budget, and the market's balance."
    return Findings(statement, differences, said)


def of_job(events: Sequence[Event], number: int) -> list[Event]:
    """The events that concern a job or one of its agreements."""
    mine = {
        event.values["agreement"]
        for event in events
        if event.name == "AgreementOpened" and event.values["job"] == number
    }
    return [
        event
        for event in events
        if event.values.get("job") == number or event.values.get("agreement") in mine
    ]


def compare(statement: Statement, events: Sequence[Event], standing: Standing) -> Iterator[str]:
    """Sentences about what is not as the statement says."""

    def said(amount: int) -> str:
        return amounts.format(amount, statement.decimals)

    sums = {name: _sum(events, name) for name in MOVES}
    figures = (
        ("deposit", statement.deposit, sums["Funded"]),
        ("refunded", statement.refunded, sums["Refunded"]),
        ("paid", statement.paid, sums["Paid"]),
        ("what is left in the budget", statement.deposit - statement.refunded, standing.budget),
    )
    for name, stated, found in figures:
        if stated != found:
            yield f"The statement's {name} is {said(stated)}, and the chain's {said(found)}."
    parts = statement.paid + statement.owed + statement.refunded + statement.refundable
    if parts != statement.deposit:
        yield f"The statement's parts come to {said(parts)}, and its deposit is {said(statement.deposit)}."
    if statement.settled and standing.committed != sums["Paid"]:
        yield "The statement is settled, and the contract has more of the budget reserved than was paid."
    if standing.balance < standing.budget - sums["Paid"]:
        yield "The market has less of the token than the job has left in it."
    yield from _transactions(statement, events)


def _transactions(statement: Statement, events: Sequence[Event]) -> Iterator[str]:
    """Every transaction that moved money must be on both sides, with its amounts."""
    stated = Counter[tuple[str, str]]()
    for line in statement.transactions:
        if line.kind in MOVES.values():
            stated[line.kind, line.transaction] += line.amount
    found = Counter[tuple[str, str]]()
    for event in events:
        if event.name in MOVES:
            found[MOVES[event.name], event.transaction] += _amount(event)
    for kind, transaction in sorted(stated.keys() | found.keys()):
        one, other = stated[kind, transaction], found[kind, transaction]
        if one != other:
            yield (
                f"Transaction {transaction} ({kind}) moved {amounts.format(other, statement.decimals)} "
                f"on the chain, and {amounts.format(one, statement.decimals)} in the statement."
            )


def _sum(events: Sequence[Event], name: str) -> int:
    return sum(_amount(event) for event in events if event.name == name)


def _amount(event: Event) -> int:
    """What an event moved; of a slash, all that was taken."""
    names = ("client", "reporter", "burned") if event.name == "Slashed" else ("amount",)
    return sum(int(event.values[name]) for name in names)

# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's money in words and columns."""

from collections.abc import Iterator, Sequence

from payments import amounts
from payments.statements import JobMoney, NodeLine, Statement
from render_farm.cli.display.table import table
from render_farm.wording import counted

MICRO = 1_000_000
MOST_LINES = 40
"""Rows of a table on a terminal; --json has all."""


def money_line(money: JobMoney) -> str:
    """A job's money in one line, for lists and displays."""

    def said(amount: int) -> str:
        return amounts.format(amount, money.decimals)

    if not money.deposited:
        return f"waits for {said(money.budget)} {money.symbol}"
    spent = f"{said(money.paid + money.owed)} of {said(money.deposited)} {money.symbol} earned"
    back = f", {said(money.refunded)} back" if money.refunded else ""
    return f"{spent}, {said(money.paid)} paid{back}"


def statement_text(statement: Statement) -> str:
    """The whole statement."""
    return "\n".join(_lines(statement))


def sums_text(statement: Statement) -> str:
    """The statement's figures alone."""
    where = f"`render-farm job statement {statement.job}` lists every frame, node and transaction."
    return "\n".join((*_head(statement), where))


def _head(statement: Statement) -> Iterator[str]:
    settled = "settled" if statement.settled else f"{statement.state}, not settled yet"
    yield f"Job {statement.job} (number {statement.number} in the contract) is {settled}."
    yield from _sums(statement)
    for notice in statement.notices:
        yield f"  {notice}"


def _lines(statement: Statement) -> Iterator[str]:
    yield from _head(statement)
    yield from _frames(statement)
    yield from _nodes(statement)
    yield from _transactions(statement)


def _sums(statement: Statement) -> Iterator[str]:
    tiles = sum(frame.tiles for frame in statement.frames)
    work = [counted(tiles, "tile"), *([counted(statement.audits, "audit")] if statement.audits else [])]
    rows = [
        ("deposit", statement.deposit, ""),
        ("paid", statement.paid, f"for {' and '.join(work)}"),
        ("owed", statement.owed, "accepted, not brought to the chain yet"),
        ("refunded", statement.refunded, "back with the client"),
        ("refundable", statement.refundable, "earned by nobody; what is free of it comes back"),
        ("compensated", statement.compensated, "from stake of nodes that cheated, beside the deposit"),
    ]
    shown = [
        (name, f"{amounts.format(amount, statement.decimals)} {statement.symbol}", what)
        for name, amount, what in rows
        if amount or name in ("deposit", "paid", "refunded")
    ]
    for line in table(("", "AMOUNT", ""), shown).splitlines()[1:]:
        yield f"  {line}"


def _frames(statement: Statement) -> Iterator[str]:
    heads = ("FRAME", "STATE", "TILES", "UNITS", statement.symbol)
    rows = [
        (
            str(frame.frame),
            frame.state,
            str(frame.tiles),
            units_text(frame.units),
            amounts.format(frame.amount, statement.decimals),
        )
        for frame in statement.frames[:MOST_LINES]
    ]
    yield from _table(heads, rows, len(statement.frames), "frames")


def _nodes(statement: Statement) -> Iterator[str]:
    heads = ("NODE", "PAYEE", "TILES", "AUDITS", "UNITS", "EARNED", "PAID", "SLASHED")
    rows = [_node(line, statement.decimals) for line in statement.nodes[:MOST_LINES]]
    yield from _table(heads, rows, len(statement.nodes), "nodes")


def _node(line: NodeLine, decimals: int) -> tuple[str, ...]:
    counts = (str(line.tiles), str(line.audits), units_text(line.units))
    money = (amounts.format(amount, decimals) for amount in (line.earned, line.paid, line.slashed))
    return (line.node[:12], line.payee or "unpaid (own)", *counts, *money)


def _transactions(statement: Statement) -> Iterator[str]:
    heads = ("TRANSACTION", "BLOCK", "KIND", statement.symbol)
    rows = [
        (
            line.transaction,
            str(line.block),
            line.kind,
            amounts.format(line.amount, statement.decimals) if line.amount else "",
        )
        for line in statement.transactions[:MOST_LINES]
    ]
    yield from _table(heads, rows, len(statement.transactions), "transactions")


def _table(
    heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], all_of_them: int, things: str
) -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield table(heads, rows)
    if all_of_them > len(rows):
        yield f"... and {all_of_them - len(rows)} more {things}: --json has all."


def units_text(micro: int) -> str:
    """Work in render units, to three places."""
    return f"{micro // MICRO}.{micro % MICRO // 1000:03}"

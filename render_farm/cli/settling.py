# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a paid job as its client sees it: what is owed is paid, and the rest comes back."""

import time
from collections.abc import Callable

from frame_splitter.ids import JobId
from payments import amounts
from payments.statements import Statement, TransactionLine
from render_farm.cli.purse import Purse
from render_farm.client import FarmClient

SETTLING_SECONDS = 60.0
"""How long to wait for the operators to be paid; rendering is long over then."""
LOOKS_SECONDS = 0.3


def settle(
    client: FarmClient,
    purse: Purse,
    farm: str,
    job: JobId,
    say: Callable[[str], None],
    seconds: float = SETTLING_SECONDS,
) -> Statement:
    """Wait until nothing is owed or reserved any more, then take back what is left: nothing is taken that was
    promised. Where the chain does not go on, nothing is taken, and said how to come back for it.
    """
    end, story = time.monotonic() + seconds, _Story(say)
    while time.monotonic() < end:
        statement = client.statement(job)
        story.tell(statement)
        if statement.settled:
            return statement
        number = purse.number_of(farm, job)
        free = purse.available(number)
        if free and statement.owed == 0 and free == statement.refundable:
            sent = purse.take_back(job, number, free)
            say(f"Took back {_said(statement, free)}, which nobody earned: transaction {sent}.")
        time.sleep(LOOKS_SECONDS)
    statement = client.statement(job)
    if not statement.settled:
        say(f"Not all is settled yet. `render-farm job refund {job}` takes back later what is left.")
    return statement


class _Story:
    """Tells once what is waited for, and each payment."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._waits = False
        self._paid: set[str] = set()

    def tell(self, statement: Statement) -> None:
        """What is new."""
        if statement.owed and not self._waits:
            self._say(
                f"The nodes hold vouchers for {_said(statement, statement.owed)} more; they are redeemed ..."
            )
            self._waits = True
        for line in statement.transactions:
            if line.kind == "paid" and line.transaction not in self._paid:
                self._paid.add(line.transaction)
                amount = sum(one.amount for one in statement.transactions if _is_same(one, line))
                self._say(f"Paid {_said(statement, amount)} to the nodes: transaction {line.transaction}.")


def _is_same(one: TransactionLine, other: TransactionLine) -> bool:
    return (one.kind, one.transaction) == (other.kind, other.transaction)


def _said(statement: Statement, amount: int) -> str:
    return f"{amounts.format(amount, statement.decimals)} {statement.symbol}"

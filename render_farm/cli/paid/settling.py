# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a paid job as its client sees it: what is owed is paid, and the rest comes back."""

import time
from collections.abc import Callable

from farm_protocol.ids import JobId
from farm_protocol.records import FINAL_JOB_STATES
from payments.accounting import amounts
from payments.messages.statements import Statement, TransactionLine
from render_farm.cli.paid.client_wallet import ClientWallet
from render_farm.client.farm_client import FarmClient

SETTLING_SECONDS = 60.0
"""How long to wait for the operators to be paid; rendering is long over then."""
RELEASE_SECONDS = 5.0
"""How long operators who are paid have for giving their agreements up."""
LOOKS_SECONDS = 0.3
OVER = FINAL_JOB_STATES
"""States of a job, as its statement has them, after which nothing more is earned."""


def settle(
    client: FarmClient,
    purse: ClientWallet,
    farm: str,
    job: JobId,
    say: Callable[[str], None],
    seconds: float = SETTLING_SECONDS,
) -> Statement:
    """Wait until nothing is owed any more, then take back what is left: nothing is taken that was promised.
    Where the chain does not go on, nothing is taken, and said how to come back for it.
    """
    end, story, number = time.monotonic() + seconds, _SettlementReporter(say), purse.number_of(farm, job)
    quiet_since = time.monotonic()
    while (now := time.monotonic()) < end:
        statement = client.statement(job)
        story.tell(statement)
        free = purse.available(number)
        if statement.settled and not free:
            return statement
        # A statement may be older than the work: what it does not know of yet is owed all the same.
        if statement.owed or statement.state not in OVER:
            quiet_since = now
        elif free and (free == statement.refundable or now - quiet_since > RELEASE_SECONDS):
            sent, quiet_since = purse.take_back(job, number, free), now
            say(f"Took back {_said(statement, free)}, which nobody earned: transaction {sent}.")
        elif not free and now - quiet_since > RELEASE_SECONDS:
            return _end(client, purse, job, number, say)
        time.sleep(LOOKS_SECONDS)
    statement = client.statement(job)
    if not statement.settled:
        say(f"Not all is settled yet. `render-farm job refund {job}` takes back later what is left.")
    return statement


def _end(
    client: FarmClient, purse: ClientWallet, job: JobId, number: int, say: Callable[[str], None]
) -> Statement:
    """Some operator keeps its agreement open: end the job, so that it has the grace to claim, no longer."""
    purse.end(job, number)
    statement = client.statement(job)
    if not statement.settled:
        say(
            f"{_said(statement, statement.refundable)} stay reserved for a node that did not give up its "
            f"agreement. It has {purse.network.windows.grace} s to claim; what it does not is sent back then."
        )
    return statement


class _SettlementReporter:
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a paid job as its client sees it: what is owed is paid, and the rest comes back."""

import time
from collections.abc import Callable

from frame_splitter.ids import JobId
from payments import amounts
from payments.statements import Statement
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
    end, told = time.monotonic() + seconds, False
    while time.monotonic() < end:
        statement = client.statement(job)
        if statement.settled:
            return statement
        number = purse.number_of(farm, job)
        free = purse.available(number)
        if free and statement.owed == 0 and free == statement.refundable:
            sent, told = purse.take_back(job, number, free), True
            what = f"{amounts.format(free, statement.decimals)} {statement.symbol}"
            say(f"Took back {what}, which nobody earned: transaction {sent}.")
        elif not told:
            say("Waiting for the nodes to be paid ...")
            told = True
        time.sleep(LOOKS_SECONDS)
    statement = client.statement(job)
    if not statement.settled:
        say(f"Not all is settled yet. `render-farm job refund {job}` takes back later what is left.")
    return statement

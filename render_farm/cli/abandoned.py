# SPDX-License-Identifier: GPL-3.0-or-later
"""A paid job whose farm is gone: its client gets out of the contract what is its own, with nobody's help."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from farm_protocol.errors import NotFound
from farm_protocol.ids import JobId
from payments import amounts
from payments.refusals import Refused
from render_farm.cli.purse import Purse


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What came back, in the token's smallest unit. `reserved` stays for operators until `until`, in seconds
    since the epoch, or longer where one of them claims.
    """

    job: JobId
    number: int
    amount: int
    reserved: int
    until: int


def take_back(purse: Purse, job: JobId, say: Callable[[str], None]) -> TakenBack:
    """End the job, take back what is free, close what is over; the same again later takes the rest. Raises
    NotFound for a job that this wallet did not pay for from here.
    """
    number = paid_here(purse, job)
    if purse.time() < purse.job(number).deadline:
        purse.end(job, number)
        say("The job has ended: nothing new is agreed, and operators have the grace for vouchers and claims.")
    until = purse.job(number).deadline + purse.network.windows.grace
    reserved = _close_what_is_over(purse, number, until)
    amount = purse.available(number)
    if amount:
        sent = purse.take_back(job, number, amount)
        said = amounts.format(amount, purse.network.decimals)
        say(f"Took back {said} {purse.network.symbol}: transaction {sent}.")
    return TakenBack(job, number, amount, reserved, until)


def paid_here(purse: Purse, job: JobId) -> int:
    """The number of a job that this wallet paid for from here. Raises NotFound."""
    kept = purse.kept(job)
    number = purse.number_of(kept.farm, job) if kept else 0
    if not number:
        raise NotFound(f"This wallet made no deposit for job {job} from here.")
    return number


def in_words(taken: TakenBack, decimals: int, symbol: str) -> str:
    """The answer for people."""
    said = f"{amounts.format(taken.amount, decimals)} {symbol} came back."
    if not taken.reserved:
        return f"{said} Nothing is left in the contract."
    when = datetime.fromtimestamp(taken.until).strftime("%Y-%m-%d %H:%M:%S")
    rest = f"{amounts.format(taken.reserved, decimals)} {symbol}"
    return (
        f"{said} {rest} stay reserved for operators until {when}: the same command takes then what is left."
    )


def _close_what_is_over(purse: Purse, number: int, until: int) -> int:
    """Returns what is reserved still."""
    over = purse.time() >= until
    for name, agreement in purse.open_agreements(number).items():
        claimed = agreement.state == agreement.state.CLAIMED
        if over or claimed:
            # A claim has windows of its own.
            with suppress(Refused):
                purse.close(name, claimed)
    return sum(one.cap - one.paid for one in purse.open_agreements(number).values())

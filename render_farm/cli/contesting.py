# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job contest`: what operators claim without a voucher, and the client denies."""

from collections.abc import Callable
from dataclasses import dataclass

from farm_protocol.errors import Conflict
from farm_protocol.ids import JobId
from payments import amounts
from payments.money import Wei
from render_farm.cli.purse import Purse

BOND_SHARE = 10
"""A contester puts in one part in ten of what is claimed (Claims.sol)."""


@dataclass(frozen=True, slots=True)
class Contested:
    """A claim that was contested; amounts in the token's smallest unit."""

    agreement: str
    claimed: int
    bond: int
    transaction: str


@dataclass(frozen=True, slots=True)
class Contest:
    """The claims of a job that were contested."""

    job: JobId
    claims: tuple[Contested, ...]


def contest(purse: Purse, job: JobId, number: int, say: Callable[[str], None]) -> Contest:
    """Contest every claim on the job whose window is open. Raises Conflict where there is none, TooPoor."""
    done = []
    for name, claim in purse.contestable(number).items():
        bond = Wei(-(-claim.extra // BOND_SHARE))
        purse.check_funds(bond)
        sent = purse.contest(name, bond)
        said = amounts.format(claim.extra, purse.network.decimals)
        say(f"Contested a claim of {said} {purse.network.symbol}: transaction {sent}.")
        done.append(Contested(name, claim.extra, bond, sent))
    if not done:
        raise Conflict(f"No claim on job {job} can be contested now.")
    return Contest(job, tuple(done))


def in_words(contest: Contest, decimals: int, symbol: str) -> str:
    """The answer for people."""
    bond = amounts.format(sum(one.bond for one in contest.claims), decimals)
    return (
        f"The job's arbiters decide now. {bond} {symbol} are put in: they come back, unless a whole claim "
        f"stands by the arbiters' word. Where they are silent the claim stands."
    )

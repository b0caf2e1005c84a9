# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job statement`, `job fund`, `job refund`, `job contest`: a paid job's money."""

import argparse
from dataclasses import dataclass

from farm_protocol.errors import Conflict, InvalidInput, NotFound
from farm_protocol.ids import JobId
from payments import amounts
from render_farm.answers import Job
from render_farm.cli import contesting
from render_farm.cli.abandoned import in_words, paid_here, take_back
from render_farm.cli.access import Access, open_farm
from render_farm.cli.console import Console
from render_farm.cli.options import UsageError
from render_farm.cli.purse import Purse, chosen_chain, open_purse, place
from render_farm.cli.settling import settle
from render_farm.cli.statement_check import Findings, check
from render_farm.cli.statement_text import statement_text
from render_farm.cli.terms_check import check_network
from render_farm.client import FarmClient
from render_farm.job_events import FINAL_STATES


@dataclass(frozen=True, slots=True)
class Funded:
    """A job's budget grew by `amount`, in the token's smallest unit."""

    job: JobId
    amount: int
    transaction: str


def run(chosen: argparse.Namespace, console: Console) -> int:
    """One of the four; 1 where the chain says otherwise than a statement."""
    if chosen.action in ("refund", "contest") and chosen.offline:
        return _alone(chosen, console)
    needs_chain = chosen.action != "statement" or chosen.check
    money = needs_chain and chosen.chain is None
    with open_farm(chosen, console.say, node=False, money=money) as access:
        if access.own is not None:
            access.own.wait_for_money()
        if chosen.action == "statement":
            return _statement(chosen, access, console)
        if chosen.action == "fund":
            return _fund(chosen, access, console)
        if chosen.action == "contest":
            return _contest(chosen, access, console)
        return _refund(chosen, access, console)


def _statement(chosen: argparse.Namespace, access: Access, console: Console) -> int:
    statement = access.client.statement(_job(chosen, access.client).job)
    if not chosen.check:
        console.result(statement, statement_text(statement))
        return 0
    found = check(statement, *chosen_chain(chosen, access), console.say)
    console.result(found, f"{statement_text(statement)}\n\n{_checked(found)}")
    return 1 if found.differences else 0


def _checked(found: Findings) -> str:
    if found.differences:
        return "The chain says otherwise:\n" + "\n".join(f"  {one}" for one in found.differences)
    return f"The chain agrees: {found.sentence}"


def _fund(chosen: argparse.Namespace, access: Access, console: Console) -> int:
    job = _job(chosen, access.client)
    if job.state in FINAL_STATES:
        raise Conflict(f"Job {job.job} is {job.state.value}: it needs no more money.")
    purse, farm = _purse(chosen, access, console)
    amount = amounts.parse(chosen.amount, purse.network.decimals)
    if amount == 0:
        raise InvalidInput("Nothing is to be added.")
    number = _number(purse, farm, job.job)
    purse.check_funds(amount)
    sent = purse.top_up(job.job, number, amount)
    said = f"{amounts.format(amount, purse.network.decimals)} {purse.network.symbol}"
    console.result(Funded(job.job, amount, sent), f"Added {said} to job {job.job}: transaction {sent}.")
    return 0


def _refund(chosen: argparse.Namespace, access: Access, console: Console) -> int:
    job = _job(chosen, access.client)
    if job.state not in FINAL_STATES:
        raise Conflict(
            f"Job {job.job} is {job.state.value}: `render-farm job cancel {job.job}` ends it first."
        )
    purse, farm = _purse(chosen, access, console)
    _number(purse, farm, job.job)
    statement = settle(access.client, purse, farm, job.job, console.say)
    console.result(statement, statement_text(statement))
    return 0


def _contest(chosen: argparse.Namespace, access: Access, console: Console) -> int:
    job = _job(chosen, access.client)
    purse, farm = _purse(chosen, access, console)
    return _contested(purse, job.job, _number(purse, farm, job.job), console)


def _contested(purse: Purse, job: JobId, number: int, console: Console) -> int:
    done = contesting.contest(purse, job, number, console.say)
    network = purse.network
    console.result(done, contesting.in_words(done, network.decimals, network.symbol))
    return 0


def _alone(chosen: argparse.Namespace, console: Console) -> int:
    """Refund or contest without the farm."""
    if chosen.last:
        raise UsageError("Without its farm a job must be named: --offline needs JOB.")
    purse, job = open_purse(place(chosen, None), console.say), JobId(chosen.job)
    if chosen.action == "contest":
        return _contested(purse, job, paid_here(purse, job), console)
    taken = take_back(purse, job, console.say)
    console.result(taken, in_words(taken, purse.network.decimals, purse.network.symbol))
    return 0


def _purse(chosen: argparse.Namespace, access: Access, console: Console) -> tuple[Purse, str]:
    """The wallet, on the very chain that the farm settles on, and the farm's address."""
    purse, rules = open_purse(place(chosen, access), console.say), access.client.rules()
    check_network(rules.network, purse.network)
    return purse, rules.address


def _number(purse: Purse, farm: str, job: JobId) -> int:
    number = purse.number_of(farm, job)
    if not number:
        raise NotFound(f"Job {job} has no deposit on the chain.")
    return number


def _job(chosen: argparse.Namespace, client: FarmClient) -> Job:
    """The job that was named, or the newest that has money. Raises NotFound, InvalidInput."""
    if getattr(chosen, "last", False):
        for job in client.jobs():
            if job.money is not None:
                return job
        raise NotFound("None of your jobs is paid for.")
    job = client.job(JobId(chosen.job))
    if job.money is None:
        raise InvalidInput(f"Job {job.job} is free: there is no money in it.")
    return job

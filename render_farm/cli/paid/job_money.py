# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job statement`, `job fund`, `job refund`, `job contest`: a paid job's money."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from frame_splitter.command_line import UsageError
from frame_splitter.errors import Conflict, InvalidInput, NotFound
from frame_splitter.ids import JobId
from payments import amounts
from render_farm.answers import Job
from render_farm.cli.access import Access, open_farm
from render_farm.cli.display.console import Console
from render_farm.cli.options import ChainChoice, FarmChoice, WalletChoice
from render_farm.cli.paid import contesting
from render_farm.cli.paid.abandoned import in_words, paid_here, take_back
from render_farm.cli.paid.purse import Purse, chosen_chain, open_purse, place
from render_farm.cli.paid.settling import settle
from render_farm.cli.paid.statement_check import Findings, check
from render_farm.cli.paid.statement_text import statement_text
from render_farm.cli.paid.terms_check import check_network
from render_farm.client import FarmClient
from render_farm.job_events import FINAL_STATES


@dataclass(frozen=True, slots=True)
class Funded:
    """A job's budget grew by `amount`, in the token's smallest unit."""

    job: JobId
    amount: int
    transaction: str


@contextmanager
def _reached(
    farm: FarmChoice, chosen: ChainChoice, console: Console, *, money: bool = True
) -> Iterator[Access]:
    """The farm; one of this command's own with a chain where `money` is, and no other was named."""
    with open_farm(farm, console.say, node=False, money=money and chosen.chain is None) as access:
        if access.own is not None:
            access.own.wait_for_money()
        yield access


def tell_statement(
    farm: FarmChoice, contracts: ChainChoice, job: JobId | None, is_checked: bool, console: Console
) -> int:
    """Where a job's money went; 1 where the chain says otherwise."""
    with _reached(farm, contracts, console, money=is_checked) as access:
        statement = access.client.statement(_job(job, access.client).job)
        if not is_checked:
            console.result(statement, statement_text(statement))
            return 0
        found = check(statement, *chosen_chain(farm, contracts, access), console.say)
        console.result(found, f"{statement_text(statement)}\n\n{_checked(found)}")
        return 1 if found.differences else 0


def _checked(found: Findings) -> str:
    if found.differences:
        return "The chain says otherwise:\n" + "\n".join(f"  {one}" for one in found.differences)
    return f"The chain agrees: {found.sentence}"


def fund(farm: FarmChoice, wallet: WalletChoice, named: JobId, amount: str, console: Console) -> None:
    """Add to a job's budget."""
    with _reached(farm, wallet, console) as access:
        job = _job(named, access.client)
        if job.state in FINAL_STATES:
            raise Conflict(f"Job {job.job} is {job.state.value}: it needs no more money.")
        purse, address = _purse(farm, wallet, access, console)
        added = amounts.parse(amount, purse.network.decimals)
        if added == 0:
            raise InvalidInput("Nothing is to be added.")
        number = _number(purse, address, job.job)
        purse.check_funds(added)
        sent = purse.top_up(job.job, number, added)
        said = f"{amounts.format(added, purse.network.decimals)} {purse.network.symbol}"
        console.result(Funded(job.job, added, sent), f"Added {said} to job {job.job}: transaction {sent}.")


def refund(farm: FarmChoice, wallet: WalletChoice, named: JobId | None, console: Console) -> None:
    """Take back what a job has left."""
    with _reached(farm, wallet, console) as access:
        job = _job(named, access.client)
        if job.state not in FINAL_STATES:
            raise Conflict(
                f"Job {job.job} is {job.state.value}: `render-farm job cancel {job.job}` ends it first."
            )
        purse, address = _purse(farm, wallet, access, console)
        _number(purse, address, job.job)
        statement = settle(access.client, purse, address, job.job, console.say)
        console.result(statement, statement_text(statement))


def contest(farm: FarmChoice, wallet: WalletChoice, named: JobId | None, console: Console) -> None:
    """Object to what operators claim."""
    with _reached(farm, wallet, console) as access:
        job = _job(named, access.client)
        purse, address = _purse(farm, wallet, access, console)
        _contest(purse, job.job, _number(purse, address, job.job), console)


def refund_alone(farm: FarmChoice, wallet: WalletChoice, named: JobId | None, console: Console) -> None:
    """Take back what a job has left, without its farm."""
    purse, job = _alone(farm, wallet, named, console)
    taken = take_back(purse, job, console.say)
    console.result(taken, in_words(taken, purse.network.decimals, purse.network.symbol))


def contest_alone(farm: FarmChoice, wallet: WalletChoice, named: JobId | None, console: Console) -> None:
    """Object to what operators claim, without the farm."""
    purse, job = _alone(farm, wallet, named, console)
    _contest(purse, job, paid_here(purse, job), console)


def _contest(purse: Purse, job: JobId, number: int, console: Console) -> None:
    done = contesting.contest(purse, job, number, console.say)
    console.result(done, contesting.in_words(done, purse.network.decimals, purse.network.symbol))


def _alone(
    farm: FarmChoice, wallet: WalletChoice, named: JobId | None, console: Console
) -> tuple[Purse, JobId]:
    if named is None:
        raise UsageError("Without its farm a job must be named: --offline needs JOB.")
    return open_purse(place(farm, wallet, None), console.say), named


def _purse(farm: FarmChoice, wallet: WalletChoice, access: Access, console: Console) -> tuple[Purse, str]:
    """The wallet, on the very chain that the farm settles on, and the farm's address."""
    purse, rules = open_purse(place(farm, wallet, access), console.say), access.client.rules()
    check_network(rules.network, purse.network)
    return purse, rules.address


def _number(purse: Purse, farm: str, job: JobId) -> int:
    number = purse.number_of(farm, job)
    if not number:
        raise NotFound(f"Job {job} has no deposit on the chain.")
    return number


def _job(named: JobId | None, client: FarmClient) -> Job:
    """The job that was named, or the newest that has money. Raises NotFound, InvalidInput."""
    if named is None:
        for job in client.jobs():
            if job.money is not None:
                return job
        raise NotFound("None of your jobs is paid for.")
    job = client.job(named)
    if job.money is None:
        raise InvalidInput(f"Job {job.job} is free: there is no money in it.")
    return job

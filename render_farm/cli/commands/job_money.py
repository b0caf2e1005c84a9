# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job statement`, `job fund`, `job refund`, `job contest`: their options and their help.

What they do is in `paid.job_money`, whose signing takes seconds to load.
"""

import click

from frame_splitter.command_line import Command, option
from frame_splitter.ids import JobId
from render_farm.cli.display.console import Console
from render_farm.cli.options import (
    ChainChoice,
    FarmChoice,
    WalletChoice,
    chain_options,
    farm_options,
    job_argument,
    wallet_options,
    which_job,
)

_STATEMENT = """examples:
  render-farm job statement --last                     what the last paid job cost, and where it went
  render-farm job statement JOB --check                the same, held against the chain itself
  render-farm job statement JOB --json | jq '.deposit - .paid - .refunded'

Amounts in JSON are integers in the token's smallest unit. With --check it exits with 1 when the chain
says otherwise.
"""

_FUND = """example:
  render-farm job fund JOB 2.5                         2.5 tokens more, from your wallet to the job's budget
"""

_REFUND = """examples:
  render-farm job refund JOB                           takes back what nobody earned
  render-farm job refund --last
  render-farm job refund JOB --offline --chain chain.toml --wallet me.json     the farm is gone

A job that still renders is not touched: cancel it first. What is owed for accepted work is paid. With
--offline the job is ended by its client's word; what operators have reserved comes back after the grace.
"""

_CONTEST = """example:
  render-farm job contest JOB                          an operator claims work that you were not given

Only while the claim's window is open. A tenth of what is claimed is put in; it is lost where the job's
arbiters find that the whole claim stands.
"""

offline_option = option(
    "--offline", is_flag=True, help="the farm is gone: from the contract alone (with --chain)"
)


@click.command("statement", cls=Command, help="where a job's money went", epilog=_STATEMENT)
@farm_options
@which_job
@option("--check", "is_checked", is_flag=True, help="compare every amount and transaction with the chain")
@chain_options
@click.pass_obj
def statement(
    console: Console, farm: FarmChoice, job: JobId | None, is_checked: bool, contracts: ChainChoice
) -> int:
    """Tell where a job's money went; 1 where the chain says otherwise."""
    from render_farm.cli.paid.job_money import tell_statement  # noqa: PLC0415

    return tell_statement(farm, contracts, job, is_checked, console)


@click.command("fund", cls=Command, help="add to a job's budget", epilog=_FUND)
@farm_options
@job_argument
@click.argument("amount", metavar="AMOUNT", help="how much of the token, such as 2.5")
@wallet_options()
@click.pass_obj
def fund(console: Console, farm: FarmChoice, job: JobId, amount: str, wallet: WalletChoice) -> None:
    """Add to a job's budget."""
    from render_farm.cli.paid import job_money  # noqa: PLC0415

    job_money.fund(farm, wallet, job, amount, console)


@click.command("refund", cls=Command, help="take back what a job has left", epilog=_REFUND)
@farm_options
@which_job
@offline_option
@wallet_options()
@click.pass_obj
def refund(
    console: Console, farm: FarmChoice, job: JobId | None, offline: bool, wallet: WalletChoice
) -> None:
    """Take back what a job has left."""
    from render_farm.cli.paid import job_money  # noqa: PLC0415

    (job_money.refund_alone if offline else job_money.refund)(farm, wallet, job, console)


@click.command("contest", cls=Command, help="object to what operators claim", epilog=_CONTEST)
@farm_options
@which_job
@offline_option
@wallet_options()
@click.pass_obj
def contest(
    console: Console, farm: FarmChoice, job: JobId | None, offline: bool, wallet: WalletChoice
) -> None:
    """Object to what operators claim."""
    from render_farm.cli.paid import job_money  # noqa: PLC0415

    (job_money.contest_alone if offline else job_money.contest)(farm, wallet, job, console)

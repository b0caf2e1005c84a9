# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of commands that pay: a budget, a wallet, and which chain."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

PAID = """\
  render-farm render shot.blend --budget 12.5          pay for it: quote, deposit, frames, the rest back
"""

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

_REVOKE = """examples:
  render-farm job revoke JOB                           the farm's key for the job is stolen, or not trusted
  render-farm job revoke JOB --key 0x52c4...           one of several keys
  render-farm job revoke --last --json | jq '.keys[].valid_until'
  render-farm job revoke JOB --offline --chain chain.toml --wallet me.json     the farm is gone

A revoked key opens and raises nothing; what it signed before is paid for one more claim window. A farm whose
key is revoked cancels the job, for good; without --key all keys that the job has are revoked.
"""

_APPOINT = """examples:
  render-farm job appoint JOB 0x52c4...                another key may sign the job's orders and vouchers
  render-farm job revoke JOB --key 0x52c4...           it may no more

Whoever holds a key that signs for a job can promise all of the job's money that is not reserved. A farm signs
with its own key, which every job has from its beginning.
"""

Adder = Callable[..., argparse.ArgumentParser]
"""Adds an action of `job`, by name, with what argparse knows of it."""


def add_budget(command: argparse.ArgumentParser, known: Mapping[str, str]) -> None:
    """How `render` is told to pay."""
    group = command.add_argument_group("paying (default: the job is free, on machines that work for free)")
    group.add_argument("--budget", metavar="AMOUNT", help="pay, at most so much of the token, such as 12.5")
    group.add_argument(
        "--price-cap", metavar="P", help="the most a render unit may cost (default: the quote's price)"
    )
    add_wallet(group, known)


def add_money(command: argparse.ArgumentParser, known: Mapping[str, str]) -> None:
    """What `up` is told of the chain that its paid jobs are settled on."""
    group = command.add_argument_group("paid jobs (default: settled on a chain of the farm's own)")
    group.add_argument("--no-money", action="store_true", help="take free jobs only, and run no chain")
    add_chain(group, known)
    _add_wallet(group, known, "of the wallet that pays for the farm's transactions")


Options = argparse.ArgumentParser | argparse._ArgumentGroup


def add_wallet(command: Options, known: Mapping[str, str]) -> None:
    """Which wallet pays, on which chain. The signer's URL may carry a secret, too."""
    add_chain(command, known)
    _add_wallet(command, known, "of the wallet that pays, or its address: then FARM_SIGNER_URL signs")
    command.set_defaults(signer_url=known.get("FARM_SIGNER_URL", ""))


def add_chain(command: Options, known: Mapping[str, str]) -> None:
    """Which chain. Its URL may carry a secret, and so has no option."""
    add_file(
        command, known, "chain", "FARM_CHAIN", "names the contracts; the chain's URL is in FARM_CHAIN_URL"
    )
    command.set_defaults(chain_url=known.get("FARM_CHAIN_URL", ""))


def _add_wallet(command: Options, known: Mapping[str, str], whose: str) -> None:
    add_file(command, known, "wallet", "FARM_WALLET", f"the keystore {whose}")
    add_file(command, known, "password-file", "FARM_WALLET_PASSWORD_FILE", "its first line is the password")


def add_file(command: Options, known: Mapping[str, str], name: str, variable: str, meaning: str) -> None:
    """A file that a variable may name as well."""
    command.add_argument(
        f"--{name}",
        metavar="FILE",
        type=Path,
        default=Path(known[variable]) if known.get(variable) else None,
        help=f"{meaning} [{variable}] (default: the embedded farm's)",
    )


def add_money_actions(add: Adder, common: argparse.ArgumentParser, known: Mapping[str, str]) -> None:
    """`job statement`, `job fund`, `job refund`, `job contest`, `job revoke` and `job appoint`."""
    statement = add("statement", parents=[common], help="where a job's money went", epilog=_STATEMENT)
    _add_which(statement)
    statement.add_argument(
        "--check", action="store_true", help="compare every amount and transaction with the chain"
    )
    add_chain(statement, known)
    fund = add("fund", parents=[common], help="add to a job's budget", epilog=_FUND)
    fund.add_argument("job", metavar="JOB", help="the job's id")
    fund.add_argument("amount", metavar="AMOUNT", help="how much of the token, such as 2.5")
    add_wallet(fund, known)
    refund = add("refund", parents=[common], help="take back what a job has left", epilog=_REFUND)
    _add_which(refund)
    _add_alone(refund, known)
    contest = add("contest", parents=[common], help="object to what operators claim", epilog=_CONTEST)
    _add_which(contest)
    _add_alone(contest, known)
    revoke = add("revoke", parents=[common], help="let no key sign for a job any more", epilog=_REVOKE)
    _add_which(revoke)
    revoke.add_argument("--key", metavar="ADDRESS", help="this key alone (default: all that the job has)")
    _add_alone(revoke, known)
    appoint = add("appoint", parents=[common], help="let another key sign for a job", epilog=_APPOINT)
    appoint.add_argument("job", metavar="JOB", help="the job's id")
    appoint.add_argument("key", metavar="ADDRESS", help="the key's address")
    _add_alone(appoint, known)


def _add_alone(command: argparse.ArgumentParser, known: Mapping[str, str]) -> None:
    """A wallet, with or without the farm."""
    command.add_argument(
        "--offline", action="store_true", help="the farm is gone: from the contract alone (with --chain)"
    )
    add_wallet(command, known)


def _add_which(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("job", metavar="JOB", nargs="?", help="the job's id")
    which.add_argument("--last", action="store_true", help="the newest of your jobs that has money")

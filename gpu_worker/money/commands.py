# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpu-worker stake`, `unstake`, `earnings`, `redeem` and `claim`: an operator's money, without the farm."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.ids import JobId
from gpu_worker.config import state_folder, wallet_files
from gpu_worker.money import bringing
from gpu_worker.money.bringing import Redeemed
from gpu_worker.money.claims import PATIENCE, Standing, Step, as_unpaid, claimable, next_step, unpaid
from gpu_worker.money.purse import FOLDER, JobPurse, Purse
from payments import amounts, keystore
from payments.chain import Chain, Patience
from payments.market import Market
from payments.money import Wei
from payments.network import Network, load
from payments.outbox import FileOutbox
from payments.refusals import Refused
from payments.wallet import Wallet
from payments.wallets import open_signer

CHAIN_SECONDS = 60.0
"""How long a chain that does not answer is waited for, at each question."""
SENDING_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Line:
    """An agreement as `earnings` tells it; amounts in the token's smallest unit. `paid` and `state` are None
    where the chain was not asked.
    """

    job: str
    agreement: str
    tasks: int
    vouched: int
    cap: int
    unpaid_tasks: int
    unpaid: int
    paid: int | None = None
    state: str | None = None
    next: str | None = None


class Desk:
    """The operator's wallet, its chain, and what the node keeps."""

    def __init__(
        self, network: Network, market: Market, wallet: Wallet, purse: Purse, asked: "Asked"
    ) -> None:
        self.network, self.market, self.wallet, self.purse = network, market, wallet, purse
        self.asked = asked

    def say(self, record: Mapping[str, Any], sentence: str) -> int:
        """The answer, for programs or for people."""
        print(json.dumps(record) if self.asked.json else sentence)
        return 0

    def told(self, amount: int) -> str:
        """An amount with its token's name."""
        return f"{amounts.format(amount, self.network.decimals)} {self.network.symbol}"

    def standings(self) -> Iterator[tuple[JobId, Standing]]:
        """The agreements asked about, as node and chain have them."""
        for job, purse in _jobs(self.purse, self.asked.job):
            for name, agreement in purse.agreements.items():
                chain, claim = self.market.agreement(name), self.market.claim(name)
                yield job, Standing(name, agreement, unpaid(purse, name), chain, claim)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for on the command line."""

    state: Path
    json: bool
    job: str = ""


def stake(arguments: argparse.Namespace) -> int:
    """Put stake up."""
    with _desk(arguments) as desk:
        amount = _amount(arguments.amount, desk.network)
        has = desk.market.token_balance(desk.wallet.address)
        if has < amount:
            raise Conflict(f"The wallet {desk.wallet.address} has {desk.told(has)}, less than that.")
        sent = desk.wallet.stake("stake", desk.wallet.address, amount, SENDING_SECONDS)
        return _tell_stake(desk, f"Staked {desk.told(amount)}", {"staked": amount}, sent)


def unstake(arguments: argparse.Namespace) -> int:
    """Take back free stake, all of it or an amount."""
    with _desk(arguments) as desk:
        freed = _free_unbonded(desk)
        free = desk.market.stake(desk.wallet.address).free
        amount = free if arguments.amount is None else _amount(arguments.amount, desk.network)
        if amount > free or not amount:
            bound = desk.market.stake(desk.wallet.address).bound
            raise Conflict(
                f"{desk.told(free)} of the stake is free, {desk.told(bound)} is behind agreements: that is "
                f"free some time after they are closed."
            )
        sent = desk.wallet.withdraw("unstake", amount, SENDING_SECONDS)
        return _tell_stake(desk, f"Took back {desk.told(amount)}", {"unstaked": amount, "freed": freed}, sent)


def earnings(arguments: argparse.Namespace) -> int:
    """What was earned, vouched for, and paid."""
    if arguments.offline:
        asked = _asked(arguments)
        lines = list(_offline(Purse(asked.state), asked.job))
        print(json.dumps({"agreements": [asdict(line) for line in lines]}) if asked.json else _plain(lines))
        return 0
    with _desk(arguments) as desk:
        now, lines = desk.market.chain.time(), []
        for job, standing in desk.standings():
            step, until = next_step(standing, desk.network, now)
            lines.append(_line(job, standing, _next(desk, step, until)))
        held = desk.market.stake(desk.wallet.address)
        balance = desk.market.token_balance(desk.wallet.address)
        record = {
            "operator": desk.wallet.address,
            "symbol": desk.network.symbol,
            "decimals": desk.network.decimals,
            "balance": balance,
            "stake_free": held.free,
            "stake_bound": held.bound,
            "agreements": [asdict(line) for line in lines],
        }
        about = (
            f"Wallet {desk.wallet.address}: {desk.told(balance)}. Stake: {desk.told(held.free)} free, "
            f"{desk.told(held.bound)} behind agreements."
        )
        return desk.say(record, "\n".join([about, *(_sentence(desk, line) for line in lines)]))


def redeem(arguments: argparse.Namespace) -> int:
    """Have the vouchers paid, opening agreements on the chain where nobody did."""
    with _desk(arguments) as desk:
        due = [standing for _, standing in desk.standings() if standing.redeemable]
        done = bringing.redeem(
            desk.market, due, lambda calls: desk.wallet.repeat("redeem", *calls, wait=SENDING_SECONDS)
        )
        record = {
            "redeemed": done.amount,
            "agreements": done.agreements,
            "transactions": done.transactions,
        }
        record |= {"refused": done.refused} if done.refused else {}
        desk.say(record, _told_of(desk, done))
        return 1 if done.refused else 0


def claim(arguments: argparse.Namespace) -> int:
    """Claim what has receipts and no voucher, and settle claims whose window is over."""
    with _desk(arguments) as desk:
        done, now = [], desk.market.chain.time()
        for job, standing in desk.standings():
            step, until = next_step(standing, desk.network, now, 0 if arguments.now else PATIENCE)
            done.append(_claimed(desk, job, standing, step, until))
        told = [one["said"] for one in done if one["step"] != Step.NOTHING]
        desk.say({"claims": done}, "\n".join(told) or "Nothing to claim: all work has its voucher.")
        return 1 if any("refused" in one for one in done) else 0


def _claimed(desk: Desk, job: JobId, standing: Standing, step: Step, until: int) -> dict[str, Any]:
    try:
        return _claim_one(desk, job, standing, step, until)
    except Refused as error:
        # The next agreement has a claim of its own.
        told = {"job": job, "agreement": standing.name, "step": step, "until": until}
        return told | {"refused": error.error, "said": f"{job}: {error.sentence}"}


def _told_of(desk: Desk, done: Redeemed) -> str:
    lines = [f"Agreement {name[:16]}: {reason}" for name, reason in done.refused.items()]
    if done.transactions:
        where = ", ".join(done.transactions)
        of = f"{done.agreements} agreements: transaction {where}"
        lines.insert(0, f"Redeemed {desk.told(done.amount)} of {of}.")
    return "\n".join(lines) or "Nothing to redeem: every voucher is paid."


def _claim_one(desk: Desk, job: JobId, standing: Standing, step: Step, until: int) -> dict[str, Any]:
    record: dict[str, Any] = {"job": job, "agreement": standing.name, "step": step, "until": until}
    if step is Step.SETTLE:
        sent = desk.wallet.do(
            f"settle {standing.name}", desk.market.settle_claim(standing.name), wait=SENDING_SECONDS
        )
        paid = desk.market.agreement(standing.name).paid
        record |= {
            "transaction": sent,
            "said": f"{job}: the claim is settled, {desk.told(paid)} paid in all.",
        }
    elif step is Step.CLAIM:
        works = claimable(standing)
        figure = max(standing.agreement.vouched, standing.chain.paid) + sum(work.amount for work in works)
        calls = bringing.opening(desk.market, standing, figure)
        if calls:
            desk.wallet.repeat(f"open {standing.name}", *calls, wait=SENDING_SECONDS)
        unpaid_works = [as_unpaid(work) for work in works]
        voucher = standing.agreement.promise.voucher
        sent = desk.wallet.claim(standing.name, voucher, unpaid_works, SENDING_SECONDS)
        amount, window = sum(work.amount for work in works), desk.network.windows.claim
        said = (
            f"{job}: claimed {desk.told(amount)} for {len(works)} tasks. The client may contest it for "
            f"{_span(window)}; then `gpu-worker claim` again has it paid."
        )
        record |= {"transaction": sent, "tasks": len(works), "amount": amount, "said": said}
    else:
        record["said"] = f"{job}: {_next(desk, step, until)}"
    return record


def _free_unbonded(desk: Desk) -> int:
    """Free the stake of agreements whose unbonding is over."""
    freed, now, mine = 0, desk.market.chain.time(), desk.wallet.address
    for purse in desk.purse.jobs.values():
        for name in purse.agreements:
            backing = desk.market.backing(mine, name)
            if backing.amount and backing.release_at and backing.release_at <= now and not backing.cases:
                desk.wallet.do(f"free {name}", desk.market.free(mine, name), wait=SENDING_SECONDS)
                freed += backing.amount
    return freed


def _tell_stake(desk: Desk, done: str, record: dict[str, Any], sent: str) -> int:
    held = desk.market.stake(desk.wallet.address)
    record |= {"transaction": sent, "stake_free": held.free, "stake_bound": held.bound}
    where = f"{desk.told(held.free)} free, {desk.told(held.bound)} behind agreements"
    return desk.say(record, f"{done}: now {where}. Transaction {sent}.")


def _offline(purse: Purse, only: str) -> Iterator[Line]:
    for job, kept in _jobs(purse, only):
        for name, agreement in kept.agreements.items():
            waiting = unpaid(kept, name)
            yield Line(
                job,
                name,
                sum(work.agreement == name for work in kept.work.values()),
                agreement.vouched,
                agreement.cap,
                len(waiting),
                sum(work.amount for work in waiting),
            )


def _line(job: JobId, standing: Standing, what: str) -> Line:
    waiting = standing.unpaid
    return Line(
        job,
        standing.name,
        len(standing.agreement.credited) + len(waiting),
        standing.agreement.vouched,
        standing.agreement.cap,
        len(waiting),
        sum(work.amount for work in waiting),
        standing.chain.paid,
        standing.chain.state.name.lower(),
        what,
    )


def _sentence(desk: Desk, line: Line) -> str:
    parts = [f"{desk.told(line.vouched)} vouched", f"{desk.told(line.paid or 0)} paid"]
    if line.unpaid_tasks:
        parts.append(f"{desk.told(line.unpaid)} for {line.unpaid_tasks} tasks without voucher")
    tail = f"; {line.next}" if line.next else ""
    return f"  job {line.job}: {', '.join(parts)} ({line.state}){tail}"


def _plain(lines: list[Line]) -> str:
    """As the folder has it: the token is not known there, so amounts are in its smallest unit."""
    told = [
        f"job {line.job}: {line.vouched} vouched of {line.cap}, {line.unpaid} for {line.unpaid_tasks} tasks "
        f"without voucher (in the token's smallest unit)"
        for line in lines
    ]
    return "\n".join(told) or "No agreements yet."


def _next(desk: Desk, step: Step, until: int) -> str:
    when = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M UTC") if until else ""
    return {
        Step.NOTHING: "",
        Step.EARLY: f"what has no voucher can be claimed from {when} on, if the farm stays silent: an "
        "agreement has one claim (--now claims at once)",
        Step.CLAIM: f"what has no voucher can be claimed until {when}",
        Step.WAIT: f"its claim can be settled after {when}",
        Step.SETTLE: "its claim can be settled now",
        Step.OVER: "what has no voucher can no longer be claimed",
    }[step]


def _span(seconds: int) -> str:
    hours = seconds / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:.3g} hours"


def _amount(written: str, network: Network) -> Wei:
    amount = amounts.parse(written, network.decimals)
    if not amount:
        raise InvalidInput("Nothing is no amount to stake.")
    return amount


def _jobs(purse: Purse, only: str) -> list[tuple[JobId, JobPurse]]:
    found = [(job, kept) for job, kept in purse.jobs.items() if not only or job == only]
    if only and not found:
        raise InvalidInput(f"This node was never promised anything for job '{only[:40]}'.")
    return found


def _asked(arguments: argparse.Namespace) -> Asked:
    state = state_folder(arguments.state_dir)
    return Asked(state, bool(arguments.json), getattr(arguments, "job", None) or "")


def _password(file: Path | None) -> str:
    assert file is not None  # as wallet_files found it
    return keystore.read_password(file)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def _desk(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Iterator[Desk]:
    asked = _asked(arguments)
    wallet, password, path = wallet_files(arguments, environment)
    url = environment.get("FARM_CHAIN_URL", "")
    if not url:
        raise InvalidInput("Which chain? Set FARM_CHAIN_URL to its JSON-RPC address.")
    network = load(path)
    key = open_signer(wallet, lambda: _password(password), environment.get("FARM_SIGNER_URL", ""))
    chain = Chain(url, network.chain_id, patience=Patience(CHAIN_SECONDS, _say))
    market = Market(chain, network)
    market.check()
    folder = asked.state / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    outbox = FileOutbox(folder / f"outbox-{network.chain_id}-{key.address.lower()}.json")
    try:
        yield Desk(network, market, Wallet(market, key, outbox, time.time), Purse(asked.state), asked)
    finally:
        outbox.close()

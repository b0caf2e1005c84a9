# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of a job's money where something is not as it should be. Pure."""

from collections.abc import Sequence

from payments.accounting import amounts
from payments.messages.network import Network
from render_farm.settlement import statements
from render_farm.settlement.job_ledger import JobLedger
from render_farm.store.money import PaidJob


def reason_to_stop(ledger: JobLedger, facts: PaidJob, halted: str, now: float) -> str:
    """Why nothing more of a job may be promised; '' where it may."""
    terms, escrow = facts.terms.message, ledger.escrow
    deadline = escrow.deadline or terms.deadline
    reasons = {
        halted: bool(halted),
        "Its client revoked the farm's key for this job: what is signed still gets paid, nothing new is "
        "begun.": terms.sessionKey.lower() in escrow.revoked,
        "Its client ended the job on the chain: what is signed still gets paid, nothing new is begun.": (
            escrow.ended
        ),
        "Its deadline is over: what is signed still gets paid, nothing new is begun.": now >= deadline,
        "It was opened on the chain by another wallet than the one that pays for it.": (
            bool(escrow.client) and escrow.client.lower() != facts.payment.client.lower()
        ),
        "Its client took money back that was promised to nodes already: nothing new is begun before it "
        "is there again.": bool(escrow.number) and ledger.accounts.free() < 0,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def is_final(ledger: JobLedger, facts: PaidJob, now: float) -> bool:
    """Whether a job that was opened can never go on: its deadline is over, or its client ended it or revoked
    the farm's key for it.
    """
    terms, escrow = facts.terms.message, ledger.escrow
    over = now >= (escrow.deadline or terms.deadline) or escrow.ended
    return bool(escrow.number) and (over or terms.sessionKey.lower() in escrow.revoked)


def shortage(short: int, facts: PaidJob, network: Network) -> str:
    """That the budget is used up; '' where it is not."""
    if not short:
        return ""
    more, budget = _written(short, network), _written(facts.payment.budget, network)
    return (
        f"The budget of {budget} is used up or promised: about {more} more is needed for the rest of the "
        f"job. It goes on once that is there: render-farm job fund {facts.job} AMOUNT"
    )


def all_of(
    ledger: JobLedger,
    facts: PaidJob,
    why: str,
    troubles: Sequence[str],
    network: Network,
    stake_wanted: int = 0,
) -> tuple[str, ...]:
    """Everything that is to be told, the reason why nothing goes on first. `stake_wanted`: what none of the
    nodes that sell has at stake.
    """
    told = [why, _deposit(ledger, facts, network), _no_stake(stake_wanted, network)]
    told += [
        f"Agreement {agreement[:10]} was opened on the chain without an order of this farm's; nothing is "
        f"done under it."
        for agreement in ledger.strangers()
    ]
    told += [
        _claim(agreement, one.contested) for agreement, one in ledger.escrow.agreements.items() if one.claim
    ]
    told += troubles
    told += ledger.refused
    return tuple(dict.fromkeys(sentence for sentence in told if sentence))


def _deposit(ledger: JobLedger, facts: PaidJob, network: Network) -> str:
    there = statements.figures(ledger).deposited
    if facts.funded or there >= facts.payment.budget or facts.state in statements.ENDED:
        return ""
    budget = _written(facts.payment.budget, network)
    if not ledger.escrow.number:
        return f"It waits for its deposit of {budget}."
    missing = _written(facts.payment.budget - there, network)
    return (
        f"Its deposit is {_written(there, network)} of {budget}: it begins when the other {missing} is there."
    )


def _no_stake(wanted: int, network: Network) -> str:
    if not wanted:
        return ""
    return (
        f"None of the nodes that sell has enough at stake: one needs {_written(wanted, network)} free, and "
        "its operator adds to it with: gpu-worker stake AMOUNT"
    )


def _claim(agreement: str, contested: bool) -> str:
    if contested:
        return f"A claim under agreement {agreement[:10]} is contested; the job's arbiters decide."
    who = f"The operator of agreement {agreement[:10]}"
    return f"{who} claims work without a voucher. Client or watcher may contest it."


def _written(amount: int, network: Network) -> str:
    return f"{amounts.format(amount, network.decimals)} {network.symbol}"

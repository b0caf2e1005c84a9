# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator can do on the chain for each of its agreements, from the node's folder alone. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gpu_worker.earnings.agreements import Agreement
from gpu_worker.earnings.earnings_journal import JobEarnings, Work
from payments.chain.market_records import AgreementOnChain, AgreementState, ClaimOnChain, Unpaid
from payments.messages.network import Network

PATIENCE = 3600
"""Seconds after the last receipt before a claim: an agreement has one, and vouchers take a while."""


class Step(StrEnum):
    """What is next for the work of an agreement that has receipts and no voucher."""

    NOTHING = "nothing"
    EARLY = "early"
    CLAIM = "claim"
    WAIT = "wait"
    SETTLE = "settle"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Standing:
    """An agreement as node and chain have it."""

    agreement: Agreement
    unpaid: Sequence[Work]
    chain: AgreementOnChain
    claim: ClaimOnChain

    @property
    def name(self) -> str:
        """The agreement's id."""
        return self.agreement.promise.agreement

    @property
    def is_open(self) -> bool:
        """Whether vouchers are paid."""
        return self.chain.state in (AgreementState.NONE, AgreementState.OPEN, AgreementState.CLAIMED)

    @property
    def redeemable(self) -> int:
        """What its voucher adds to what was paid."""
        return max(0, self.agreement.vouched - self.chain.paid) if self.is_open else 0


def claimable(standing: Standing) -> list[Work]:
    """The work a claim may name: as many tasks as the order allows, as far as the cap goes."""
    order = standing.agreement.promise.order.message
    left = standing.agreement.cap - max(standing.agreement.vouched, standing.chain.paid)
    found: list[Work] = []
    for work in standing.unpaid:
        if len(found) == order.claimTasks or not 0 < work.amount <= min(left, order.taskCap):
            continue
        found.append(work)
        left -= work.amount
    return found


def next_step(standing: Standing, network: Network, now: int, patience: int = PATIENCE) -> tuple[Step, int]:
    """What is to be done about the agreement `standing` so, and when what is waited for is over (0 where
    nothing is), by the windows of the `network`. `now` in seconds since the epoch; `patience` is how many
    seconds a farm may be silent.
    """
    windows, claim = network.windows, standing.claim
    end = standing.agreement.promise.terms.message.deadline + windows.grace
    if standing.chain.state is AgreementState.CLAIMED:
        contested = claim.contested_at + windows.decision if claim.contested_at else 0
        until = contested or claim.filed_at + windows.claim
        return (Step.SETTLE, until) if now >= until else (Step.WAIT, until)
    works = claimable(standing)
    if not works:
        return Step.NOTHING, 0
    if claim.filed_at or standing.chain.state is AgreementState.CLOSED or now >= end:
        return Step.OVER, 0
    ready = max(work.submission.time for work in works) // 1000 + patience
    return (Step.EARLY, ready) if now < ready < end else (Step.CLAIM, end)


def as_unpaid(work: Work) -> Unpaid:
    """A result with its receipt as the contract reads it."""
    return Unpaid(work.attestation, work.signature, work.submission, work.receipt_signature, work.amount)


def unpaid(journal: JobEarnings, agreement: str) -> list[Work]:
    """Work with receipts and no voucher, each task once."""
    seen: dict[str, Work] = {}
    for work in journal.unpaid(agreement):
        seen.setdefault(work.attestation.task, work)
    return list(seen.values())

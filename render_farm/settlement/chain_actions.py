# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be brought to the chain for a job, out of its ledger. Pure.

The chain refuses whatever is there already, so an action that was run and is not in the ledger yet is
harmless; it is looked at on the chain once more before it is sent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from farm_protocol.documents import Attestation
from farm_protocol.ids import JobId
from payments.messages import signing
from payments.messages.network import Network
from payments.messages.promises import Credit, Promise, Release, Signed, Slash
from render_farm.settlement import rulings, slashing
from render_farm.settlement.job_ledger import JobLedger
from render_farm.settlement.stakes import required
from render_farm.store.money import Agreement, PaidJob

NO_JOB = JobId("")
PAID_FIRST_SECONDS = 60
"""How long a slash waits for what was accepted to be paid: the client gets at most what it paid."""


@dataclass(frozen=True, slots=True)
class EquivocationProof:
    """Two attestations of a node under one lease, with its signatures."""

    one: Attestation
    one_signature: str
    other: Attestation
    other_signature: str


class ActionKind(IntEnum):
    """What an action does, in the order in which actions of one transaction follow each other. A voucher
    that the cap on the chain holds is paid before the cap is raised, because that needs less stake then.
    """

    OPEN = 1
    REDEEM_FIRST = 2
    RAISE = 3
    REDEEM = 4
    STRIKE = 9
    RELEASE = 10
    REPORT = 11
    PROPOSE = 12
    EXECUTE = 13
    RULE = 14
    SETTLE_CLAIM = 15
    CLOSE = 16
    REFUND = 17


@dataclass(frozen=True, slots=True)
class ChainAction:
    """One call to be made for a job, which has this number in the market and these arbiters. `promise` is
    what it is about, or `release`, `slash` (with its id); of a claim `stands`, each task that the ledger
    decided about with what may be claimed for it, or `paid`, the credits of the voucher that it stands on.
    """

    kind: ActionKind
    agreement: str = ""
    promise: Promise | None = None
    release: Signed[Release] | None = None
    slash: Slash | None = None
    case: str = ""
    stands: tuple[tuple[str, int], ...] = ()
    paid: tuple[Credit, ...] = ()
    proof: EquivocationProof | None = None
    job: JobId = NO_JOB
    number: int = 0
    arbiters: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is told apart by."""
        return f"{self.job} {self._what}"

    @property
    def _what(self) -> str:
        said = self.promise
        match self.kind:
            case ActionKind.REDEEM | ActionKind.REDEEM_FIRST:
                return f"redeem {self.agreement} {said.vouched if said else 0}"
            case ActionKind.RAISE:
                cap = said.cap_raise.message.cap if said and said.cap_raise else 0
                return f"raise {self.agreement} {cap}"
            case ActionKind.PROPOSE | ActionKind.EXECUTE | ActionKind.REPORT:
                return f"{self.kind.name.lower()} {self.case}"
        return f"{self.kind.name.lower()} {self.agreement}"


@dataclass(frozen=True, slots=True)
class Context:
    """When and for whom actions are listed. `now` is the chain's time; `arbiter` the address that may decide
    alone as the farm's; `stakes` operators' free stake as it was seen last, by address in small letters;
    `proofs` what was signed twice, by task and lease token.
    """

    now: float
    arbiter: str
    network: Network
    stakes: Mapping[str, int] = field(default_factory=dict)
    proofs: Mapping[tuple[str, int], EquivocationProof] = field(default_factory=dict)


def due_actions(
    ledger: JobLedger, facts: PaidJob, releases: Mapping[str, Signed[Release]], context: Context
) -> list[ChainAction]:
    """All that is to be done, in order."""
    if not ledger.escrow.number:
        return []
    deadline = ledger.escrow.deadline or facts.terms.message.deadline
    late = context.now >= deadline + context.network.windows.grace
    found: list[ChainAction] = []
    for held in ledger.held.values():
        found += _of_agreement(ledger, facts, held, releases, context, context.now < deadline)
    found += _decided(ledger, facts, context)
    if late:
        found += _leftovers(ledger)
    number, arbiters = ledger.escrow.number, facts.terms.message.arbiters
    return [
        replace(one, job=ledger.job, number=number, arbiters=arbiters)
        for one in sorted(found, key=lambda one: one.kind)
    ]


def _of_agreement(
    ledger: JobLedger,
    facts: PaidJob,
    held: Agreement,
    releases: Mapping[str, Signed[Release]],
    context: Context,
    running: bool,
) -> Iterator[ChainAction]:
    name, promise, chain = held.agreement, held.promise, held.chain
    vouched, is_new = promise.vouched, not chain.there
    may_begin = running and not _is_revoked(ledger, facts)
    if is_new and may_begin and (vouched or not promise.ended):
        yield ChainAction(ActionKind.OPEN, name, promise)
    if chain.closed or (is_new and not may_begin):
        return
    held_by_chain = max(chain.cap, promise.order.message.cap)
    grows = promise.cap > held_by_chain and may_begin and not chain.claim
    first = grows and _is_stake_short(held, context)
    over = _is_over(ledger, facts, promise, running) or chain.slashed
    if vouched > chain.paid and (first or over):
        holds = vouched <= held_by_chain
        yield ChainAction(ActionKind.REDEEM_FIRST if grows and holds else ActionKind.REDEEM, name, promise)
    if grows:
        yield ChainAction(ActionKind.RAISE, name, promise)
    release = releases.get(name)
    if release is None or chain.claim or (is_new and not vouched):
        return
    if release.message.cumulative <= max(vouched, chain.paid):
        yield ChainAction(ActionKind.RELEASE, name, promise, release)


def _is_stake_short(held: Agreement, context: Context) -> bool:
    """Whether the raised cap might find too little stake unless what was earned is paid first."""
    share = held.promise.terms.message.stakeShare
    more = required(held.cap - held.chain.paid, share) - held.chain.locked
    # EquivocationProof as much must be free: another agreement of the operator may grow before this one.
    return 2 * more > context.stakes.get(held.operator.lower(), 0)


def _is_over(ledger: JobLedger, facts: PaidJob, promise: Promise, running: bool) -> bool:
    """Whether vouchers are brought now, by whoever comes first: no more of them come, or they lose worth."""
    return promise.ended or not running or _is_revoked(ledger, facts) or ledger.escrow.ended


def _is_revoked(ledger: JobLedger, facts: PaidJob) -> bool:
    return facts.terms.message.sessionKey.lower() in ledger.escrow.revoked


def _decided(ledger: JobLedger, facts: PaidJob, context: Context) -> Iterator[ChainAction]:
    alone = _decides_alone(facts, context)
    for name, found in ledger.escrow.agreements.items():
        if found.claim is None or name not in ledger.held:
            continue
        if paid := rulings.paid(ledger, name, found.claim.base):
            yield ChainAction(ActionKind.STRIKE, name, paid=paid)
        if found.contested and alone:
            yield ChainAction(ActionKind.RULE, name, stands=rulings.stands(ledger, name, found.claim.base))
    for charge in slashing.charges(ledger):
        lease = (charge.entry.task, charge.entry.token)
        if lease in context.proofs:
            # Both signatures show it to anybody: no arbiter is needed.
            yield from _report(ledger, charge.held, lease, context.proofs[lease])
            continue
        case = signing.digest(charge.message, context.network).hex()
        if alone and case not in ledger.escrow.slashes and charge.held.chain.there:
            yield ChainAction(ActionKind.PROPOSE, charge.held.agreement, slash=charge.message, case=case)
    for one in ledger.escrow.proposed.values():
        wait = 0 if _is_paid(ledger, one.agreement) else PAID_FIRST_SECONDS
        if context.now >= one.execute_at + wait:
            yield ChainAction(ActionKind.EXECUTE, one.agreement, case=one.slash)


def _is_paid(ledger: JobLedger, agreement: str) -> bool:
    """Whether all was paid that was accepted under an agreement."""
    held = ledger.held.get(agreement)
    return held is None or held.cap - ledger.accounts.room(agreement) <= held.chain.paid


def _report(
    ledger: JobLedger, held: Agreement, lease: tuple[str, int], proof: EquivocationProof
) -> Iterator[ChainAction]:
    if held.chain.there and lease not in ledger.escrow.reported:
        yield ChainAction(ActionKind.REPORT, held.agreement, case=f"{lease[0]} {lease[1]}", proof=proof)


def _decides_alone(facts: PaidJob, context: Context) -> bool:
    terms = facts.terms.message
    return terms.threshold == 1 and context.arbiter.lower() in (one.lower() for one in terms.arbiters)


def _leftovers(ledger: JobLedger) -> Iterator[ChainAction]:
    """After deadline and grace anybody may close what is open and send the rest back."""
    still_open = {name: one for name, one in ledger.escrow.agreements.items() if not one.closed}
    for name, one in still_open.items():
        yield ChainAction(ActionKind.SETTLE_CLAIM if one.claim else ActionKind.CLOSE, name)
    if not still_open and ledger.accounts.balance().available > 0:
        yield ChainAction(ActionKind.REFUND)

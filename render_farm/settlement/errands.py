# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be brought to the chain for a job, out of its book. Pure.

The chain refuses whatever is there already, so an errand that was run and is not in the book yet is
harmless; it is looked at on the chain once more before it is sent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from farm_protocol.documents import Attestation
from payments import signing
from payments.network import Network
from payments.promises import Promise, SignedRelease, Slash
from render_farm.settlement import rulings, slashing, vouchers
from render_farm.settlement.book import Book, Held
from render_farm.settlement.stakes import required
from render_farm.store.money import PaidJob

PAID_FIRST_SECONDS = 60
"""How long a slash waits for what was accepted to be paid: the client gets at most what it paid."""


@dataclass(frozen=True, slots=True)
class Twice:
    """Two attestations of a node under one lease, with its signatures."""

    one: Attestation
    one_signature: str
    other: Attestation
    other_signature: str


class Kind(IntEnum):
    """What an errand does, in the order in which errands of one transaction follow each other. A voucher
    that the cap on the chain holds is paid before the cap is raised, because that needs less stake then.
    """

    OPEN = 1
    REDEEM_FIRST = 2
    RAISE = 3
    REDEEM = 4
    RELEASE = 10
    REPORT = 11
    PROPOSE = 12
    EXECUTE = 13
    RULE = 14
    SETTLE_CLAIM = 15
    CLOSE = 16
    REFUND = 17


@dataclass(frozen=True, slots=True)
class Errand:
    """One call to be made. `promise` is what it is about, or `release`, `slash` (with its id); of a claim
    `stands`, each task that the book decided about with what may be claimed for it.
    """

    kind: Kind
    agreement: str = ""
    promise: Promise | None = None
    release: SignedRelease | None = None
    slash: Slash | None = None
    case: str = ""
    stands: tuple[tuple[str, int], ...] = ()
    twice: Twice | None = None

    @property
    def name(self) -> str:
        """What it is told apart by."""
        said = self.promise
        match self.kind:
            case Kind.REDEEM | Kind.REDEEM_FIRST:
                return f"redeem {self.agreement} {vouchers.vouched(said) if said else 0}"
            case Kind.RAISE:
                cap = said.cap_raise.message.cap if said and said.cap_raise else 0
                return f"raise {self.agreement} {cap}"
            case Kind.PROPOSE | Kind.EXECUTE | Kind.REPORT:
                return f"{self.kind.name.lower()} {self.case}"
        return f"{self.kind.name.lower()} {self.agreement}"


@dataclass(frozen=True, slots=True)
class Moment:
    """When and for whom errands are listed. `now` is the chain's time; `arbiter` the address that may decide
    alone as the farm's; `stakes` operators' free stake as it was seen last, by address in small letters;
    `twices` what was signed twice, by task and lease token.
    """

    now: float
    arbiter: str
    network: Network
    stakes: Mapping[str, int] = field(default_factory=dict)
    twices: Mapping[tuple[str, int], Twice] = field(default_factory=dict)


def errands(
    book: Book, facts: PaidJob, releases: Mapping[str, SignedRelease], moment: Moment
) -> list[Errand]:
    """All that is to be done, in order."""
    if not book.escrow.number:
        return []
    deadline = book.escrow.deadline or facts.terms.message.deadline
    late = moment.now >= deadline + moment.network.windows.grace
    found: list[Errand] = []
    for held in book.held.values():
        found += _of_agreement(book, facts, held, releases, moment, moment.now < deadline)
    found += _decided(book, facts, moment)
    if late:
        found += _leftovers(book)
    return sorted(found, key=lambda errand: errand.kind)


def _of_agreement(
    book: Book,
    facts: PaidJob,
    held: Held,
    releases: Mapping[str, SignedRelease],
    moment: Moment,
    running: bool,
) -> Iterator[Errand]:
    name, promise, escrow = held.agreement, held.promise, book.escrow
    vouched, is_new = vouchers.vouched(promise), name not in escrow.agreements
    may_begin = running and not _is_revoked(book, facts)
    if is_new and may_begin and (vouched or not promise.ended):
        yield Errand(Kind.OPEN, name, promise)
    if escrow.is_closed(name) or (is_new and not may_begin):
        return
    claim = book.has_claim(name)
    raised = promise.cap_raise.message.cap if promise.cap_raise else 0
    grows = raised > max(escrow.cap(name), promise.order.message.cap) and may_begin and not claim
    first = grows and _is_stake_short(book, held, raised, moment)
    over = _is_over(book, facts, promise, running) or escrow.slashed(name)
    if vouched > escrow.paid(name) and (first or over):
        holds = vouched <= max(escrow.cap(name), promise.order.message.cap)
        yield Errand(Kind.REDEEM_FIRST if grows and holds else Kind.REDEEM, name, promise)
    if grows:
        yield Errand(Kind.RAISE, name, promise)
    release = releases.get(name)
    if release is None or claim or (is_new and not vouched):
        return
    if release.message.cumulative <= max(vouched, escrow.paid(name)):
        yield Errand(Kind.RELEASE, name, promise, release)


def _is_stake_short(book: Book, held: Held, cap: int, moment: Moment) -> bool:
    """Whether a cap might find too little stake unless what was earned is paid first."""
    share = held.promise.terms.message.stakeShare
    still_open = cap - book.escrow.paid(held.agreement)
    more = required(still_open, share) - book.escrow.locked(held.agreement)
    # Twice as much must be free: another agreement of the operator may grow before this one.
    return 2 * more > moment.stakes.get(held.operator.lower(), 0)


def _is_over(book: Book, facts: PaidJob, promise: Promise, running: bool) -> bool:
    """Whether vouchers are brought now, by whoever comes first: no more of them come, or they lose worth."""
    return promise.ended or not running or _is_revoked(book, facts) or book.escrow.ended


def _is_revoked(book: Book, facts: PaidJob) -> bool:
    return facts.terms.message.sessionKey.lower() in book.escrow.revoked


def _decided(book: Book, facts: PaidJob, moment: Moment) -> Iterator[Errand]:
    alone = _decides_alone(facts, moment)
    for name, found in book.escrow.agreements.items():
        if found.claim is not None and found.contested and alone and name in book.held:
            yield Errand(Kind.RULE, name, stands=rulings.stands(book, name, found.claim.total))
    for charge in slashing.charges(book):
        lease = (charge.entry.task, charge.entry.token)
        if lease in moment.twices:
            # Both signatures show it to anybody: no arbiter is needed.
            yield from _report(book, charge.held.agreement, lease, moment.twices[lease])
            continue
        case = signing.digest(charge.message, moment.network).hex()
        if alone and case not in book.escrow.slashes and charge.held.agreement in book.escrow.agreements:
            yield Errand(Kind.PROPOSE, charge.held.agreement, slash=charge.message, case=case)
    for one in book.escrow.proposed.values():
        wait = 0 if _is_paid(book, one.agreement) else PAID_FIRST_SECONDS
        if moment.now >= one.execute_at + wait:
            yield Errand(Kind.EXECUTE, one.agreement, case=one.slash)


def _is_paid(book: Book, agreement: str) -> bool:
    """Whether all was paid that was accepted under an agreement."""
    held = book.held.get(agreement)
    return held is None or held.cap - book.ledger.room(agreement) <= book.escrow.paid(agreement)


def _report(book: Book, agreement: str, lease: tuple[str, int], twice: Twice) -> Iterator[Errand]:
    if agreement in book.escrow.agreements and lease not in book.escrow.reported:
        yield Errand(Kind.REPORT, agreement, case=f"{lease[0]} {lease[1]}", twice=twice)


def _decides_alone(facts: PaidJob, moment: Moment) -> bool:
    terms = facts.terms.message
    return terms.threshold == 1 and moment.arbiter.lower() in (one.lower() for one in terms.arbiters)


def _leftovers(book: Book) -> Iterator[Errand]:
    """After deadline and grace anybody may close what is open and send the rest back."""
    still_open = [name for name, one in book.escrow.agreements.items() if not one.closed]
    for name in still_open:
        kind = Kind.SETTLE_CLAIM if book.has_claim(name) else Kind.CLOSE
        yield Errand(kind, name)
    if not still_open and book.ledger.balance().available > 0:
        yield Errand(Kind.REFUND)

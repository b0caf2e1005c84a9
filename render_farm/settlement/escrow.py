# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chain has of a job: its number, agreements, slashes, claims, transactions. Pure."""

from dataclasses import dataclass, field

from payments.chain_events import (
    MOVING,
    AgreementClosed,
    AgreementEvent,
    AgreementOpened,
    AnyEvent,
    CapRaised,
    ClaimContested,
    ClaimFiled,
    ClaimSettled,
    Equivocation,
    Funded,
    JobEnded,
    JobOpened,
    Locked,
    Paid,
    Refunded,
    SessionRevoked,
    Slashed,
    SlashProposed,
    SlashWithdrawn,
)
from payments.statements import TransactionLine

LINES = (
    JobOpened,
    Funded,
    Refunded,
    AgreementOpened,
    CapRaised,
    Paid,
    AgreementClosed,
    ClaimFiled,
    Slashed,
)
"""Which events are lines of a statement."""


@dataclass(slots=True)
class OnChain:
    """An agreement as the chain has it. `locked` stands behind it still; `claim` while one is pending;
    `slashed` was taken, of which the client got `compensated`.
    """

    operator: str = ""
    cap: int = 0
    paid: int = 0
    closed: bool = False
    locked: int = 0
    slashed: int = 0
    compensated: int = 0
    claim: ClaimFiled | None = None
    contested: bool = False


@dataclass(slots=True)
class Escrow:
    """A job on the chain. `number` is 0 before it is opened; `deadline` 0 while it is as in its terms;
    `slashes` are all that were ever proposed, `reported` the leases (task and token) under which two
    pictures were shown to be signed.
    """

    number: int = 0
    client: str = ""
    deadline: int = 0
    ended: bool = False
    revoked: set[str] = field(default_factory=set)
    agreements: dict[str, OnChain] = field(default_factory=dict)
    proposed: dict[str, SlashProposed] = field(default_factory=dict)
    slashes: set[str] = field(default_factory=set)
    reported: set[tuple[str, int]] = field(default_factory=set)
    transactions: list[TransactionLine] = field(default_factory=list)

    def take(self, event: AnyEvent) -> None:
        """Take in what the chain said."""
        if isinstance(event, LINES):
            self.transactions.append(_line(event))
        if isinstance(event, AgreementEvent):
            self._of_agreement(event, self.agreements.setdefault(event.agreement, OnChain()))
        else:
            self._of_job(event)

    def is_open(self, agreement: str) -> bool:
        """Whether the agreement is on the chain and not closed."""
        found = self.agreements.get(agreement)
        return found is not None and not found.closed

    def is_closed(self, agreement: str) -> bool:
        """Whether nothing more is ever paid under it."""
        found = self.agreements.get(agreement)
        return found is not None and found.closed

    def cap(self, agreement: str) -> int:
        """What may be paid under it."""
        found = self.agreements.get(agreement)
        return found.cap if found else 0

    def paid(self, agreement: str) -> int:
        """What was paid under it."""
        found = self.agreements.get(agreement)
        return found.paid if found else 0

    def locked(self, agreement: str) -> int:
        """The stake behind it."""
        found = self.agreements.get(agreement)
        return found.locked if found else 0

    def slashed(self, agreement: str) -> bool:
        """Whether stake was taken from behind it, or is about to be."""
        found = self.agreements.get(agreement)
        taken = found is not None and found.slashed > 0
        return taken or any(one.agreement == agreement for one in self.proposed.values())

    def _of_job(self, event: AnyEvent) -> None:
        match event:
            case JobOpened():
                self.number, self.client = event.job, event.client
            case JobEnded():
                self.ended, self.deadline = True, event.deadline
            case SessionRevoked():
                self.revoked.add(event.key.lower())
            case SlashWithdrawn():
                self.proposed.pop(event.slash, None)

    def _of_agreement(self, event: AgreementEvent, found: OnChain) -> None:
        match event:
            case AgreementOpened():
                found.operator, found.cap = event.operator, event.cap
            case CapRaised():
                found.cap = event.cap
            case Paid():
                found.paid = event.cumulative
            case AgreementClosed():
                found.closed = True
            case ClaimFiled():
                found.claim = event
            case ClaimContested():
                found.contested = True
            case ClaimSettled():
                found.claim, found.contested = None, False
            case _:
                self._of_stake(event, found)

    def _of_stake(self, event: AgreementEvent, found: OnChain) -> None:
        match event:
            case Locked():
                found.locked += event.amount
            case Slashed():
                found.locked -= event.amount
                found.slashed += event.amount
                found.compensated += event.to_client
            case Equivocation():
                self.reported.add((event.task, event.token))
            case SlashProposed():
                self.proposed[event.slash] = event
                self.slashes.add(event.slash)


def _line(event: AnyEvent) -> TransactionLine:
    amount = event.amount if isinstance(event, MOVING) else 0
    agreement = event.agreement if isinstance(event, AgreementEvent) else ""
    return TransactionLine(event.kind, event.transaction, event.block, amount, agreement)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chain has of a job: its number, agreements, slashes, claims, transactions. Pure."""

from dataclasses import dataclass, field

from payments.accounting.on_chain import OnChain
from payments.chain.chain_events import (
    MOVING,
    AgreementEvent,
    AnyEvent,
    Equivocation,
    JobEnded,
    JobOpened,
    SessionAppointed,
    SessionRevoked,
    SlashExecuted,
    SlashProposed,
    SlashWithdrawn,
)
from payments.messages.statements import TransactionLine

LINES = ("opened", "funded", "refunded", "agreement", "raised", "paid", "closed", "claimed", "slashed")
"""Kinds of events that are lines of a statement."""


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
    _agreements: dict[str, OnChain] = field(default_factory=dict)
    proposed: dict[str, SlashProposed] = field(default_factory=dict)
    slashes: set[str] = field(default_factory=set)
    reported: set[tuple[str, int]] = field(default_factory=set)
    transactions: list[TransactionLine] = field(default_factory=list)

    @property
    def agreements(self) -> dict[str, OnChain]:
        """The job's agreements that the chain told of."""
        return {name: found for name, found in self._agreements.items() if found.there}

    def of(self, agreement: str) -> OnChain:
        """An agreement as it is on the chain, and will be."""
        return self._agreements.setdefault(agreement, OnChain())

    def take(self, event: AnyEvent) -> None:
        """Take in what the chain said."""
        if event.kind in LINES:
            self.transactions.append(_line(event))
        if isinstance(event, AgreementEvent):
            self.of(event.agreement).take(event)
        match event:
            case JobOpened():
                self.number, self.client = event.job, event.client
            case JobEnded():
                self.ended, self.deadline = True, event.deadline
            case SessionRevoked():
                self.revoked.add(event.key.lower())
            case SessionAppointed():
                self.revoked.discard(event.key.lower())
            case Equivocation():
                self.reported.add((event.task, event.token))
            case _:
                self._take_slash(event)

    def _take_slash(self, event: AnyEvent) -> None:
        match event:
            case SlashProposed():
                self.proposed[event.slash] = event
                self.slashes.add(event.slash)
            case SlashExecuted():
                self.proposed.pop(event.slash, None)
            case SlashWithdrawn():
                self._withdraw(event.slash)

    def _withdraw(self, slash: str) -> None:
        proposed = self.proposed.pop(slash, None)
        if proposed is not None:
            self.of(proposed.agreement).slashes.discard(slash)


def _line(event: AnyEvent) -> TransactionLine:
    amount = event.amount if isinstance(event, MOVING) else 0
    agreement = event.agreement if isinstance(event, AgreementEvent) else ""
    return TransactionLine(event.kind, event.transaction, event.block, amount, agreement)

# SPDX-License-Identifier: GPL-3.0-or-later
"""An agreement as the contracts' events tell of it. Pure."""

from dataclasses import dataclass, field

from payments.chain.chain_events import (
    AgreementClosed,
    AgreementEvent,
    AgreementOpened,
    CapRaised,
    ClaimContested,
    ClaimFiled,
    ClaimSettled,
    Locked,
    Paid,
    Slashed,
    SlashProposed,
)


@dataclass(slots=True)
class OnChain:
    """`there`: the chain told of it. `locked` stands behind it still; `claim` while one is pending; `taken`
    was slashed, of which the client got `compensated`; `slashes`: those proposed and not withdrawn.
    """

    there: bool = False
    cap: int = 0
    paid: int = 0
    closed: bool = False
    locked: int = 0
    taken: int = 0
    compensated: int = 0
    claim: ClaimFiled | None = None
    contested: bool = False
    slashes: set[str] = field(default_factory=set)

    @property
    def slashed(self) -> bool:
        """Whether stake was taken from behind it, or is about to be."""
        return self.taken > 0 or bool(self.slashes)

    def take(self, event: AgreementEvent) -> None:
        """Take in what the chain said of it."""
        self.there = True
        match event:
            case AgreementOpened() | CapRaised():
                self.cap = event.cap
            case Paid():
                self.paid = event.cumulative
            case AgreementClosed():
                self.closed = True
            case ClaimFiled():
                self.claim = event
            case ClaimContested():
                self.contested = True
            case ClaimSettled():
                self.claim, self.contested = None, False
            case _:
                self._take_stake(event)

    def _take_stake(self, event: AgreementEvent) -> None:
        match event:
            case Locked():
                self.locked += event.amount
            case Slashed():
                self.locked -= event.amount
                self.taken += event.amount
                self.compensated += event.to_client
            case SlashProposed():
                self.slashes.add(event.slash)

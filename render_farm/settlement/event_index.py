# SPDX-License-Identifier: GPL-3.0-or-later
"""Which job each of the contracts' events is of. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from farm_protocol.ids import JobId
from payments.chain.chain_events import (
    AgreementEvent,
    AgreementOpened,
    AnyEvent,
    Freed,
    JobEvent,
    JobOpened,
    SlashProposed,
    SlashWithdrawn,
    Unbonding,
)
from render_farm.settlement.job_ledger import JobLedger


@dataclass(slots=True)
class Index:
    """Which job a number, an agreement or a slash on the chain is of. Grows with what is opened."""

    farm: str
    numbers: dict[int, JobId] = field(default_factory=dict)
    agreements: dict[str, JobId] = field(default_factory=dict)
    slashes: dict[str, JobId] = field(default_factory=dict)

    def job_of(self, event: AnyEvent) -> JobId | None:
        """The job an event is of; None for one of nobody here."""
        self._learn(event)
        match event:
            case JobEvent():
                return self.numbers.get(event.job)
            case AgreementEvent():
                return self.agreements.get(event.agreement)
            case SlashWithdrawn():
                return self.slashes.get(event.slash)

    def _learn(self, event: AnyEvent) -> None:
        """Remember what later events name."""
        match event:
            case JobOpened() if event.farm.lower() == self.farm.lower():
                self.numbers[event.job] = event.id
            case AgreementOpened() if event.job in self.numbers:
                self.agreements[event.agreement] = self.numbers[event.job]
            case SlashProposed() if event.agreement in self.agreements:
                self.slashes[event.slash] = self.agreements[event.agreement]


def index_of(farm: str, ledgers: Iterable[JobLedger]) -> Index:
    """The index as the ledgers have it."""
    index = Index(farm)
    for ledger in ledgers:
        if ledger.escrow.number:
            index.numbers[ledger.escrow.number] = ledger.job
        index.agreements.update(dict.fromkeys(ledger.escrow.agreements, ledger.job))
        index.slashes.update(dict.fromkeys(ledger.escrow.slashes, ledger.job))
    return index


def by_job(
    events: Iterable[AnyEvent], index: Index, after: Callable[[JobId], int]
) -> dict[JobId, list[AnyEvent]]:
    """Each job's events that go into its ledger, in their order. `after`: how many farm entries that has."""
    made: dict[JobId, list[AnyEvent]] = {}
    for event in events:
        job = index.job_of(event)
        if job is not None and not isinstance(event, Unbonding | Freed):
            made.setdefault(job, []).append(msgspec.structs.replace(event, after=after(job)))
    return made

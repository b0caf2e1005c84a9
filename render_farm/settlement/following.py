# SPDX-License-Identifier: GPL-3.0-or-later
"""From the contracts' events to entries of books: which job each is of, and what it says there. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farm_protocol.ids import JobId
from payments.chain import Event
from payments.events import event_id
from render_farm.settlement.book import Book
from render_farm.settlement.chain_entries import ChainEntry

Values = Mapping[str, Any]


@dataclass(slots=True)
class Index:
    """Which job a number or an agreement on the chain is of. Grows as jobs and agreements are opened."""

    farm: str
    numbers: dict[int, JobId] = field(default_factory=dict)
    agreements: dict[str, JobId] = field(default_factory=dict)
    slashes: dict[str, JobId] = field(default_factory=dict)

    def job_of(self, event: Event) -> JobId | None:
        """The job an event is of; None for one of nobody here."""
        values = event.values
        if event.name == "JobOpened":
            return self._opened(values)
        if "agreement" in values:
            name = hexadecimal(values["agreement"])
            if event.name == "AgreementOpened" and values["job"] in self.numbers:
                self.agreements[name] = self.numbers[values["job"]]
            return self.agreements.get(name)
        if "job" in values:
            return self.numbers.get(values["job"])
        return self.slashes.get(hexadecimal(values["slash"])) if "slash" in values else None

    def learn(self, event: Event, job: JobId) -> None:
        """Remember what later events name."""
        if event.name == "SlashProposed":
            self.slashes[hexadecimal(event.values["slash"])] = job

    def _opened(self, values: Values) -> JobId | None:
        if str(values["farm"]).lower() != self.farm.lower():
            return None
        job = JobId(bytes(values["name"]).rstrip(b"\0").decode("ascii", "replace"))
        self.numbers[values["job"]] = job
        return job


def index_of(farm: str, books: Iterable[Book]) -> Index:
    """The index as the books have it."""
    index = Index(farm)
    for book in books:
        if book.escrow.number:
            index.numbers[book.escrow.number] = book.job
        index.agreements.update(dict.fromkeys(book.escrow.agreements, book.job))
        index.slashes.update(dict.fromkeys(book.escrow.slashes, book.job))
    return index


def entries(
    events: Iterable[Event], index: Index, after: Callable[[JobId], int]
) -> dict[JobId, list[ChainEntry]]:
    """The entries of each job, in the events' order. `after`: how many farm entries a job's book has."""
    made: dict[JobId, list[ChainEntry]] = {}
    for event in events:
        job = index.job_of(event)
        if job is None or event.name not in _KINDS:
            continue
        index.learn(event, job)
        made.setdefault(job, []).append(_entry(event, after(job)))
    return made


def hexadecimal(value: bytes) -> str:
    """32 bytes as they are written in messages."""
    return bytes(value).hex()


def _entry(event: Event, after: int) -> ChainEntry:
    kind, fields = _KINDS[event.name]
    values = event.values
    agreement = hexadecimal(values["agreement"]) if "agreement" in values else ""
    return ChainEntry(
        kind=kind,
        event=event_id(event),
        block=event.block,
        transaction=event.transaction,
        after=after,
        agreement=agreement,
        **fields(values),
    )


_KINDS: dict[str, tuple[str, Callable[[Values], dict[str, Any]]]] = {
    "JobOpened": (
        "opened",
        lambda said: {"total": said["job"], "who": said["client"], "mark": hexadecimal(said["termsHash"])},
    ),
    "Funded": ("funded", lambda said: {"amount": said["amount"]}),
    "Refunded": ("refunded", lambda said: {"amount": said["amount"]}),
    "SessionAppointed": ("appointed", lambda said: {"who": said["key"]}),
    "SessionRevoked": ("revoked", lambda said: {"who": said["key"], "total": said["validUntil"]}),
    "JobEnded": ("ended", lambda said: {"total": said["deadline"]}),
    "AgreementOpened": ("agreement", lambda said: {"total": said["cap"], "who": said["operator"]}),
    "CapRaised": ("raised", lambda said: {"total": said["cap"]}),
    "Paid": (
        "paid",
        lambda said: {
            "amount": said["amount"],
            "total": said["cumulative"],
            "mark": hexadecimal(said["acceptedRoot"]),
        },
    ),
    "AgreementClosed": ("closed", lambda said: {"total": said["paid"]}),
    "ClaimFiled": ("claimed", lambda said: {"amount": said["extra"], "total": said["base"]}),
    "ClaimStruck": ("struck", lambda said: {"amount": said["amount"], "mark": hexadecimal(said["task"])}),
    "ClaimContested": ("contested", lambda said: {"amount": said["bond"], "who": said["contester"]}),
    "ClaimSettled": ("claim_settled", lambda said: {"amount": said["extra"], "total": said["cumulative"]}),
    "Locked": ("locked", lambda said: {"amount": said["amount"], "who": said["operator"]}),
    "Slashed": (
        "slashed",
        lambda said: {
            "amount": said["client"] + said["reporter"] + said["burned"],
            "total": said["client"],
            "who": said["operator"],
        },
    ),
    "SlashProposed": (
        "proposed",
        lambda said: {
            "amount": said["amount"],
            "total": said["executeAt"],
            "mark": hexadecimal(said["slash"]),
        },
    ),
    "SlashExecuted": (
        "executed",
        lambda said: {"amount": said["amount"], "mark": hexadecimal(said["slash"])},
    ),
    "SlashWithdrawn": ("withdrawn", lambda said: {"mark": hexadecimal(said["slash"])}),
    "ClaimRuled": ("ruled", lambda said: {"amount": said["extra"]}),
    "Equivocation": (
        "equivocation",
        lambda said: {"total": said["token"], "who": said["node"], "mark": said["task"]},
    ),
}
"""What each event says in a book."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""What this node was promised and did for it, in its state folder: enough to be paid without the farm.

    money/offers.jsonl         the offers it signed
    money/JOB/promises.jsonl   the farm's promises, as they came and were believed
    money/JOB/work.jsonl       results it has a receipt for, with what each earns
    money/cursor               where to go on asking for promises

Lines are on the disk before anything follows from them. What a kill cut off is a line without its end.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import structlog

from farm_protocol.documents import Attestation, Submission
from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.fields import Digest, Name, Signature, decode, decoder, encode
from farm_protocol.files import append_line, write_private
from farm_protocol.ids import JobId
from farm_protocol.records import Lease
from gpu_worker.earnings.agreements import Agreement, BadPromise, Seller, believed
from payments.messages.promises import Amount, Credit, Offer, Promise, Signed, Units

FOLDER = "money"
MOST_BYTES = 256 << 20
"""Of one job's promises: a farm that sends more is not believed any more."""
MOST_BYTES_IN_ALL = 4 << 30
MOST_JOBS = 100_000
MOST_REFUSED = 1000
"""Jobs that one request may name."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Work:
    """A result the farm gave a receipt for, and what it earns under its agreement."""

    agreement: Digest
    units: Units
    amount: Amount
    attestation: Attestation
    signature: Signature
    submission: Submission
    receipt_signature: Signature
    leaf: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass(slots=True)
class JobEarnings:
    """One job's agreements and work."""

    agreements: dict[str, Agreement] = field(default_factory=dict)
    work: dict[tuple[str, int], Work] = field(default_factory=dict)

    def unpaid(self, agreement: str) -> list[Work]:
        """Work under an agreement that its voucher does not pay for, oldest first."""
        credited = self.agreements[agreement].credited
        return [
            one
            for one in self.work.values()
            if one.agreement == agreement and one.attestation.task not in credited
        ]

    def underpaid(self, agreement: str) -> list[Credit]:
        """Credits that are less than the work was leased for."""
        amounts = {one.attestation.task: one.amount for one in self.work.values()}
        return [one for one in self.agreements[agreement].credits if one.amount < amounts.get(one.task, 0)]

    def is_full(self, agreement: str) -> bool:
        """Whether as many tasks wait for their voucher, or got too little from it, as can be claimed."""
        tasks = {one.attestation.task for one in self.unpaid(agreement)}
        waiting = len(tasks) + len(self.underpaid(agreement))
        return waiting >= self.agreements[agreement].promise.order.message.claimTasks


class EarningsJournal:
    """The folder, and what is in it. May be used from several threads; one process writes."""

    def __init__(self, state: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = state / FOLDER
        self._clock = clock
        self._news = threading.Condition()
        self.offers: dict[str, Signed[Offer]] = {}
        self.jobs: dict[JobId, JobEarnings] = {}
        self._bytes = 0
        self._read()

    # --- what came ------------------------------------------------------------------------------

    def add_offer(self, digest: str, offer: Signed[Offer]) -> None:
        """Keep an offer before anybody sees it."""
        line = json.dumps({"digest": digest, "offer": msgspec.to_builtins(offer)})
        self._append(self._folder / "offers.jsonl", line)
        self.offers[digest] = offer

    def next_number(self) -> int:
        """Number that no offer had; the time, so that no offer of a lost folder had it either."""
        return max([int(self._clock()), *(one.message.number + 1 for one in self.offers.values())])

    def take(self, promise: Promise, seller: Seller) -> Agreement:
        """Believe a promise and keep it. Raises BadPromise, InvalidInput where the disk does not take it."""
        with self._news:
            job = self.jobs.get(promise.job, JobEarnings())
            if promise.job not in self.jobs and len(self.jobs) >= MOST_JOBS:
                raise BadPromise("The farm makes promises for too many jobs.")
            before = job.agreements.get(promise.agreement)
            found = believed(promise, before, seller, self._clock())
            if before is None or found.promise != before.promise:
                self._keep(promise)
            job.agreements[promise.agreement] = found
            self.jobs[promise.job] = job
            self._news.notify_all()
            return found

    def add_work(self, lease: Lease, work: Work) -> None:
        """Keep a result's receipt."""
        with self._news:
            path = self._place(lease.task.job) / "work.jsonl"
            self._append(path, encode(work).decode())
            job = self.jobs.setdefault(lease.task.job, JobEarnings())
            job.work[(work.attestation.task, work.attestation.token)] = work

    # --- what follows ---------------------------------------------------------------------------

    def agreement(self, lease: Lease, wait: float) -> Agreement | None:
        """The agreement a lease is under; order or raise may be on the way for up to `wait` seconds."""
        with self._news:
            self._news.wait_for(lambda: self._has_room(lease), timeout=wait)
            return self._held(lease)

    def refused(self) -> tuple[JobId, ...]:
        """Jobs for which as much is done without a voucher as could be claimed."""
        with self._news:
            found = (job for job, journal in self.jobs.items() if any(map(journal.is_full, _open(journal))))
            return tuple(islice(found, MOST_REFUSED))

    def cursor(self) -> str:
        """Where to go on asking for promises."""
        try:
            return (self._folder / "cursor").read_text().strip()[:100]
        except FileNotFoundError:
            return ""

    def set_cursor(self, cursor: str) -> None:
        """What came before it is kept."""
        path = self._folder / "cursor"
        try:
            write_private(path, f"{cursor}\n".encode(), durable=False)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error}") from error

    def _held(self, lease: Lease) -> Agreement | None:
        job = self.jobs.get(lease.task.job)
        return job.agreements.get(lease.agreement) if job else None

    def _has_room(self, lease: Lease) -> bool:
        held = self._held(lease)
        return held is not None and held.has_room(lease.units)

    # --- the folder -----------------------------------------------------------------------------

    def _keep(self, promise: Promise) -> None:
        path = self._place(promise.job) / "promises.jsonl"
        line = encode(promise).decode()
        if _size(path) + len(line) > MOST_BYTES or self._bytes + len(line) > MOST_BYTES_IN_ALL:
            raise BadPromise(f"The farm makes too many promises for job {promise.job}.")
        self._append(path, line)
        self._bytes += len(line)

    def _place(self, job: JobId) -> Path:
        if not job.isalnum() or len(job) > 64:
            raise InvalidInput(f"'{job[:40]}' is no job's id.")
        return self._folder / job

    def _append(self, path: Path, line: str) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            append_line(path, line)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error}") from error

    def _read(self) -> None:
        for line in _lines(self._folder / "offers.jsonl"):
            found = decoder(_KeptOffer).decode(line)
            self.offers[found.digest] = found.offer
        for folder in sorted(self._folder.glob("*/")):
            self._bytes += _size(folder / "promises.jsonl")
            self.jobs[JobId(folder.name)] = self._job(folder)

    def _job(self, folder: Path) -> JobEarnings:
        """A job as it was believed before: what was checked then is not checked again."""
        job = JobEarnings()
        newest: dict[str, Promise] = {}
        leaves: dict[str, list[Credit]] = {}
        for line in _lines(folder / "promises.jsonl"):
            promise = decode(line, Promise)
            before = newest.get(promise.agreement)
            credited = leaves.setdefault(promise.agreement, [])
            if promise.voucher != (before.voucher if before else None):
                credited += promise.credits
            newest[promise.agreement] = replace(promise, credits=())
        for name, promise in newest.items():
            tasks = frozenset(one.task for one in leaves[name])
            job.agreements[name] = Agreement(promise, tuple(leaves[name]), tasks)
        for line in _lines(folder / "work.jsonl"):
            work = decode(line, Work)
            job.work[(work.attestation.task, work.attestation.token)] = work
        return job


class _KeptOffer(msgspec.Struct, frozen=True):
    digest: Name
    offer: Signed[Offer]


def _open(journal: JobEarnings) -> Iterator[str]:
    return (name for name, agreement in journal.agreements.items() if not agreement.promise.ended)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _lines(path: Path) -> Iterator[str]:
    """Whole lines; one that a kill cut off was never believed."""
    try:
        # A line that was cut off may end within a letter.
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.endswith("\n"):
                    return
                try:
                    json.loads(line)
                except ValueError:
                    log.warning("line_lost", path=str(path))
                    continue
                yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise FarmError(f"{path} cannot be read: {error}") from error

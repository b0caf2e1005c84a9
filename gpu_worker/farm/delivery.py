# SPDX-License-Identifier: GPL-3.0-or-later
"""Getting a finished task's files into the store and its result to the coordinator, whatever is away."""

import threading
import time
from typing import Protocol

import structlog

from farm_protocol.appointments import AuditTerms
from farm_protocol.errors import Conflict, FarmError, RoundClosed, StaleLease, Unavailable
from farm_protocol.node_answers import SubmitAnswer
from farm_protocol.records import (
    FailureCode,
    Lease,
    OutputFile,
    TaskFailure,
    TaskKind,
    TaskOutput,
    TaskResult,
    Upload,
)
from farm_protocol.retry import backoff
from farm_protocol.transfer import LinkExpired
from gpu_worker.farm.result_signer import WrongReceipt

LONGEST_WAIT = 5.0
"""Seconds between two tries."""

TOLERATED_REFUSALS = 3
"""How often the coordinator may find the stored files wanting before the task is given back."""

log = structlog.get_logger()


class Receiver(Protocol):
    """The coordinator, as a delivery needs it."""

    def uploads(self, lease: Lease, files: tuple[OutputFile, ...]) -> tuple[Upload, ...]:
        """Where to put files."""

    def terms(self, lease: Lease, attempt: int) -> AuditTerms:
        """By what it will be decided whether a tile is audited."""

    def submit(self, lease: Lease, result: TaskResult) -> SubmitAnswer:
        """Hand a result in."""


class Sender(Protocol):
    """The slot whose disk the files are on."""

    def deliver(self, lease: Lease, uploads: tuple[Upload, ...]) -> None:
        """Upload a finished task's files."""


class Signer(Protocol):
    """Who answers for the results."""

    def sign(self, lease: Lease, result: TaskResult) -> TaskResult:
        """The result, signed."""

    def appoint(self, lease: Lease, result: TaskResult, terms: AuditTerms, attempt: int) -> TaskResult:
        """The signed `result` of a `lease` under the farm's `terms`, signed too; `attempt` counts them from
        1.
        """

    def refused(self, lease: Lease, result: TaskResult) -> None:
        """The farm did not take a result under its own terms: keep what was signed."""

    def keep(self, lease: Lease, result: TaskResult, answer: SubmitAnswer) -> None:
        """Check and store the farm's receipt. Raises WrongReceipt."""


class StoreAway(FarmError):
    """The object store does not take the files at the moment."""

    code = "store_away"


class Delivery:
    """Delivers one result. Stops trying when the lease is lost, when the store has been away for
    `store_away` seconds, or `drain` seconds after `stop` was set; a coordinator that is away is waited
    for as long as the lease is not known to be lost.
    """

    def __init__(
        self,
        receiver: Receiver,
        sender: Sender,
        signer: Signer,
        stop: threading.Event,
        store_away: float,
        drain: float,
    ) -> None:
        self._receiver, self._sender, self._signer, self._stop = receiver, sender, signer, stop
        self._store_away, self._drain = store_away, drain
        self._refusals = 0
        self._attempts = 0
        self._appointed: TaskResult | None = None
        self._store_since: float | None = None
        self._stopping_since: float | None = None

    def deliver(self, lease: Lease, result: TaskResult, lost: threading.Event) -> TaskFailure | None:
        """None when the coordinator has the result, or will not have it from this node any more; else
        why the task is given back.
        """
        attempt = 0
        try:
            signed = self._signer.sign(lease, result)
        except (FarmError, OSError) as error:
            return TaskFailure(FailureCode.NODE, f"The result could not be signed: {error}"[:2000])
        while not lost.is_set():
            attempt += 1
            try:
                self._once(lease, signed)
                log.info("task_submitted", task=lease.task.id, attempts=attempt)
                return None
            except StaleLease:
                log.info("task_lost", task=lease.task.id)
                return None
            except FarmError as error:
                if attempt == 1 or isinstance(error, WrongReceipt):
                    log.warning("delivery_waits", task=lease.task.id, reason=error.sentence)
                if self._give_up(error):
                    return TaskFailure(
                        FailureCode.NODE, f"The result could not be delivered: {error.sentence}"
                    )
            lost.wait(backoff(attempt, LONGEST_WAIT))
        return None

    def _once(self, lease: Lease, result: TaskResult) -> None:
        uploads = self._receiver.uploads(lease, result.files)
        try:
            self._sender.deliver(lease, uploads)
        except (Unavailable, LinkExpired) as error:
            raise StoreAway(error.sentence) from error
        appointed = self._under_terms(lease, result)
        try:
            answer = self._receiver.submit(lease, appointed)
        except RoundClosed:
            self._appointed = None
            self._signer.refused(lease, appointed)
            raise
        self._signer.keep(lease, appointed, answer)

    def _under_terms(self, lease: Lease, result: TaskResult) -> TaskResult:
        """A tile with an appointment: the same until the farm says that the log is closed for it. Nothing is
        drawn about frames that are written whole.
        """
        if lease.task.kind is not TaskKind.RENDER or lease.task.output is TaskOutput.FINAL:
            return result
        if self._appointed is None:
            terms = self._receiver.terms(lease, self._attempts + 1)
            self._attempts += 1
            self._appointed = self._signer.appoint(lease, result, terms, self._attempts)
        return self._appointed

    def _give_up(self, error: FarmError) -> bool:
        now = time.monotonic()
        if self._stop.is_set():
            self._stopping_since = self._stopping_since or now
            if now - self._stopping_since > self._drain:
                return True
        if isinstance(error, StoreAway):
            self._store_since = self._store_since or now
            return now - self._store_since > self._store_away
        self._store_since = None
        if isinstance(error, (Unavailable, RoundClosed)):
            return False
        self._refusals += 1
        return not isinstance(error, Conflict) or self._refusals >= TOLERATED_REFUSALS

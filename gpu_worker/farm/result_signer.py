# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing what was rendered, and keeping what the farm signs for it.

Receipts of submission prove that the farm had a result at a time; they are worth money when it forgets.
"""

import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from farm_protocol.appointments import Appointment, AuditTerms
from farm_protocol.documents import Attestation
from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.fields import Signature, decode
from farm_protocol.files import append_line
from farm_protocol.node_answers import SubmissionReceipt, SubmitAnswer
from farm_protocol.records import Lease, TaskResult
from farm_protocol.typed_data import BadSignature
from gpu_worker.farm.double_sign_guard import Signed
from gpu_worker.farm.identity import Identity
from verification.protocol.attestation import appoint, attest, digest, is_receipt_of, require_signer

RECEIPTS_FILE = "receipts.jsonl"
SIGNED_FILE = "signed"
APPOINTMENTS_FILE = "appointments.jsonl"
"""What was signed for terms that the farm did not keep to: the log was closed when the result came."""

log = structlog.get_logger()


class WrongReceipt(Conflict):
    """The farm's receipt is missing, not signed by the farm, or for something else."""

    code = "wrong_receipt"


@dataclass(frozen=True, slots=True)
class Due:
    """Until when (monotonic) a receipt is due: when the log is closed for its round, and when that is out."""

    closed: float
    out: float


class Books(Protocol):
    """Who keeps what paid work earns."""

    def earned(
        self, lease: Lease, message: Attestation, signature: Signature, receipt: SubmissionReceipt
    ) -> None:
        """Keep the attested `message` of a `lease`, its `signature`, and the farm's `receipt` of it."""


class Observer(Protocol):
    """Who looks at the farm's log."""

    def expect(self, receipt: SubmissionReceipt, due: Due) -> None:
        """A receipt's leaf is to be in the log that is closed for its round."""


class Notary:
    """Signs for one farm. All methods may be called from several threads. `books`: of a node that sells.
    `observer` is told of each receipt.
    """

    def __init__(
        self,
        identity: Identity,
        farm: str,
        state: Path,
        books: Books | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._identity, self._farm, self._books, self._observer = identity, farm, books, observer
        self._path = state / RECEIPTS_FILE
        self._appointments = state / APPOINTMENTS_FILE
        self._dues: dict[Appointment, Due] = {}
        self._signed = Signed(state / SIGNED_FILE)
        self._lock = threading.Lock()

    def sign(self, lease: Lease, result: TaskResult) -> TaskResult:
        """The result with this node's signature over its attestation.

        Raises Contradiction for a lease that something else was signed for, OSError where the node's disk
        does not keep that it signs.
        """
        message = attest(lease.task.id, lease.token, result)
        self._signed.remember(message, self._farm)
        return replace(result, signature=self._identity.sign(message, self._farm))

    def appoint(self, lease: Lease, result: TaskResult, terms: AuditTerms, attempt: int) -> TaskResult:
        """The `result` of a `lease` with this node's signature over the farm's `terms` for it; `attempt`
        counts the terms for this result, from 1.
        """
        asked = time.monotonic()
        one = appoint(attest(lease.task.id, lease.token, result), terms, attempt, self._farm)
        signature = self._identity.sign(one, self._farm)
        with self._lock:
            self._dues[one] = Due(asked + terms.closes_in, asked + terms.out_in)
        return replace(result, appointment=one, appointment_signature=signature)

    def refused(self, lease: Lease, result: TaskResult) -> None:
        """Keep an appointment that the farm did not keep. Its next one is audited for certain, so a farm that
        lets rounds pass gains nothing, and this shows that it did.
        """
        one = result.appointment
        if one is None:
            return
        with self._lock:
            self._dues.pop(one, None)
        log.warning("log_was_closed", task=lease.task.id, attempt=one.attempt, round=one.round)
        said = {"appointment": asdict(one), "appointment_signature": result.appointment_signature}
        self._write(self._appointments, {"farm": self._farm, "task": lease.task.id, **said})

    def keep(self, lease: Lease, result: TaskResult, answer: SubmitAnswer) -> None:
        """Check the farm's receipt for a signed result and store it. Raises WrongReceipt."""
        receipt = _receipt_of(answer)
        if receipt is None:
            if answer.state != "accepted":
                raise WrongReceipt("The farm took the result but gave no receipt for it.")
            return
        message = attest(lease.task.id, lease.token, result)
        appointed = result.appointment
        if appointed is None:
            raise WrongReceipt("The farm gave a receipt for a result that needs none.")
        self._check(receipt, message, appointed)
        with self._lock:
            due = self._dues.pop(appointed, None)
        in_time = due is not None and time.monotonic() < due.out
        if not in_time:
            log.warning("receipt_late", task=lease.task.id, round=appointed.round)
        # First what is worth money: it holds the receipt, too.
        if self._books is not None and lease.agreement and result.signature is not None:
            self._books.earned(lease, message, result.signature, receipt)
        self._append(message, result, receipt, in_time)
        if self._observer is not None and due is not None:
            self._observer.expect(receipt, due)

    def _check(self, receipt: SubmissionReceipt, message: Attestation, appointed: Appointment) -> None:
        if receipt.submission.attestation != digest(message, self._farm).hex():
            raise WrongReceipt("The farm's receipt is for another result than this one.")
        if not is_receipt_of(receipt.submission, appointed):
            raise WrongReceipt("The farm's receipt is not by the terms that this node signed.")
        try:
            require_signer(receipt.submission, self._farm, receipt.signature, self._farm)
        except BadSignature as error:
            raise WrongReceipt(f"The farm's receipt is not signed by the farm: {error.sentence}") from error

    def _append(
        self, message: Attestation, result: TaskResult, receipt: SubmissionReceipt, in_time: bool
    ) -> None:
        assert result.appointment is not None
        self._write(
            self._path,
            {
                "farm": self._farm,
                "attestation": asdict(message),
                "signature": result.signature,
                "submission": asdict(receipt.submission),
                "receipt_signature": receipt.signature,
                "leaf": receipt.leaf,
                "appointment": asdict(result.appointment),
                "appointment_signature": result.appointment_signature,
                "in_time": in_time,
            },
        )

    def _write(self, path: Path, said: dict[str, object]) -> None:
        line = json.dumps(said)
        try:
            with self._lock:
                append_line(path, line)
        except OSError as error:
            # The farm has the result: the log is the last place where the receipt can survive.
            log.error("receipt_not_kept", reason=str(error), receipt=line)


def _receipt_of(answer: SubmitAnswer) -> SubmissionReceipt | None:
    if bytes(answer.receipt) == b"null":
        return None
    try:
        return decode(bytes(answer.receipt), SubmissionReceipt)
    except InvalidInput as error:
        raise WrongReceipt(f"The farm's receipt cannot be read: {error.sentence}") from error

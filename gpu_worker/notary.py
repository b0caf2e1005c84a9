# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing what was rendered, and keeping what the farm signs for it.

Receipts of submission prove that the farm had a result at a time; they are worth money when it forgets.
"""

import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
import structlog

from frame_splitter.errors import Conflict, InvalidInput
from frame_splitter.fields import Signature, decode
from frame_splitter.records import Lease, TaskResult
from gpu_worker.coordinator import SubmitAnswer
from gpu_worker.identity import Identity
from gpu_worker.signed import Signed
from verification.attestation import Attestation, BadSignature, Submission, attest, digest, require_signer

RECEIPTS_FILE = "receipts.jsonl"
SIGNED_FILE = "signed"

log = structlog.get_logger()


class WrongReceipt(Conflict):
    """The farm's receipt is missing, not signed by the farm, or for something else."""

    code = "wrong_receipt"


class SubmissionReceipt(msgspec.Struct, frozen=True):
    """The farm's signature over a submission, and which leaf of its log that is."""

    submission: Submission
    signature: Signature
    leaf: Annotated[int, msgspec.Meta(ge=0)]


class Books(Protocol):
    """Who keeps what paid work earns."""

    def earned(
        self, lease: Lease, message: Attestation, signature: Signature, receipt: SubmissionReceipt
    ) -> None:
        """Keep a result that was signed and received."""


class Notary:
    """Signs for one farm. `sign` and `keep` may be called from several threads. `books`: of a node that
    sells.
    """

    def __init__(self, identity: Identity, farm: str, state: Path, books: Books | None = None) -> None:
        self._identity, self._farm, self._books = identity, farm, books
        self._path = state / RECEIPTS_FILE
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

    def keep(self, lease: Lease, result: TaskResult, answer: SubmitAnswer) -> None:
        """Check the farm's receipt for a signed result and store it. Raises WrongReceipt."""
        receipt = _receipt_of(answer)
        if receipt is None:
            if answer.state != "accepted":
                raise WrongReceipt("The farm took the result but gave no receipt for it.")
            return
        message = attest(lease.task.id, lease.token, result)
        self._check(receipt, message)
        # First what is worth money: it holds the receipt, too.
        if self._books is not None and lease.agreement and result.signature is not None:
            self._books.earned(lease, message, result.signature, receipt)
        self._append(message, result, receipt)

    def _check(self, receipt: SubmissionReceipt, message: Attestation) -> None:
        if receipt.submission.attestation != digest(message, self._farm).hex():
            raise WrongReceipt("The farm's receipt is for another result than this one.")
        try:
            require_signer(receipt.submission, self._farm, receipt.signature, self._farm)
        except BadSignature as error:
            raise WrongReceipt(f"The farm's receipt is not signed by the farm: {error.sentence}") from error

    def _append(self, message: Attestation, result: TaskResult, receipt: SubmissionReceipt) -> None:
        line = json.dumps(
            {
                "farm": self._farm,
                "attestation": asdict(message),
                "signature": result.signature,
                "submission": asdict(receipt.submission),
                "receipt_signature": receipt.signature,
                "leaf": receipt.leaf,
            }
        )
        try:
            with self._lock:
                append_line(self._path, line)
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


def append_line(path: Path, line: str) -> None:
    """Add a line so that it outlives a power cut; one that was cut off before is closed first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + line.encode() + b"\n"
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

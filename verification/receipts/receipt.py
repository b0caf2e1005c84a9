# SPDX-License-Identifier: GPL-3.0-or-later
"""A frame's receipt: what a third party needs to check how a frame was made, without the farm.

It is JSON in one canonical form (sorted keys, no spaces, UTF-8, whole numbers only), signed by the farm.
Inside it are the nodes' and the auditors' own signatures, the farm's receipts of submission, the beacon
rounds that decided what was audited, and proofs that each submission stood in the head of the farm's log
that was signed for its round. `docs/verify_receipt.py` checks it with nothing of ours; `checks.py`
is the farm's own check. What it cannot prove: that the finished files were made of these tiles (the farm
says so), that a crop nobody looked at was right (`detection` says how likely a cheat would have been met),
and that a head was signed before its round was out: for that, heads are kept (`witness.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm_protocol.audits import CheckReport
from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.fields import FrameNumber, StoredFile, Tile
from farm_protocol.ids import TaskId
from farm_protocol.records import Exactness
from verification.audit import detection
from verification.audit.records import AuditRecord, JobVerification, LogProof, Round, SubmissionRecord
from verification.audit.verdict import Outcome
from verification.protocol import attestation
from verification.receipts.checks import verify
from verification.receipts.records import (
    KIND,
    MOST_BYTES,
    VERSION,
    Metric,
    Receipt,
    ReceiptAudit,
    ReceiptProof,
    ReceiptTile,
    ReceiptVerdict,
    SignedReceipt,
    WrittenFile,
    canonical,
    rules_of,
)

__all__ = ["FrameFiles", "is_accepted", "make", "sign", "verify"]


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """What the coordinator knows of a finished frame: `area` is the rendered part of it, in its pixels."""

    frame: FrameNumber
    area: Tile
    exactness: Exactness
    files: tuple[StoredFile, ...]


def make(
    verification: JobVerification, frame: FrameFiles, proofs: Mapping[int, LogProof], refused: bool = True
) -> Receipt:
    """The receipt of a finished frame, not signed yet. `proofs` by number of leaf, each of the log's size
    at the round that the submission names. Raises Conflict where a tile of the frame is not accepted, a
    proof or a round is missing.
    """
    mine = [one for one in verification.submissions if one.task.frame == frame.frame]
    newest = {one.task.id: one for one in sorted(mine, key=lambda one: one.token)}
    chosen = sorted(newest.values(), key=lambda one: _number(one.task.id))
    if not chosen or not all(map(is_accepted, chosen)):
        raise Conflict(f"Frame {frame.frame} is not accepted yet, so it has no receipt.")
    others = [one for one in mine if refused and newest[one.task.id] is not one and one.verdict is not None]
    shown = [*chosen, *others]
    return Receipt(
        kind=KIND,
        version=VERSION,
        farm=verification.farm.address,
        rules=rules_of(verification.farm),
        job=verification.job,
        scene=verification.scene,
        frame=frame.frame,
        settings=verification.settings,
        exactness=frame.exactness,
        device_class=chosen[0].device_class,
        build=chosen[0].attestation.build,
        area=frame.area,
        files=tuple(WrittenFile(file.name, file.sha256, file.size) for file in frame.files),
        tiles=tuple(_tile(one, proofs) for one in chosen),
        refused=tuple(_tile(one, proofs) for one in others),
        rounds=tuple(_rounds(shown, verification.rounds)),
        detection=detection.curve([one.receipt.rate for one in chosen]),
    )


def is_accepted(submission: SubmissionRecord) -> bool:
    """Own nodes' work that nothing was drawn for is accepted without a verdict."""
    if submission.verdict is None:
        return submission.own and not submission.audited
    return submission.verdict.outcome is Outcome.ACCEPTED


def sign(receipt: Receipt, key: bytes) -> bytes:
    """The signed document. Raises InvalidInput where it would be larger than anybody reads."""
    document = canonical(SignedReceipt(receipt, attestation.sign_document(canonical(receipt), key)))
    if len(document) > MOST_BYTES:
        raise InvalidInput(f"The receipt of frame {receipt.frame} would be larger than {MOST_BYTES} bytes.")
    return document


def _number(task: TaskId) -> tuple[int, str]:
    """The number of a tile's task in its frame, from its id."""
    digits = task.rpartition(".t")[2]
    return (int(digits) if digits.isdecimal() else 0, task)


def _rounds(submissions: Sequence[SubmissionRecord], rounds: Iterable[Round]) -> list[Round]:
    """The rounds the submissions name."""
    needed = {one.receipt.round for one in submissions}
    found = [one for one in sorted(rounds, key=lambda one: one.round) if one.round in needed]
    if needed - {one.round for one in found}:
        raise Conflict("A round that decided about this frame is not out yet, so it has no receipt.")
    return found


def _tile(submission: SubmissionRecord, proofs: Mapping[int, LogProof]) -> ReceiptTile:
    proof = proofs.get(submission.leaf)
    if proof is None:
        raise Conflict(f"The log's proof of {submission.task.id} is missing.")
    return ReceiptTile(
        task=submission.task.id,
        tile=submission.task.tile,
        node=submission.node,
        operator=submission.operator,
        address=submission.address,
        own=submission.own,
        attestation=submission.attestation,
        signature=submission.signature,
        appointment=submission.appointment,
        appointment_signature=submission.appointment_signature,
        receipt=submission.receipt,
        receipt_signature=submission.receipt_signature,
        proof=ReceiptProof(proof.leaf, proof.size, proof.path, proof.root),
        standing=submission.standing,
        operator_standing=submission.operator_standing,
        croppable=submission.croppable,
        audited=bool(submission.audited),
        forced=submission.forced,
        audits=tuple(audit for one in submission.audits for audit in _audit(one)),
        verdict=_verdict(submission),
        metric=None if submission.report is None else _metric(submission.report),
    )


def _verdict(submission: SubmissionRecord) -> ReceiptVerdict:
    if submission.verdict is None:
        return ReceiptVerdict(Outcome.ACCEPTED, "own", "Rendered by the farm's own node.")
    return ReceiptVerdict(submission.verdict.outcome, submission.verdict.code, submission.verdict.reason)


def _audit(record: AuditRecord) -> list[ReceiptAudit]:
    """Audits that were ordered and not done leave nothing to check."""
    node, operator, address = record.node, record.operator, record.address
    signed, signature = record.attestation, record.signature
    if node is None or operator is None or address is None or signed is None or signature is None:
        return []
    return [
        ReceiptAudit(
            task=record.task,
            node=node,
            operator=operator,
            address=address,
            own=record.own,
            same_class=record.same_class,
            repeat=record.repeat,
            contradicted=record.contradicted,
            order=record.order,
            attestation=signed,
            signature=signature,
        )
    ]


def _metric(report: CheckReport) -> Metric:
    return Metric(
        crops=len(report.crops),
        different=sum(crop.different for crop in report.crops),
        rmse_millionths=min(1 << 53, round(max((crop.rmse for crop in report.crops), default=0.0) * 1e6)),
        cluster=max((crop.cluster for crop in report.crops), default=0),
        suspicion_thousandths=max(-(1 << 53), min(1 << 53, round(report.suspicion * 1000))),
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of every submission, so that anybody can repeat the farm's choices and check them."""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from farm_protocol.appointments import Appointment
from farm_protocol.audits import AuditOrder, CheckReport
from farm_protocol.documents import Attestation, Submission
from farm_protocol.fields import Address, Digest, Name, Seconds, Sentence, Signature, StoredFile
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import RenderSettings, Task
from verification.audit.rate import Count, Rates, Standing
from verification.audit.sampling import AuditPolicy
from verification.audit.selection import Asked
from verification.audit.verdict import Case, Verdict


@dataclass(frozen=True, slots=True)
class FarmRules:
    """A farm's public identity and rules. `beacon` is `local` or a drand chain's hash."""

    address: Address
    beacon: Name
    genesis: float
    period: Seconds
    policy: AuditPolicy
    rates: Rates


@dataclass(frozen=True, slots=True)
class Round:
    """A beacon round that some appointments named. `value` is hexadecimal; `size` and `root` are those of the
    log when it was closed for the round, `signature` is the farm's over them (`LogHead`).
    `beacon_signature` is the public beacon's own, '' for a local one.
    """

    round: int
    value: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
    root: Digest
    signature: Signature | None = None
    beacon_signature: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{96})?$")] = ""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One audit: who did it, what was ordered, and what the auditor signed with the key of `address`.
    `repeat`: the farm's own node doing another's audit again. `contradicted`: it, and another repeat of it in
    a Blender that opened the scene for that (`fresh`), did not confirm it.
    """

    task: TaskId
    order: AuditOrder
    node: NodeId | None = None
    operator: OwnerId | None = None
    own: bool = False
    same_class: bool = True
    repeat: bool = False
    attestation: Attestation | None = None
    signature: Signature | None = None
    contradicted: bool = False
    address: Address | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """A submission from its lease to its verdict.

    `standing` and `operator_standing` are what the rate in the appointment was made from. `forced` says why
    the submission was audited although its round did not say so ('' otherwise). `asked` are the nodes that
    could have audited it when its round came out, and `audits_before` the audits that its operator's work had
    had; `candidates` those that are asked, in the drawn order (`verification.audit.selection`). `case` is
    what the verdict was made from beside the report. `second` is another picture that the node signed
    under the same lease, where it did.
    """

    job: JobId
    task: Task
    token: LeaseToken
    node: NodeId
    operator: OwnerId
    address: Address
    own: bool
    device_class: DeviceClass
    attestation: Attestation
    signature: Signature
    appointment: Appointment
    appointment_signature: Signature
    receipt: Submission
    receipt_signature: Signature
    leaf: int
    standing: Standing
    operator_standing: Standing
    croppable: bool
    audited: bool | None = None
    forced: Sentence = ""
    candidates: tuple[NodeId, ...] = ()
    asked: tuple[Asked, ...] = ()
    audits_before: Count = 0
    audits: tuple[AuditRecord, ...] = ()
    report: CheckReport | None = None
    verdict: Verdict | None = None
    evidence: tuple[StoredFile, ...] = ()
    case: Case | None = None
    second: Attestation | None = None
    second_signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class JobVerification:
    """All submissions of a job, in the order they came in, with the rounds they name. `signature` is the
    farm's over everything else in it (`replay.signed`).
    """

    job: JobId
    scene: SceneId
    settings: RenderSettings
    farm: FarmRules
    submissions: tuple[SubmissionRecord, ...]
    rounds: tuple[Round, ...] = field(default=())
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head of the farm's log under the farm's signature (`LogHead`)."""

    round: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
    root: Digest
    signature: Signature


@dataclass(frozen=True, slots=True)
class LogConsistency:
    """That the log of `second` leaves begins with the one of `first` (RFC 6962, 2.1.2), hexadecimal."""

    first: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
    second: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
    path: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=128)]


@dataclass(frozen=True, slots=True)
class LogProof:
    """That leaf number `leaf` (whose data is the receipt's digest) is in the log of `size` leaves whose
    root is `root`; `path` from the leaf upwards. All hexadecimal.
    """

    leaf: int
    size: int
    path: tuple[Digest, ...]
    root: Digest

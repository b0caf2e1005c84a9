# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of every submission, so that anybody can repeat the farm's choices and check them."""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from farm_protocol.appointments import Appointment
from farm_protocol.audits import AuditOrder, CheckReport
from farm_protocol.documents import Attestation, Submission
from farm_protocol.fields import Address, Digest, Name, Seconds, Sentence, Signature, StoredFile, about
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import RenderSettings, Task
from verification.audit.rate import Count, Rates, Standing
from verification.audit.sampling import AuditPolicy
from verification.audit.selection import Asked
from verification.audit.verdict import Case, Verdict


@dataclass(frozen=True, slots=True)
class FarmRules:
    """A farm's public identity and rules."""

    address: Annotated[Address, about("address that the farm signs with")]
    beacon: Annotated[Name, about("`local`, or a drand chain's hash")]
    genesis: Annotated[float, about("when round 1 of the beacon is out, seconds since the epoch")]
    period: Annotated[Seconds, about("seconds between rounds of the beacon")]
    policy: Annotated[AuditPolicy, about("how an audited tile is looked at")]
    rates: Annotated[Rates, about("how often tiles are audited")]


@dataclass(frozen=True, slots=True)
class Round:
    """A beacon round that some appointments named, and the log as it was when it was closed for it."""

    round: Annotated[int, about("number of the beacon round")]
    value: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$"), about("its value, hexadecimal")]
    size: Annotated[
        int, msgspec.Meta(ge=0, le=1 << 53), about("leaves of the log when it was closed for the round")
    ]
    root: Annotated[Digest, about("root of the log, hexadecimal")]
    signature: Annotated[Signature | None, about("the farm's over size and root")] = None
    beacon_signature: Annotated[
        str, msgspec.Meta(pattern="^([0-9a-f]{96})?$"), about("the public beacon's own, '' for a local one")
    ] = ""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One audit: who did it, what was ordered, and what the auditor signed."""

    task: Annotated[TaskId, about("id of the audit")]
    order: Annotated[AuditOrder, about("what was to be rendered")]
    node: Annotated[NodeId | None, about("id of the node that did it")] = None
    operator: Annotated[OwnerId | None, about("id of the owner whose node it is")] = None
    own: Annotated[bool, about("whether by the farm's own node")] = False
    same_class: Annotated[bool, about("whether on the device class that the tile was rendered on")] = True
    repeat: Annotated[bool, about("whether the own node did another's audit again")] = False
    attestation: Annotated[Attestation | None, about("what the auditor signed of it")] = None
    signature: Annotated[Signature | None, about("the signature, 65 bytes, hexadecimal")] = None
    contradicted: Annotated[bool, about("whether the own node's repeats did not confirm it")] = False
    address: Annotated[Address | None, about("address that signed it")] = None
    fresh: Annotated[bool, about("whether it was made in a Blender that opened the scene for it")] = False


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """A submission from its lease to its verdict."""

    job: Annotated[JobId, about("id of the job")]
    task: Annotated[Task, about("the task")]
    token: Annotated[LeaseToken, about("fencing token of the lease")]
    node: Annotated[NodeId, about("id of the node")]
    operator: Annotated[OwnerId, about("id of the owner whose node it is")]
    address: Annotated[Address, about("address that signed it")]
    own: Annotated[bool, about("whether the farm's operator runs and trusts it")]
    device_class: Annotated[DeviceClass, about("the kind of device, by which bits are equal")]
    attestation: Annotated[Attestation, about("what its node signed of it")]
    signature: Annotated[Signature, about("the node's signature over the attestation")]
    appointment: Annotated[Appointment, about("the terms that its node signed")]
    appointment_signature: Annotated[Signature, about("the node's over the appointment")]
    receipt: Annotated[Submission, about("what the farm said it has")]
    receipt_signature: Annotated[Signature, about("the farm's signature over the receipt")]
    leaf: Annotated[int, about("number of its leaf in the farm's log")]
    standing: Annotated[Standing, about("what audits of the node's work had shown by then")]
    operator_standing: Annotated[Standing, about("what audits of its operator's work had shown by then")]
    croppable: Annotated[bool, about("whether crops of it can be rendered by themselves")]
    audited: Annotated[bool | None, about("whether it was audited; null while that is not decided")] = None
    forced: Annotated[
        Sentence, about("why it was audited although its round did not say so, '' where it did")
    ] = ""
    candidates: Annotated[
        tuple[NodeId, ...], about("nodes that are asked to audit it, in the drawn order")
    ] = ()
    asked: Annotated[
        tuple[Asked, ...], about("nodes that could have audited it when its round came out")
    ] = ()
    audits_before: Annotated[Count, about("audits that its operator's work had had")] = 0
    audits: Annotated[tuple[AuditRecord, ...], about("audits that were ordered")] = ()
    report: Annotated[CheckReport | None, about("what a check found")] = None
    verdict: Annotated[Verdict | None, about("what was decided; null: nothing yet")] = None
    evidence: Annotated[tuple[StoredFile, ...], about("pictures of what differs, with links")] = ()
    case: Annotated[Case | None, about("what the verdict was made from beside the report")] = None
    second: Annotated[
        Attestation | None, about("another picture that the node signed under the same lease")
    ] = None
    second_signature: Annotated[Signature | None, about("the node's signature over that")] = None


@dataclass(frozen=True, slots=True)
class JobVerification:
    """All submissions of a job, in the order they came in, with the rounds they name."""

    job: Annotated[JobId, about("id of the job")]
    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    settings: Annotated[RenderSettings, about("what the job pins")]
    farm: Annotated[FarmRules, about("the farm's identity and rules")]
    submissions: Annotated[tuple[SubmissionRecord, ...], about("submissions, in the order they came in")]
    rounds: Annotated[tuple[Round, ...], about("beacon rounds that they name")] = field(default=())
    signature: Annotated[Signature | None, about("the farm's over everything else here")] = None


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head of the farm's log under the farm's signature (`LogHead`)."""

    round: Annotated[int, msgspec.Meta(ge=1, le=1 << 53), about("number of the beacon round")]
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 53), about("leaves of the log")]
    root: Annotated[Digest, about("root of the log, hexadecimal")]
    signature: Annotated[Signature, about("the farm's signature over the head")]


@dataclass(frozen=True, slots=True)
class LogConsistency:
    """That the log of `second` leaves begins with the one of `first` (RFC 6962, 2.1.2), hexadecimal."""

    first: Annotated[int, msgspec.Meta(ge=0, le=1 << 53), about("leaves of the shorter log")]
    second: Annotated[int, msgspec.Meta(ge=0, le=1 << 53), about("leaves of the longer log")]
    path: Annotated[
        tuple[Digest, ...],
        msgspec.Meta(max_length=128),
        about("hashes that show that it begins with the shorter one (RFC 6962, 2.1.2), hexadecimal"),
    ]


@dataclass(frozen=True, slots=True)
class LogProof:
    """That leaf number `leaf` (whose data is the receipt's digest) is in the log of `size` leaves whose
    root is `root`; `path` from the leaf upwards. All hexadecimal.
    """

    leaf: Annotated[int, about("number of the leaf")]
    size: Annotated[int, about("leaves of the log")]
    path: Annotated[tuple[Digest, ...], about("hashes from the leaf upwards, hexadecimal")]
    root: Annotated[Digest, about("root of the log, hexadecimal")]

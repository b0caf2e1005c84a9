# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frame's receipt says, and its one form as JSON (`receipt.py` makes it)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from farm_protocol.appointments import Appointment
from farm_protocol.audits import AuditOrder
from farm_protocol.documents import Attestation, Submission
from farm_protocol.errors import InvalidInput
from farm_protocol.fields import (
    Address,
    Digest,
    FrameNumber,
    Name,
    Sentence,
    Signature,
    Size,
    Tile,
    about,
    convert,
    decoder,
)
from farm_protocol.ids import DeviceClass, JobId, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import Exactness, RenderSettings
from verification.audit.rate import Rates, Standing
from verification.audit.records import FarmRules, Round
from verification.audit.sampling import MILLION, AuditPolicy
from verification.audit.verdict import Outcome

KIND: Final = "render farm: receipt of a frame"
VERSION: Final = 2
MOST_BYTES = 32 << 20
MOST_TILES = 10_000
FRACTION = "_millionths"
"""What the names of figures end in that are fractions elsewhere."""

T = TypeVar("T", AuditPolicy, Rates)

Whole = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
Figures = Annotated[dict[Name, Whole], msgspec.Meta(max_length=64)]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of the frame."""

    name: Annotated[Name, about("relative path, POSIX")]
    sha256: Annotated[Digest, about("sha256 of its bytes, hexadecimal")]
    size: Annotated[Size, about("bytes")]


@dataclass(frozen=True, slots=True)
class ReceiptRules:
    """The farm's rules in whole numbers: times in milliseconds, floats of the policy in millionths."""

    beacon: Annotated[Name, about("`local`, or a drand chain's hash")]
    genesis_ms: Annotated[Whole, about("when round 1 of the beacon is out, milliseconds since the epoch")]
    period_ms: Annotated[Whole, about("milliseconds between rounds")]
    policy: Annotated[Figures, about("how an audited tile is looked at; shares in millionths")]
    rates: Annotated[Figures, about("chances of an audit, in a million")]


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """The place of a receipt of submission in the log as it was when it was closed for its round."""

    leaf: Annotated[Whole, about("number of the leaf")]
    size: Annotated[Whole, about("leaves of the log")]
    path: Annotated[
        tuple[Digest, ...], msgspec.Meta(max_length=64), about("hashes from the leaf upwards, hexadecimal")
    ]
    root: Annotated[Digest, about("root of the log, hexadecimal")]


@dataclass(frozen=True, slots=True)
class ReceiptAudit:
    """One audit of a tile that was done, signed with the key of `address`."""

    task: Annotated[TaskId, about("id of the task")]
    node: Annotated[NodeId, about("id of the node")]
    operator: Annotated[OwnerId, about("id of the owner whose node it is")]
    address: Annotated[Address, about("address that signed it")]
    own: Annotated[bool, about("whether the farm's operator runs and trusts it")]
    same_class: Annotated[bool, about("whether on the device class that the tile was rendered on")]
    repeat: Annotated[bool, about("whether it repeats another's audit")]
    contradicted: Annotated[bool, about("whether the own node's repeat contradicted it")]
    order: Annotated[AuditOrder, about("what was to be rendered")]
    attestation: Annotated[Attestation, about("what its node signed of it")]
    signature: Annotated[Signature, about("the node's signature over the attestation")]


@dataclass(frozen=True, slots=True)
class ReceiptVerdict:
    """What was decided, and why, for people."""

    outcome: Annotated[Outcome, about("accepted, rejected, and the like")]
    code: Annotated[Name, about("why, for programs")]
    reason: Annotated[Sentence, about("why, for people")]


@dataclass(frozen=True, slots=True)
class Metric:
    """What the farm's look at a tile found."""

    crops: Annotated[Whole, about("crops that were compared")]
    different: Annotated[Whole, about("pixels in them that differ")]
    rmse_millionths: Annotated[Whole, about("the greatest linear RMSE, in millionths")]
    cluster: Annotated[Whole, about("pixels of the largest group that differs")]
    suspicion_thousandths: Annotated[
        Whole, about("the sparse pass's suspicion, in thousandths of a standard deviation")
    ]


@dataclass(frozen=True, slots=True)
class ReceiptTile:
    """One submission with all that was signed about it."""

    task: Annotated[TaskId, about("id of the task")]
    tile: Annotated[Tile, about("the part of the frame")]
    node: Annotated[NodeId, about("id of the node")]
    operator: Annotated[OwnerId, about("id of the owner whose node it is")]
    address: Annotated[Address, about("address that signed it")]
    own: Annotated[bool, about("whether the farm's operator runs and trusts it")]
    attestation: Annotated[Attestation, about("what its node signed of it")]
    signature: Annotated[Signature, about("the node's signature over the attestation")]
    appointment: Annotated[Appointment, about("the terms that its node signed")]
    appointment_signature: Annotated[Signature, about("the node's over the appointment")]
    receipt: Annotated[Submission, about("what the farm said it has")]
    receipt_signature: Annotated[Signature, about("the farm's signature over the receipt")]
    proof: Annotated[ReceiptProof, about("its place in the farm's log")]
    standing: Annotated[Standing, about("what audits of the node's work had shown by then")]
    operator_standing: Annotated[Standing, about("what audits of its operator's work had shown by then")]
    croppable: Annotated[bool, about("whether crops of it can be rendered by themselves")]
    audited: Annotated[bool, about("whether it was audited")]
    forced: Annotated[
        Sentence, about("why it was audited although its round did not say so, '' where it did")
    ]
    audits: Annotated[tuple[ReceiptAudit, ...], msgspec.Meta(max_length=16), about("audits that were done")]
    verdict: Annotated[ReceiptVerdict, about("what was decided")]
    metric: Annotated[Metric | None, about("what the look at it found; null where there was none")]


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that is known of a frame."""

    kind: Annotated[Literal["render farm: receipt of a frame"], about("which document it is")]
    version: Annotated[Literal[2], about("version of the document")]
    farm: Annotated[Address, about("address of the farm")]
    rules: Annotated[ReceiptRules, about("the farm's rules")]
    job: Annotated[JobId, about("id of the job")]
    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    frame: Annotated[FrameNumber, about("number of the frame")]
    settings: Annotated[RenderSettings, about("what the job pins")]
    exactness: Annotated[Exactness, about("how the file relates to one Blender process's")]
    device_class: Annotated[DeviceClass, about("the kind of device, by which bits are equal")]
    build: Annotated[Name, about("build of Blender")]
    area: Annotated[Tile, about("the part of the frame that is rendered")]
    files: Annotated[
        tuple[WrittenFile, ...], msgspec.Meta(min_length=1, max_length=1000), about("files of the frame")
    ]
    tiles: Annotated[
        tuple[ReceiptTile, ...],
        msgspec.Meta(min_length=1, max_length=MOST_TILES),
        about("accepted submissions, in the order of their tasks"),
    ]
    refused: Annotated[
        tuple[ReceiptTile, ...], msgspec.Meta(max_length=MOST_TILES), about("other submissions of the frame")
    ]
    rounds: Annotated[
        tuple[Round, ...],
        msgspec.Meta(min_length=1, max_length=2 * MOST_TILES),
        about("beacon rounds that appointments name"),
    ]
    detection: Annotated[
        tuple[tuple[Whole, Whole], ...],
        msgspec.Meta(max_length=64),
        about("cheated share to chance of being met, both in millionths"),
    ]


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """The document. The signature is over the canonical JSON of `receipt`."""

    receipt: Annotated[Receipt, about("the receipt")]
    signature: Annotated[Signature, about("the farm's signature over its canonical JSON")]


def canonical(record: object) -> bytes:
    """A record as the one JSON text that is signed of it."""
    plain = msgspec.to_builtins(record)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(document: bytes) -> SignedReceipt:
    """The document as records. Raises InvalidInput for what is too large, not in canonical form (double
    or unknown keys, spaces, other numbers) or not a receipt.
    """
    if len(document) > MOST_BYTES:
        raise InvalidInput(f"This is larger than any receipt ({MOST_BYTES} bytes).")
    try:
        found = decoder(SignedReceipt).decode(document)
        exact = canonical(found)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"This is no receipt: {error}") from error
    if exact != document.removesuffix(b"\n"):
        raise InvalidInput("This is no receipt in canonical form: it has double or unknown keys, or spaces.")
    return found


def rules_of(farm: FarmRules) -> ReceiptRules:
    """A farm's rules as a receipt tells them."""
    return ReceiptRules(
        beacon=farm.beacon,
        genesis_ms=round(farm.genesis * 1000),
        period_ms=round(farm.period * 1000),
        policy=_whole(asdict(farm.policy)),
        rates=_whole(asdict(farm.rates)),
    )


def policy_of(rules: ReceiptRules) -> AuditPolicy:
    """The policy a receipt tells. Raises InvalidInput for figures that make no policy."""
    return _converted(rules.policy, AuditPolicy)


def rates_of(rules: ReceiptRules) -> Rates:
    """The rates a receipt tells. Raises InvalidInput for figures that make none."""
    return _converted(rules.rates, Rates)


def _converted(figures: Mapping[str, int], kind: type[T]) -> T:
    fractions = {
        name.removesuffix(FRACTION): value / MILLION if name.endswith(FRACTION) else value
        for name, value in figures.items()
    }
    if set(fractions) != {one.name for one in fields(kind)}:
        raise InvalidInput(
            "The receipt's rules cannot be used: figures are missing, or there are unknown ones."
        )
    try:
        return convert(fractions, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"The receipt's rules cannot be used: {error}") from error


def _whole(figures: Mapping[str, float]) -> dict[str, int]:
    return dict(
        (f"{name}{FRACTION}", round(value * MILLION)) if isinstance(value, float) else (name, value)
        for name, value in figures.items()
    )

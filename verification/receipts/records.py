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

    name: Name
    sha256: Digest
    size: Size


@dataclass(frozen=True, slots=True)
class ReceiptRules:
    """The farm's rules in whole numbers: times in milliseconds, floats of the policy in millionths."""

    beacon: Name
    genesis_ms: Whole
    period_ms: Whole
    policy: Figures
    rates: Figures


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """The place of a receipt of submission in the log as it was when it was closed for its round."""

    leaf: Whole
    size: Whole
    path: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=64)]
    root: Digest


@dataclass(frozen=True, slots=True)
class ReceiptAudit:
    """One audit of a tile that was done, signed with the key of `address`."""

    task: TaskId
    node: NodeId
    operator: OwnerId
    address: Address
    own: bool
    same_class: bool
    repeat: bool
    contradicted: bool
    order: AuditOrder
    attestation: Attestation
    signature: Signature


@dataclass(frozen=True, slots=True)
class ReceiptVerdict:
    """What was decided, and why, for people."""

    outcome: Outcome
    code: Name
    reason: Sentence


@dataclass(frozen=True, slots=True)
class Metric:
    """What the farm's look found: crops compared, pixels in them that differ, the greatest linear RMSE in
    millionths, the largest cluster of differing pixels, and the sparse pass's suspicion in thousandths.
    """

    crops: Whole
    different: Whole
    rmse_millionths: Whole
    cluster: Whole
    suspicion_thousandths: Whole


@dataclass(frozen=True, slots=True)
class ReceiptTile:
    """One submission with all that was signed about it."""

    task: TaskId
    tile: Tile
    node: NodeId
    operator: OwnerId
    address: Address
    own: bool
    attestation: Attestation
    signature: Signature
    appointment: Appointment
    appointment_signature: Signature
    receipt: Submission
    receipt_signature: Signature
    proof: ReceiptProof
    standing: Standing
    operator_standing: Standing
    croppable: bool
    audited: bool
    forced: Sentence
    audits: Annotated[tuple[ReceiptAudit, ...], msgspec.Meta(max_length=16)]
    verdict: ReceiptVerdict
    metric: Metric | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """All of it. `tiles` are the accepted submissions in the order of their tasks, `refused` others of
    the frame; `detection` is a curve: cheated share in millionths to chance of being met in millionths.
    """

    kind: Literal["render farm: receipt of a frame"]
    version: Literal[2]
    farm: Address
    rules: ReceiptRules
    job: JobId
    scene: SceneId
    frame: FrameNumber
    settings: RenderSettings
    exactness: Exactness
    device_class: DeviceClass
    build: Name
    area: Tile
    files: Annotated[tuple[WrittenFile, ...], msgspec.Meta(min_length=1, max_length=1000)]
    tiles: Annotated[tuple[ReceiptTile, ...], msgspec.Meta(min_length=1, max_length=MOST_TILES)]
    refused: Annotated[tuple[ReceiptTile, ...], msgspec.Meta(max_length=MOST_TILES)]
    rounds: Annotated[tuple[Round, ...], msgspec.Meta(min_length=1, max_length=2 * MOST_TILES)]
    detection: Annotated[tuple[tuple[Whole, Whole], ...], msgspec.Meta(max_length=64)]


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """The document. The signature is over the canonical JSON of `receipt`."""

    receipt: Receipt
    signature: Signature


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

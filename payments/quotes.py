# SPDX-License-Identifier: GPL-3.0-or-later
"""What a farm says of a job before it starts. Work is in micro-units (`payments/pricing.py`)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

from farm_protocol.fields import Digest, FrameNumber, Name, Seconds, Sentence, Size
from farm_protocol.ids import JobId
from payments.promises import Amount, Units


class QuoteState(StrEnum):
    """PROBING until the probe renders are back; only a READY quote has figures."""

    PROBING = "probing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Band:
    """A figure that is not known for certain: in one case of ten it is below `p10`, in one above `p90`."""

    p10: float
    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class WorkBand:
    """The same of work, in micro-units."""

    p10: Units
    p50: Units
    p90: Units


@dataclass(frozen=True, slots=True)
class CostBand:
    """The same of money."""

    p10: Amount
    p50: Amount
    p90: Amount


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job will take. `fingerprint` is that of the job it is for.

    `frame_units` are what each of `frames` counts as when the job is paid: their sum is `units.p50`, and does
    not change however long the frames really take. `audit_units` is what all audits would add if every tile
    were audited once. `cost` is that of the work at `price` of a unit (`price_low`: the lowest that a node
    asks), `audit_cost` of the audits. `slot_seconds`: of one slot alone; `finish_seconds`: with the
    `slots` online now. `peak_memory`: bytes for a slot; `device_memory`: those that Cycles would hold on
    its device, a GPU's video memory. `probe_units` is what the probes took themselves. All figures are
    those of `device_class`; on it the job would be `exactness`.
    """

    quote: JobId
    state: QuoteState
    fingerprint: Digest
    frames: tuple[FrameNumber, ...] = ()
    frame_units: tuple[Units, ...] = ()
    units: WorkBand = WorkBand(0, 0, 0)
    audit_units: Units = 0
    price: Amount = 0
    price_low: Amount = 0
    cost: CostBand = CostBand(0, 0, 0)
    audit_cost: Amount = 0
    slots: Annotated[int, msgspec.Meta(ge=0)] = 0
    slot_seconds: Band = Band(0.0, 0.0, 0.0)
    finish_seconds: Band = Band(0.0, 0.0, 0.0)
    peak_memory: Size = 0
    device_memory: Size = 0
    probed: tuple[FrameNumber, ...] = ()
    probe_units: Units = 0
    probe_seconds: Seconds = 0.0
    device_class: Name = ""
    exactness: Name = ""
    notes: tuple[Sentence, ...] = ()
    failure: Sentence = ""

    def units_of(self) -> dict[int, int]:
        """What each frame counts as, by its number."""
        return dict(zip(self.frames, self.frame_units, strict=True))

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a farm says of a job before it starts. Work is in micro-units (`payments/accounting/pricing.py`)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

from farm_protocol.fields import Digest, FrameNumber, Name, Seconds, Sentence, Size, about
from farm_protocol.ids import JobId
from payments.messages.promises import Amount, Units


class QuoteState(StrEnum):
    """PROBING until the probe renders are back; only a READY quote has figures."""

    PROBING = "probing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Band:
    """A figure that is not known for certain: in one case of ten it is below `p10`, in one above `p90`."""

    p10: Annotated[float, about("one case of ten is below")]
    p50: Annotated[float, about("as many cases are below as above")]
    p90: Annotated[float, about("one case of ten is above")]


@dataclass(frozen=True, slots=True)
class WorkBand:
    """The same of work, in micro-units."""

    p10: Annotated[Units, about("one case of ten is below, micro-units")]
    p50: Annotated[Units, about("as many cases are below as above, micro-units")]
    p90: Annotated[Units, about("one case of ten is above, micro-units")]


@dataclass(frozen=True, slots=True)
class CostBand:
    """The same of money."""

    p10: Annotated[Amount, about("one case of ten is below, in the token's smallest unit")]
    p50: Annotated[Amount, about("as many cases are below as above, in the token's smallest unit")]
    p90: Annotated[Amount, about("one case of ten is above, in the token's smallest unit")]


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job will take; all figures are those of one device class. The sum of `frame_units` is
    `units.p50`, and does not change however long the frames really take.
    """

    quote: Annotated[JobId, about("id of the quote")]
    state: Annotated[QuoteState, about("how far the quote is")]
    fingerprint: Annotated[Digest, about("fingerprint of the job it is for")]
    frames: Annotated[tuple[FrameNumber, ...], about("the frames it is for")] = ()
    frame_units: Annotated[
        tuple[Units, ...], about("micro-units that each frame counts as when the job is paid")
    ] = ()
    units: Annotated[WorkBand, about("work of all frames")] = WorkBand(0, 0, 0)
    audit_units: Annotated[
        Units, about("micro-units that audits would add if every tile were audited once")
    ] = 0
    price: Annotated[Amount, about("price of a render unit, in the token's smallest unit")] = 0
    price_low: Annotated[Amount, about("the lowest price that a node asks")] = 0
    cost: Annotated[CostBand, about("the work at `price`")] = CostBand(0, 0, 0)
    audit_cost: Annotated[Amount, about("the audits at `price`")] = 0
    slots: Annotated[int, msgspec.Meta(ge=0), about("slots online that could take it")] = 0
    slot_seconds: Annotated[Band, about("seconds of one slot alone")] = Band(0.0, 0.0, 0.0)
    finish_seconds: Annotated[Band, about("seconds with the slots online now")] = Band(0.0, 0.0, 0.0)
    peak_memory: Annotated[Size, about("bytes of memory for a slot")] = 0
    device_memory: Annotated[Size, about("bytes that Cycles would hold on its device")] = 0
    probed: Annotated[tuple[FrameNumber, ...], about("frames that were rendered small")] = ()
    probe_units: Annotated[Units, about("micro-units that the probes took themselves")] = 0
    probe_seconds: Annotated[Seconds, about("seconds that the probes took")] = 0.0
    device_class: Annotated[Name, about("the kind of device that all figures are for")] = ""
    exactness: Annotated[Name, about("exactness of the job on that device")] = ""
    notes: Annotated[tuple[Sentence, ...], about("what there is to know, in sentences")] = ()
    failure: Annotated[Sentence, about("why there is no quote, '' where there is one")] = ""

    def units_of(self) -> dict[int, int]:
        """What each frame counts as, by its number."""
        return dict(zip(self.frames, self.frame_units, strict=True))

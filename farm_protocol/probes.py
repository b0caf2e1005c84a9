# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of probes that travel with leases and results: what to render small, and what it took."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.fields import FrameNumber, Seconds, about

MOST_FRAMES = 16
"""That one probe looks at."""

MOST_MEASURES = 64


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """Frames of a job to render small, in this order, as far as the work allowed lasts."""

    frames: Annotated[
        tuple[FrameNumber, ...],
        msgspec.Meta(min_length=1, max_length=MOST_FRAMES),
        about("frames to render small, in this order, as far as the time lasts"),
    ]
    total: Annotated[int, msgspec.Meta(ge=1, le=1 << 24), about("how many frames the job has")]
    most_seconds: Annotated[Seconds, about("how long the probe may work")]


@dataclass(frozen=True, slots=True)
class Measure:
    """One small render."""

    frame: Annotated[FrameNumber, about("number of the frame")]
    pixels: Annotated[int, msgspec.Meta(ge=1, le=1 << 34), about("pixels that were rendered")]
    seconds: Annotated[Seconds, about("seconds of work in all")]
    sampling: Annotated[Seconds, about("seconds of those spent taking samples")]
    fresh: Annotated[bool, about("whether it is the first of its frame")]
    cold: Annotated[bool, about("whether it is the first of the scene, which was synced for it")]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe measured."""

    speed: Annotated[
        int,
        msgspec.Meta(ge=1, le=1 << 53),
        about("micro-units a second that the device did of the reference scene"),
    ]
    measures: Annotated[
        tuple[Measure, ...], msgspec.Meta(min_length=1, max_length=MOST_MEASURES), about("the small renders")
    ]

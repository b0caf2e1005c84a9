# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of probes that travel with leases and results: what to render small, and what it took."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.fields import FrameNumber, Seconds

MOST_FRAMES = 16
"""That one probe looks at."""

MOST_MEASURES = 64


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """Frames of a job to render small, in this order, as far as the work allowed lasts. `total`: how many
    frames the job has; `most_seconds`: how long the probe may work.
    """

    frames: Annotated[tuple[FrameNumber, ...], msgspec.Meta(min_length=1, max_length=MOST_FRAMES)]
    total: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    most_seconds: Seconds


@dataclass(frozen=True, slots=True)
class Measure:
    """One small render: its pixels, seconds of work in all, and of those spent taking samples. `fresh`: the
    first of its frame; `cold`: the first of the scene, which was synced for it.
    """

    frame: FrameNumber
    pixels: Annotated[int, msgspec.Meta(ge=1, le=1 << 34)]
    seconds: Seconds
    sampling: Seconds
    fresh: bool
    cold: bool


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe measured. `speed`: micro-units a second that the device did of the reference scene."""

    speed: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]
    measures: Annotated[tuple[Measure, ...], msgspec.Meta(min_length=1, max_length=MOST_MEASURES)]

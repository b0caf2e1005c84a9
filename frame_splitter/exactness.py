# SPDX-License-Identifier: GPL-3.0-or-later
"""How exactly the farm's file equals one Blender process's, and whether frames may be cut for it."""

import math
import struct
from collections.abc import Collection
from dataclasses import dataclass

from farm_protocol.device_classes import Summation, summation_of
from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts, Simulation
from farm_protocol.fields import FrameNumber
from farm_protocol.ids import DeviceClass
from farm_protocol.records import Demand, Exactness, RenderSettings, TaskOutput
from frame_splitter.tiles import border_area, frame_size

FILTER_STEP = 16
"""Samples between two steps of Cycles' adaptive sampling filter."""

LEAST_SAMPLES = 4
"""Cycles never looks at a pixel's noise before this many samples."""

SMALLEST_THRESHOLD = 1e-6
"""Noise thresholds nobody sets: below this the least samples are taken instead of Cycles' formula."""

LARGEST_CYCLES_TILE = 8192
"""Pixels. Cycles cuts its own tiles above this edge whatever the scene says."""

CYCLES_TILE_STEP = 128
"""Pixels. Cycles rounds the edge of its own tiles up to a multiple of this."""

ON_GPUS = (
    "GPUs add samples in any order, by which two runs of Blender differ as well: but for that order linear "
    "values are equal, and 8-bit files but for single steps in few values."
)

ADAPTIVE_ON_GPUS = (
    "Adaptive sampling decides by those sums: on GPUs a few pixels may take more or fewer samples, and "
    "differ as by noise."
)

SHOWN = 5
"""Names of simulations, and of places to bake them, in one sentence."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a scene allows on devices that add in order, and on those that add in any order."""

    in_order: Exactness
    any_order: Exactness


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job may promise and how it must be cut.

    `allowed` is what the scene allows (`promised` says which of it counts), `reason` sentences for the
    artist; `reason_in_order` and `reason_any_order` those once it is known what renders. `overscan` is how
    many pixels more than its tile a task must render on every side; 0 where frames stay whole.
    """

    allowed: Allowed
    reason: str
    tileable: bool
    overscan: int
    output: TaskOutput
    reason_in_order: str = ""
    reason_any_order: str = ""


def classify(
    facts: SceneFacts,
    settings: RenderSettings,
    frames: Collection[FrameNumber] | None = None,
    demand: Demand = Demand.ANY,
) -> Plan:
    """Decide the exactness class before a job of these `frames` (None: any) with these `facts` and pinned
    `settings` starts.

    Raises InvalidInput, with all reasons, for scenes a farm cannot render, or not as exactly as the `demand`.
    """
    _refuse(facts, frames)
    if facts.approximate and demand is Demand.BIT:
        raise InvalidInput(f"This cannot be bit-exact, as was asked for: {' '.join(facts.approximate)}")
    final = (*facts.final_only, *_final_by_settings(facts, settings))
    output = TaskOutput.FINAL if final else TaskOutput.LINEAR
    overscan = adaptive_reach(facts, settings)
    obstacles = (*final, *facts.whole_only, *_cut_by_cycles(facts, settings, overscan))
    tileable = not obstacles
    said = (_promise(facts, demand), _in_order(facts), _in_any_order(facts))
    reason, in_order, any_order = (_reason(facts, obstacles, overscan, one) for one in said)
    pixels = overscan if tileable else 0
    return Plan(_allowed(facts), reason, tileable, pixels, output, in_order, any_order)


def _allowed(facts: SceneFacts) -> Allowed:
    if facts.approximate:
        return Allowed(Exactness.APPROXIMATE, Exactness.APPROXIMATE)
    return Allowed(Exactness.BIT_EXACT, Exactness.APPROXIMATE if facts.unlike else Exactness.FLOAT_EXACT)


def promised(scene: Allowed, device_class: DeviceClass | None) -> Exactness:
    """What frames are that a device class rendered; where that is not known yet (None) the least that they
    may be.
    """
    in_order = device_class is not None and summation_of(device_class) is Summation.IN_ORDER
    return scene.in_order if in_order else scene.any_order


def promised_at_first(scene: Allowed, demand: Demand) -> Exactness:
    """The same of a job that no device has rendered anything of."""
    return scene.in_order if demand is Demand.BIT else promised(scene, None)


def words(scene: Allowed, demand: Demand) -> str:
    """The same in words."""
    if demand is Demand.BIT or scene.in_order is scene.any_order:
        return scene.in_order.value
    return f"{scene.in_order.value} on CPUs, {scene.any_order.value} on GPUs"


def _refuse(facts: SceneFacts, frames: Collection[FrameNumber] | None) -> None:
    reasons = list(facts.refused)
    if not facts.camera:
        reasons.append("The scene has no camera: add one, or set the scene's active camera.")
    loose = unbaked(facts, frames)
    if loose:
        reasons.append(_bake_first(loose))
    if reasons:
        raise InvalidInput(" ".join(reasons))


def unbaked(facts: SceneFacts, frames: Collection[FrameNumber] | None = None) -> tuple[Simulation, ...]:
    """The simulations that must be baked before these frames (None: any) come out right in any order."""
    last = max(frames, default=None) if frames is not None else None
    return tuple(one for one in facts.simulations if not one.baked and (last is None or last > one.until))


def _bake_first(loose: tuple[Simulation, ...]) -> str:
    owners = tuple(dict.fromkeys(f"'{one.owner[:200]}'" for one in loose))
    named = ", ".join(owners[:SHOWN]) + (" and more" if len(owners) > SHOWN else "")
    presses = " or ".join(tuple(dict.fromkeys(one.press[:200] for one in loose if one.press))[:SHOWN])
    where = f" ({presses})" if presses else ""
    return (
        f"The simulation on {named} is not baked: frames rendered out of order would be wrong. "
        f"Bake it first{where}."
    )


def _final_by_settings(facts: SceneFacts, settings: RenderSettings) -> tuple[str, ...]:
    """Reasons to let one Blender finish each frame that lie in the job's settings, not in the file."""
    reasons = []
    if facts.approximate:
        reasons.append(
            "Two renders of it are not alike, so none could be audited: own nodes write each frame."
        )
    if settings.format == "OPEN_EXR_MULTILAYER":
        reasons.append("A multilayer EXR holds the render's own passes, so one Blender writes each frame.")
    if facts.denoise and not facts.adaptive.use and not sum_is_stored(settings.samples):
        reasons.append(
            f"{settings.samples} samples is one of the few numbers that denoising cannot be repeated for "
            f"outside the render (try {settings.samples + 1})."
        )
    return tuple(reasons)


def sum_is_stored(samples: int) -> bool:
    """Whether a film exposure exists at which Cycles stores the plain sum of its samples.

    The child (`child/denoising.py`) renders with it: 1/samples times the exposure must be 1 in float32.
    """
    scale = _float32(1 / samples)
    bits = struct.unpack("<I", struct.pack("<f", samples))[0]
    near = (struct.unpack("<f", struct.pack("<I", bits + step))[0] for step in (0, -1, 1))
    return any(_float32(scale * exposure) == 1.0 for exposure in near)


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def adaptive_reach(facts: SceneFacts, settings: RenderSettings) -> int:
    """How many pixels away a tile's edge can change a pixel through adaptive sampling.

    After each step of Cycles' filter the neighbours of a noisy pixel are sampled on, so what happens
    at an edge travels one pixel a step. The step after the last sample changes nothing any more.
    """
    if not facts.adaptive.use:
        return 0
    last_that_matters = settings.samples - 2
    first = (_min_samples(facts, settings) + 1) | (FILTER_STEP - 1)
    return max(0, (last_that_matters - first) // FILTER_STEP + 1)


def _min_samples(facts: SceneFacts, settings: RenderSettings) -> int:
    """Samples before the first filter step, chosen by Cycles from the threshold where the scene has 0.

    One less than Cycles' own figure, since its power function may round the other way: too small a
    value only makes the overscan wider.
    """
    if facts.adaptive.min_samples > 0:
        return max(LEAST_SAMPLES, facts.adaptive.min_samples)
    threshold = facts.adaptive.threshold or max(0.001, 1.0 / settings.samples)
    if not SMALLEST_THRESHOLD < threshold <= 1.0:
        return LEAST_SAMPLES
    return max(LEAST_SAMPLES, math.ceil(16.0 / math.pow(_float32(threshold), 0.3)) - 1)


def _cut_by_cycles(facts: SceneFacts, settings: RenderSettings, overscan: int) -> tuple[str, ...]:
    """Where Cycles cuts the frame itself, its adaptive filter stops at edges a farm's tile has not."""
    if overscan == 0:
        return ()
    area, _ = border_area(facts, *frame_size(facts, settings.resolution_percentage))
    too_long = max(area.width, area.height) > LARGEST_CYCLES_TILE
    if facts.auto_tile == 0 or (area.area <= _cycles_tile(facts.auto_tile) ** 2 and not too_long):
        return ()
    return (
        f"Adaptive sampling stops at the edges of Cycles' own tiles of {facts.auto_tile} pixels, "
        f"and this frame is larger than one.",
    )


def _cycles_tile(edge: int) -> int:
    if edge > CYCLES_TILE_STEP:
        edge = math.ceil(edge / CYCLES_TILE_STEP) * CYCLES_TILE_STEP
    return min(edge, LARGEST_CYCLES_TILE)


def _reason(facts: SceneFacts, obstacles: tuple[str, ...], overscan: int, promise: str) -> str:
    sentences = list(facts.approximate)
    if not facts.approximate:
        sentences.append(promise)
    if obstacles:
        sentences += ["Frames are rendered whole.", *obstacles]
    elif overscan:
        sentences.append(
            f"Adaptive sampling looks at neighbouring pixels, so tiles are rendered {overscan} pixels wider "
            f"on every side and cut back."
        )
    return " ".join(dict.fromkeys(sentences))


def _promise(facts: SceneFacts, demand: Demand) -> str:
    will = f"very pixel will equal the file one Blender process writes{_scripts(facts)}."
    return (
        f"E{will} Only CPUs render it." if demand is Demand.BIT else f"On CPUs e{will} {_in_any_order(facts)}"
    )


def _in_order(facts: SceneFacts) -> str:
    return f"Every pixel equals the file one Blender process writes{_scripts(facts)}."


def _in_any_order(facts: SceneFacts) -> str:
    if facts.unlike:
        return " ".join(facts.unlike)
    return f"{ON_GPUS} {ADAPTIVE_ON_GPUS}" if facts.adaptive.use else ON_GPUS


def _scripts(facts: SceneFacts) -> str:
    if not (facts.drivers or facts.scripts):
        return ""
    return (
        ", as Blender renders it with scripts off: what scripts and drivers in Python would set stays as it "
        "was saved"
    )

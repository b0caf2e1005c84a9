# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a probe measured to the quote people are told. Pure."""

import heapq
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from farm_protocol.device_classes import CPU, kind_of_device
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId
from farm_protocol.probes import ProbeReport
from farm_protocol.records import JobSpec, Task, TaskKind
from frame_splitter.exactness import Plan, classify, promised
from frame_splitter.split import fingerprint, pin, split
from frame_splitter.tiles import border_area, frame_size, with_overscan
from payments.forecast import P90, Cut, Forecast, Sampling, forecast
from payments.pricing import audit_units, reward
from payments.quotes import Band, CostBand, Quote, QuoteState, WorkBand
from render_farm.store.quotes import Probed, StoredQuote
from render_farm.wording import counted

BYTES_A_PIXEL = 256
"""What a frame of more pixels than the probe's takes: Cycles' buffers and Blender's for its passes."""

OPENING_SECONDS = 2.0
FINISHING_SECONDS = 1.0
"""What every job takes beside its work: a slot opens the scene; the last frame is finished."""

SPREAD_OF_SLOTS = 0.15
"""How far slots are from the speed that is known of them, as a standard deviation of its logarithm."""

_SAMPLED = {
    Sampling.FIXED: "",
    Sampling.ADAPTIVE: "The scene samples adaptively, which small renders foretell less well.",
    Sampling.OTHER: "Small renders say little of what another engine than Cycles takes.",
}

EXACT_TASKS = 20_000
"""Of more tasks the finish time is that of their sum: no single one matters."""


@dataclass(frozen=True, slots=True)
class Market:
    """What the farm is like when a quote is made: the speed of each slot online, in micro-units a second; the
    prices that nodes ask for a unit; what a unit is said to cost where none asks; and what an audit counts
    as, in millionths of its tile.
    """

    speeds: tuple[float, ...]
    prices: tuple[int, ...]
    unit_price: int
    audit_ppm: int


def make(asked: StoredQuote, probed: Probed, market: Market) -> Quote:
    """The quote that a finished probe allows."""
    plan = _plan(asked.spec, asked.facts)
    cuts, area = _cuts(asked.spec, asked.facts, plan)
    said = forecast(probed.report, asked.spec.frames, area.area, cuts, sampling_of(asked.facts))
    speed = probed.report.speed
    frames = tuple(
        max(cut.tiles, round(seconds * speed)) for cut, seconds in zip(cuts, said.seconds, strict=True)
    )
    work = _work_band(sum(frames), said)
    price, lowest = _price(market)
    audits = audit_units(work.p50, market.audit_ppm)
    measures = probed.report.measures
    return Quote(
        quote=asked.job,
        state=QuoteState.READY,
        fingerprint=fingerprint(asked.spec),
        frames=asked.spec.frames,
        frame_units=frames,
        units=work,
        audit_units=audits,
        price=price,
        price_low=lowest,
        cost=CostBand(*(reward(units, price) for units in (work.p10, work.p50, work.p90))),
        audit_cost=reward(audits, price),
        slots=len(market.speeds),
        slot_seconds=_slot_band(work, speed),
        finish_seconds=_finish_band(frames, cuts, said, market.speeds),
        peak_memory=_memory(probed.peak_memory, probed, area.area),
        device_memory=_video_memory(probed, area.area),
        probed=tuple(dict.fromkeys(measure.frame for measure in measures)),
        probe_units=round(sum(measure.seconds for measure in measures) * speed),
        probe_seconds=sum(measure.seconds for measure in measures),
        device_class=probed.device_class,
        exactness=promised(plan.allowed, probed.device_class),
        notes=_notes(asked, probed.report, said, market),
    )


def sampling_of(facts: SceneFacts) -> Sampling:
    """How the scene's pixels are sampled."""
    if facts.engine != "CYCLES":
        return Sampling.OTHER
    return Sampling.ADAPTIVE if facts.adaptive.use else Sampling.FIXED


def _plan(spec: JobSpec, facts: SceneFacts) -> Plan:
    return classify(facts, pin(spec, facts), spec.frames, spec.exactness)


def _cuts(spec: JobSpec, facts: SceneFacts, plan: Plan) -> tuple[list[Cut], Tile]:
    """How each frame would be cut, and the rendered part of a frame."""
    settings = pin(spec, facts)
    area, _ = border_area(facts, *frame_size(facts, settings.resolution_percentage))
    tasks = split(JobId("quote"), spec, facts, plan, settings)
    tiles = (task for task in tasks if task.kind is TaskKind.RENDER)
    return [_cut(list(of_frame), area) for _, of_frame in groupby(tiles, key=lambda task: task.frame)], area


def _cut(tasks: list[Task], area: Tile) -> Cut:
    return Cut(len(tasks), sum(with_overscan(task.tile, task.overscan, area).area for task in tasks))


def _work_band(units: int, said: Forecast) -> WorkBand:
    return WorkBand(round(units * said.low), units, round(units * said.high))


def _slot_band(work: WorkBand, speed: int) -> Band:
    return Band(work.p10 / speed, work.p50 / speed, work.p90 / speed)


def _price(market: Market) -> tuple[int, int]:
    """What a unit is said to cost: the middle of what nodes ask, and the lowest."""
    if not market.prices:
        return market.unit_price, market.unit_price
    return statistics.median_high(market.prices), min(market.prices)


def _finish_band(frames: Sequence[int], cuts: Sequence[Cut], said: Forecast, speeds: Sequence[float]) -> Band:
    if not speeds:
        return Band(0.0, 0.0, 0.0)
    tasks = [units / cut.tiles for units, cut in zip(frames, cuts, strict=True) for _ in range(cut.tiles)]
    middle, spread = finish_time(tasks, speeds), math.hypot(said.spread, SPREAD_OF_SLOTS)
    beside = OPENING_SECONDS + FINISHING_SECONDS
    factors = (math.exp(-P90 * spread), 1.0, math.exp(P90 * spread))
    return Band(*(beside + middle * factor for factor in factors))


def finish_time(tasks: Sequence[float], speeds: Sequence[float]) -> float:
    """Seconds until the last of the tasks is done, each taken by the slot that is free first, as nodes do."""
    if len(tasks) > EXACT_TASKS:
        return sum(tasks) / sum(speeds) + max(tasks) / min(speeds) / 2
    free = [(0.0, -speed) for speed in speeds]
    heapq.heapify(free)
    last = 0.0
    for units in tasks:
        at, speed = free[0]
        done = at - units / speed
        heapq.heapreplace(free, (done, speed))
        last = max(last, done)
    return last


def _video_memory(probed: Probed, area: int) -> int:
    """What a GPU's Cycles counted; a CPU's count says nothing of one."""
    if kind_of_device(probed.device_class) == CPU or not probed.device_memory:
        return 0
    return _memory(probed.device_memory, probed, area)


def _memory(seen: int, probed: Probed, area: int) -> int:
    """What small frames took, and what the pixels of a whole one add."""
    largest = max(measure.pixels for measure in probed.report.measures)
    return seen + max(0, area - largest) * BYTES_A_PIXEL


def _notes(asked: StoredQuote, report: ProbeReport, said: Forecast, market: Market) -> tuple[str, ...]:
    """What people must know of the figures."""
    return tuple(filter(None, (*_of_work(asked, report, said), _of_price(market), _of_time(market))))


def _of_work(asked: StoredQuote, report: ProbeReport, said: Forecast) -> tuple[str, ...]:
    seen = len({measure.frame for measure in report.measures})
    frames = len(asked.spec.frames)
    per_cent = round(100 * (said.high - 1))
    sure = (
        f"In one case of ten the work will be more than {per_cent} % above the middle figure, and in one it "
        "will be below the lowest. Paid frames count as the middle figure whatever they take; audits come "
        "on top."
    )
    if seen == frames:
        few = ""
    elif seen == 1:
        few = (
            f"Only frame {report.measures[0].frame} was rendered small: others may be much dearer or cheaper."
        )
    else:
        few = f"{seen} of {counted(frames, 'frame')} were rendered small; what lies between was interpolated."
    return (sure, few, _SAMPLED[sampling_of(asked.facts)])


def _of_price(market: Market) -> str:
    if not market.prices:
        return "No node of the farm sells now: the price is the farm's own guess."
    low, high = min(market.prices), max(market.prices)
    offers = counted(len(market.prices), "offer")
    if low == high:
        return f"The price is that of {offers}."
    return (
        f"The price is the middle of {offers}; the dearest asks {high / low:.2g} times the cheapest's price."
    )


def _of_time(market: Market) -> str:
    if not market.speeds:
        return "No machine of the farm is online, so nobody can say when it would be done."
    return "The time is that of the slots online now with nothing else to do."

# SPDX-License-Identifier: GPL-3.0-or-later
"""From a job to its tasks: checks the wish against the scene, pins the settings, cuts the frames."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator

import msgspec

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, TaskId
from farm_protocol.records import Demand, JobSpec, RenderSettings, Task, TaskKind, TaskOutput
from frame_splitter.exactness import Plan
from frame_splitter.formats import extension, image_format
from frame_splitter.frames import FrameRange
from frame_splitter.tiles import auto_grid, border_area, frame_size, grid, overscan_cost

__all__ = ["asked", "extension", "fingerprint", "pin", "split", "validate"]

MAX_TASKS = 250_000
"""A job's tasks: what a store can hold without noticing."""

TILES_PER_SLOT = (3, 2, 1)
"""How finely `auto` cuts stills and tails: three tiles a slot even out cheap and dear parts of a
frame; fewer where every cut costs overscan."""

DEAREST_OVERSCAN = 1.3
"""`auto` leaves frames whole where tiles would render more than this many times their pixels."""


def pin(spec: JobSpec, facts: SceneFacts) -> RenderSettings:
    """The settings every task of the job is rendered with. Raises InvalidInput as `validate` does."""
    validate(spec, facts)
    return RenderSettings(
        samples=_samples(spec, facts),
        seed=facts.seed if spec.seed is None else spec.seed,
        resolution_percentage=_percentage(spec, facts),
        format=_format(spec, facts),
    )


def validate(spec: JobSpec, facts: SceneFacts) -> None:
    """Check everything a job can be refused for before it costs anything.

    Raises InvalidInput with the first thing that is wrong.
    """
    if len(FrameRange(spec.frames)) != len(spec.frames):
        twice = Counter(spec.frames).most_common(1)[0][0]
        raise InvalidInput(f"Frame {twice} is listed twice: name every frame once.")
    if _samples(spec, facts) < 1:
        raise InvalidInput("0 samples render nothing: ask for 1 or more.")
    if not -(2**31) <= facts.seed < 2**31:
        raise InvalidInput(f"The scene's seed {facts.seed} is not one Blender can hold.")
    _format(spec, facts)
    border_area(facts, *frame_size(facts, _percentage(spec, facts)))
    if spec.tiles != "auto":
        _asked_grid(spec.tiles)


def asked(spec: JobSpec) -> tuple[str, ...]:
    """The settings that the artist asked for beside the file, by their names in `RenderSettings`."""
    wishes = {
        "samples": spec.samples,
        "seed": spec.seed,
        "resolution_percentage": spec.resolution_percentage,
    }
    return tuple(name for name, value in wishes.items() if value is not None)


def _samples(spec: JobSpec, facts: SceneFacts) -> int:
    """Engines without a sample count of their own have 0 in the facts; theirs is not changed."""
    if spec.samples is not None:
        return spec.samples
    return facts.samples if facts.engine == "CYCLES" else max(1, facts.samples)


def _percentage(spec: JobSpec, facts: SceneFacts) -> int:
    return facts.resolution_percentage if spec.resolution_percentage is None else spec.resolution_percentage


def _format(spec: JobSpec, facts: SceneFacts) -> str:
    if spec.format is not None:
        return image_format(spec.format)
    return "PNG" if facts.file.movie else image_format(facts.file.name)


def _asked_grid(text: str) -> tuple[int, int]:
    columns, _, rows = text.partition("x")
    shape = int(columns), int(rows)
    if 0 in shape:
        raise InvalidInput(f"'{text}' cuts a frame into no tiles: write columns x rows, as in 4x2, or auto.")
    return shape


def split(
    job: JobId, spec: JobSpec, facts: SceneFacts, plan: Plan, settings: RenderSettings
) -> tuple[Task, ...]:
    """All tasks of a `job`, in the order of the `spec`'s frames, each frame's finish task after its tiles.
    `plan` says how a scene of these `facts` may be cut, `settings` what the job pins.

    Raises InvalidInput where there would be more than `MAX_TASKS`.
    """
    area, _ = border_area(facts, *frame_size(facts, settings.resolution_percentage))
    cuts = _cuts(spec, plan, area)
    finishes = 1 if plan.output is TaskOutput.LINEAR else 0
    if sum(len(tiles) + finishes for tiles in cuts) > MAX_TASKS:
        raise InvalidInput(f"The job has more than {MAX_TASKS} tasks: use fewer tiles, or several jobs.")
    return tuple(
        task
        for frame, tiles in zip(spec.frames, cuts, strict=True)
        for task in _frame_tasks(job, frame, tiles, area, plan)
    )


def _frame_tasks(job: JobId, frame: int, tiles: tuple[Tile, ...], area: Tile, plan: Plan) -> Iterator[Task]:
    overscan = plan.overscan if len(tiles) > 1 else 0
    for index, tile in enumerate(tiles):
        name = TaskId(f"{job}.f{frame}.t{index}")
        yield Task(name, job, TaskKind.RENDER, frame, tile, overscan, plan.output)
    if plan.output is TaskOutput.LINEAR:
        name = TaskId(f"{job}.f{frame}.finish")
        yield Task(name, job, TaskKind.FINISH, frame, area, 0, TaskOutput.FINAL)


def _cuts(spec: JobSpec, plan: Plan, area: Tile) -> list[tuple[Tile, ...]]:
    """The tiles of each frame of the job, in the job's order.

    `auto` keeps frames whole while there are at least as many left as slots: only stills and the
    tail of an animation are worth the cost of cutting.
    """
    frames, whole = len(spec.frames), (area,)
    if not plan.tileable:
        return [whole] * frames
    if spec.tiles != "auto":
        return [grid(area, *_asked_grid(spec.tiles))] * frames
    tail = frames % spec.slots
    return [whole] * (frames - tail) + [_auto_tiles(area, frames, tail, spec.slots, plan.overscan)] * tail


def _auto_tiles(area: Tile, frames: int, tail: int, slots: int, overscan: int) -> tuple[Tile, ...]:
    """Tiles for each of the last `tail` of all `frames`: there are fewer of them than slots."""
    if tail == 0:
        return (area,)
    most = (MAX_TASKS - 2 * frames) // tail
    for per_slot in TILES_PER_SLOT:
        tiles = grid(area, *auto_grid(area, -(-slots * per_slot // tail)))
        if len(tiles) <= most and overscan_cost(tiles, overscan, area) <= DEAREST_OVERSCAN:
            return tiles
    return (area,)


def fingerprint(spec: JobSpec) -> str:
    """What makes two jobs the same work: sha256 over the spec without name, slots and priority."""
    fields = msgspec.to_builtins(spec)
    for told_apart_by_nothing in ("name", "slots", "priority"):
        del fields[told_apart_by_nothing]
    if spec.exactness is Demand.ANY:
        del fields["exactness"]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()

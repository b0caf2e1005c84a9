# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm does with the frames of a scene, without the farm: the child, the splitter and the stitcher
as the node uses them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile, decode
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId
from farm_protocol.records import JobSpec, Lease, RenderSettings, Task, TaskKind, TaskOutput
from frame_splitter import counts, exactness, exr, split, stitch, tiles
from gpu_worker.blender import BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.slot import region_of
from tests.reference import assert_same_picture

GRID = "3x2"


@dataclass(frozen=True)
class Children:
    """A warm child that renders and one that finishes, shared by all scenes of a test file."""

    render: BlenderChild
    finish: BlenderChild


@contextmanager
def children(**variables: str) -> Iterator[Children]:
    """Both, until the end of the block, with these environment variables besides."""
    command = ChildCommand(variables={**os.environ, **variables})
    pair = Children(*(BlenderChild(ChildLimits(memory=4 << 30), command) for _ in range(2)))
    pair.render.start()
    pair.finish.start()
    try:
        yield pair
    finally:
        pair.render.close()
        pair.finish.close()


def facts_of(children: Children, blend: Path) -> SceneFacts:
    return decode(children.render.inspect(blend), SceneFacts)


@dataclass(frozen=True)
class Job:
    """A scene that was looked at, pinned and classified; `blend` is opened by the children."""

    children: Children
    blend: Path
    spec: JobSpec
    facts: SceneFacts
    settings: RenderSettings
    plan: exactness.Plan

    def lease(self, task: Task) -> Lease:
        width, height = tiles.frame_size(self.facts, self.settings.resolution_percentage)
        area, canvas = tiles.border_area(self.facts, width, height)
        scene, me = self.spec.scene, OwnerId("me")
        held = (task, LeaseToken(1), "0", 30.0, scene, me, self.settings, width, height, area, canvas)
        return Lease(*held, asked=split.asked(self.spec))

    def tasks(self, frame: int) -> tuple[Lease, ...]:
        work = split.split(JobId("job"), self.spec, self.facts, self.plan, self.settings)
        return tuple(self.lease(task) for task in work if task.frame == frame)

    def render(self, frame: int, folder: Path) -> list[Path]:
        """The frame's files in `folder` (made here), the frame itself first."""
        folder.mkdir(parents=True)
        leases = self.tasks(frame)
        renders = [lease for lease in leases if lease.task.kind is TaskKind.RENDER]
        self.children.render.open(self.blend, Device(threads=2))
        if self.plan.output is TaskOutput.FINAL:
            region = region_of(renders[0])
            done = self.children.render.render(renders[0], region, folder, lambda done, total: None)
            return [folder / name for name in done.files]
        pieces = [(one.task.tile, render_tile(self.children.render, one, folder)) for one in renders]
        merged = folder.with_name(f"{folder.name}-merged.exr")
        exr.write(merged, stitch.stitch(pieces, renders[0].area, renders[0].area))
        (finish,) = (lease for lease in leases if lease.task.kind is TaskKind.FINISH)
        self.children.finish.open(self.blend, Device(threads=2))
        done = self.children.finish.finish(finish, merged, folder, lambda done, total: None)
        return [folder / name for name in done.files]


def job_of(children: Children, blend: Path, frames: tuple[int, ...], **wishes: object) -> Job:
    """A scene made ready to be rendered by hand. Raises InvalidInput where the farm refuses it."""
    facts = facts_of(children, blend)
    spec = JobSpec(SceneId("0" * 64), frames, **{"tiles": GRID, **wishes})  # type: ignore[arg-type]
    settings = split.pin(spec, facts)
    return Job(children, blend, spec, facts, settings, exactness.classify(facts, settings, frames))


def render_tile(child: BlenderChild, lease: Lease, folder: Path) -> exr.Image:
    path = folder.with_name(f"{folder.name}-tile.exr")
    region, tile = region_of(lease), lease.task.tile
    done = child.render(lease, region, path, lambda done, total: None)
    return as_delivered(path, region, tile, done.samples)


def as_delivered(path: Path, region: Tile, tile: Tile, samples: dict[str, int]) -> exr.Image:
    """A child's picture as the node's picture process makes it: checked, in sample counts, cut. The file
    is removed.
    """
    image = exr.check(path, region.width, region.height)
    path.unlink()
    image = counts.plain_counts(image, samples) if samples else image
    return exr.crop(image, tiles.relative(tile, region))


def assert_equals_plain(files: list[Path], folder: Path, plain: Path) -> None:
    """The files of one frame in `folder` are those in `plain`, with the same names and pixels."""
    written = sorted(path.relative_to(plain) for path in plain.rglob("*") if path.is_file())
    ours = [path.relative_to(folder) for path in files]
    ours = [path if path.parts[1:] else Path(path.name.removeprefix("frame")) for path in ours]
    assert sorted(ours) == written
    for path, name in zip(files, ours, strict=True):
        assert_same_picture(path, plain / name)

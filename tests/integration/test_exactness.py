# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames cut into tiles, stitched and finished equal one Blender process's, feature by feature.

This is the exactness contract without the network: the child, the splitter and the stitcher as the node
uses them. The same through the whole farm is in tests/e2e.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from frame_splitter import counts, exactness, exr, split, stitch, tiles
from frame_splitter.facts import SceneFacts
from frame_splitter.fields import decode
from frame_splitter.ids import JobId, LeaseToken, OwnerId, SceneId
from frame_splitter.records import Exactness, JobSpec, Lease, Task, TaskKind, TaskOutput
from gpu_worker.blender import BlenderChild, ChildLimits, Device
from gpu_worker.slot import region_of
from tests.reference import Plain, assert_same_picture, make_variants, render_plainly
from tests.variant_names import APPROXIMATE, FINAL, LINEAR, WHOLE

pytestmark = pytest.mark.blender

FRAME = 4
"""Inside the ball's way, past the second camera marker."""

GRID = "3x2"


@dataclass(frozen=True)
class Children:
    """A warm child that renders and one that finishes, shared by all tests of this file."""

    render: BlenderChild
    finish: BlenderChild


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    pair = Children(*(BlenderChild(ChildLimits(memory=4 << 30)) for _ in range(2)))
    pair.render.start()
    pair.finish.start()
    yield pair
    pair.render.close()
    pair.finish.close()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    make_variants(folder)
    return folder


@pytest.fixture(scope="module")
def plain(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    names = (*LINEAR, *WHOLE, *FINAL)
    render_plainly(*(Plain(scenes / f"{name}.blend", folder / name, (FRAME,)) for name in names))
    return folder


def facts_of(children: Children, blend: Path) -> SceneFacts:
    return decode(children.render.inspect(blend), SceneFacts)


def render_in_tiles(children: Children, blend: Path, folder: Path) -> tuple[exactness.Plan, list[Path]]:
    """What the farm does with one frame of a scene, without the farm."""
    facts = facts_of(children, blend)
    spec = JobSpec(SceneId("0" * 64), (FRAME,), tiles=GRID)
    settings = split.pin(spec, facts)
    plan = exactness.classify(facts, settings)
    work = split.split(JobId("job"), spec, facts, plan, settings)
    width, height = tiles.frame_size(facts, settings.resolution_percentage)
    area, canvas = tiles.border_area(facts, width, height)

    def lease(task: Task) -> Lease:
        held = (
            task,
            LeaseToken(1),
            "0",
            30.0,
            spec.scene,
            OwnerId("me"),
            settings,
            width,
            height,
            area,
            canvas,
        )
        return Lease(*held)

    folder.mkdir()
    renders = [lease(task) for task in work if task.kind is TaskKind.RENDER]
    children.render.open(blend, Device(threads=2))
    if plan.output is TaskOutput.FINAL:
        done = children.render.render(renders[0], region_of(renders[0]), folder, lambda done, total: None)
        return plan, [folder / name for name in done.files]
    pieces = [(one.task.tile, render_tile(children.render, one, folder)) for one in renders]
    merged = folder.parent / "merged.exr"
    exr.write(merged, stitch.stitch(pieces, area, canvas))
    (finish,) = (lease(task) for task in work if task.kind is TaskKind.FINISH)
    children.finish.open(blend, Device(threads=2))
    done = children.finish.finish(finish, merged, folder, lambda done, total: None)
    return plan, [folder / name for name in done.files]


def render_tile(child: BlenderChild, lease: Lease, folder: Path) -> exr.Image:
    path = folder.parent / "tile.exr"
    region, tile = region_of(lease), lease.task.tile
    done = child.render(lease, region, path, lambda done, total: None)
    image = exr.check(path, region.width, region.height)
    path.unlink()
    if done.samples:
        image = counts.plain_counts(image, done.samples)
    return exr.crop(image, tiles.relative(tile, region))


def assert_equals_plain(files: list[Path], folder: Path, plain: Path) -> None:
    written = sorted(path.relative_to(plain) for path in plain.rglob("*") if path.is_file())
    ours = [path.relative_to(folder) for path in files]
    ours[0] = ours[0].with_name(ours[0].name.removeprefix("frame"))
    assert sorted(ours) == written
    for path, name in zip(files, ours, strict=True):
        assert_same_picture(path, plain / name)


@pytest.mark.parametrize("name", LINEAR)
def test_tiles_become_blenders_own_frame(
    children: Children, scenes: Path, plain: Path, tmp_path: Path, name: str
) -> None:
    plan, files = render_in_tiles(children, scenes / f"{name}.blend", tmp_path / "frame")
    assert (plan.exactness, plan.output, plan.tileable) == (Exactness.BIT_EXACT, TaskOutput.LINEAR, True)
    assert_equals_plain(files, tmp_path / "frame", plain / name)


@pytest.mark.parametrize("name", WHOLE)
def test_what_tiles_would_change_is_rendered_whole_and_finished_apart(
    children: Children, scenes: Path, plain: Path, tmp_path: Path, name: str
) -> None:
    plan, files = render_in_tiles(children, scenes / f"{name}.blend", tmp_path / "frame")
    assert (plan.output, plan.tileable) == (TaskOutput.LINEAR, False)
    assert_equals_plain(files, tmp_path / "frame", plain / name)


@pytest.mark.parametrize("name", FINAL)
def test_what_only_blender_can_finish_is_left_to_one_blender(
    children: Children, scenes: Path, plain: Path, tmp_path: Path, name: str
) -> None:
    plan, files = render_in_tiles(children, scenes / f"{name}.blend", tmp_path / "frame")
    assert (plan.output, plan.tileable) == (TaskOutput.FINAL, False)
    assert_equals_plain(files, tmp_path / "frame", plain / name)


def test_the_order_of_frames_and_settings_in_a_warm_child_does_not_matter(
    children: Children, scenes: Path, plain: Path, tmp_path: Path
) -> None:
    """Between two renders of one scene the child does other scenes, other work and other samples."""
    for turn, name in enumerate(("denoised_float", "multilayer", "denoised_float", "motion_blur")):
        _, files = render_in_tiles(children, scenes / f"{name}.blend", tmp_path / f"turn{turn}")
        assert_equals_plain(files, tmp_path / f"turn{turn}", plain / name)


@pytest.mark.parametrize("name", APPROXIMATE)
def test_what_even_blender_does_not_repeat_is_promised_as_approximate(
    children: Children, scenes: Path, tmp_path: Path, name: str
) -> None:
    plan, files = render_in_tiles(children, scenes / f"{name}.blend", tmp_path / "frame")
    assert (plan.exactness, plan.tileable) == (Exactness.APPROXIMATE, False)
    assert files[0].stat().st_size > 0


def test_every_variant_is_in_a_list(scenes: Path) -> None:
    assert {path.stem for path in scenes.glob("*.blend")} == {*LINEAR, *WHOLE, *FINAL, *APPROXIMATE}

# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe leaves the warm child as it was, measures what a render takes, and keeps within its allowance."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.probes import ProbeOrder, ProbeReport
from farm_protocol.records import JobSpec, Lease, Task, TaskKind, TaskOutput
from frame_splitter import exactness, exr, split, tiles
from gpu_worker.blender import BlenderChild, ChildLimits, Device
from gpu_worker.protocol import Done
from payments.forecast import Cut, Sampling, forecast
from tests.reference import assert_same_picture, make_variants

pytestmark = pytest.mark.blender

FRAME = 4
SCENES = ("plain", "denoised_adaptive_float", "two_layers_cryptomatte_outputs", "motion_blur", "border_kept")


@pytest.fixture(scope="module")
def fresh() -> Iterator[BlenderChild]:
    """A child that never probes."""
    yield from started()


@pytest.fixture(scope="module")
def prober() -> Iterator[BlenderChild]:
    yield from started()


def started() -> Iterator[BlenderChild]:
    child = BlenderChild(ChildLimits(memory=4 << 30))
    child.start()
    yield child
    child.close()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    make_variants(folder, *SCENES)
    return folder


def lease_of(child: BlenderChild, blend: Path, **wish: int) -> Lease:
    facts = decode(child.inspect(blend), SceneFacts)
    settings = split.pin(JobSpec(SceneId("0" * 64), (FRAME,), **wish), facts)
    plan = exactness.classify(facts, settings)
    width, height = tiles.frame_size(facts, settings.resolution_percentage)
    area, canvas = tiles.border_area(facts, width, height)
    task = Task(TaskId("t"), JobId("j"), TaskKind.RENDER, FRAME, area, 0, plan.output)
    return Lease(
        task, LeaseToken(1), "0", 30.0, SceneId("s"), OwnerId("o"), settings, width, height, area, canvas
    )


def render(child: BlenderChild, blend: Path, lease: Lease, folder: Path) -> dict[str, bytes]:
    child.open(blend, Device(threads=2))
    child.render(lease, lease.area, folder / "tile.exr", lambda done, total: None)
    image = exr.check(folder / "tile.exr", lease.area.width, lease.area.height)
    return {
        f"{part.name}/{name}": pixels.tobytes()
        for part in image.parts
        for name, pixels in part.channels.items()
    }


def probe(child: BlenderChild, blend: Path, lease: Lease, folder: Path, order: ProbeOrder) -> Done:
    child.open(blend, Device(threads=2))
    folder.mkdir()
    asked = replace(lease, task=replace(lease.task, kind=TaskKind.PROBE), probe=order)
    done = child.probe(asked, folder, lambda done, total: None)
    assert not list(folder.iterdir())
    return done


@pytest.mark.parametrize("name", SCENES)
def test_a_render_after_a_probe_equals_one_without(
    fresh: BlenderChild, prober: BlenderChild, scenes: Path, tmp_path: Path, name: str
) -> None:
    blend = scenes / f"{name}.blend"
    lease = lease_of(fresh, blend)
    without = render(fresh, blend, lease, tmp_path)
    probe(prober, blend, lease, tmp_path / "cold", ProbeOrder((FRAME, 1), 2, 60.0))
    assert render(prober, blend, lease, tmp_path) == without
    probe(prober, blend, lease, tmp_path / "warm", ProbeOrder((1, 9, FRAME), 300, 60.0))
    assert render(prober, blend, lease, tmp_path) == without


def test_a_probe_foretells_what_the_frame_takes(prober: BlenderChild, scenes: Path, tmp_path: Path) -> None:
    blend = scenes / "motion_blur.blend"
    lease = lease_of(prober, blend, samples=32, resolution_percentage=200)
    done = probe(prober, blend, lease, tmp_path / "probe", ProbeOrder((FRAME,), 1, 60.0))
    first, *_, last = done.measures
    assert (first.cold, first.fresh, last.cold, last.fresh) == (True, True, False, False)
    assert last.pixels <= lease.area.area / 3.9
    assert 1 << 20 <= done.device_memory < done.peak_memory
    report, area = ProbeReport(done.speed, done.measures), lease.area.area
    said = forecast(report, [FRAME], area, [Cut(1, area)], Sampling.FIXED)
    real = prober.render(lease, lease.area, tmp_path / "tile.exr", lambda done, total: None)
    # Other work on the machine stretches the clock, which is all this can be compared with.
    assert said.seconds[0] / 3 < real.seconds < said.seconds[0] * 8
    assert done.seconds <= said.seconds[0] * 1.3


def test_many_frames_are_probed_only_as_far_as_the_allowance_lasts(
    prober: BlenderChild, scenes: Path, tmp_path: Path
) -> None:
    blend = scenes / "plain.blend"
    lease = lease_of(prober, blend, samples=16)
    frames = (1, 10, 5, 3, 7, 2, 4, 6, 8, 9)
    few = probe(prober, blend, lease, tmp_path / "few", ProbeOrder(frames, 10, 60.0))
    many = probe(prober, blend, lease, tmp_path / "many", ProbeOrder(frames, 1000, 60.0))
    hurried = probe(prober, blend, lease, tmp_path / "hurried", ProbeOrder(frames, 1000, 0.0))
    assert {one.frame for one in many.measures} == set(frames)
    assert {one.frame for one in few.measures} < set(frames)
    assert len(hurried.measures) == 1


def test_the_speed_is_measured_once_for_a_device(prober: BlenderChild, scenes: Path, tmp_path: Path) -> None:
    lease = lease_of(prober, scenes / "plain.blend")
    order = ProbeOrder((FRAME,), 1, 60.0)
    speeds = {
        probe(prober, scenes / f"{name}.blend", lease, tmp_path / name, order).speed
        for name in ("plain", "motion_blur")
    }
    assert len(speeds) == 1
    assert 10_000 < speeds.pop() < 1_000_000_000


def test_what_blender_writes_itself_is_probed_too(
    fresh: BlenderChild, prober: BlenderChild, scenes: Path, tmp_path: Path
) -> None:
    blend = scenes / "plain.blend"
    lease = lease_of(prober, blend)
    lease = replace(lease, task=replace(lease.task, output=TaskOutput.FINAL))
    done = probe(prober, blend, lease, tmp_path / "probe", ProbeOrder((1, FRAME), 2, 60.0))
    assert all(one.seconds > 0 and one.pixels < lease.area.area for one in done.measures)
    written = []
    for child, name in ((prober, "after"), (fresh, "without")):
        (tmp_path / name).mkdir()
        child.open(blend, Device(threads=2))
        (file,) = child.render(lease, lease.area, tmp_path / name, lambda done, total: None).files
        written.append(tmp_path / name / file)
    assert_same_picture(*written)

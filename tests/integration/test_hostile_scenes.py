# SPDX-License-Identifier: GPL-3.0-or-later
"""What strangers put into a .blend neither runs nor writes anywhere else, with no sandbox to help."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId
from farm_protocol.records import JobSpec, Lease, TaskOutput
from frame_splitter import exr, split, tiles
from frame_splitter.exactness import classify
from frame_splitter.outputs import safe_relative
from gpu_worker.blender import BlenderChild, ChildLimits, Device
from gpu_worker.slot import region_of
from tests.reference import run

pytestmark = pytest.mark.blender


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere") / "pwned"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, marker: Path) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    run("hostile_scenes", str(folder), str(marker))
    for path in marker.parent.iterdir():
        path.unlink()  # making the driver evaluates it, in the maker's own Blender
    return folder


@pytest.fixture(scope="module")
def child() -> Iterator[BlenderChild]:
    blender = BlenderChild(ChildLimits(memory=4 << 30))
    blender.start()
    yield blender
    blender.close()


def render(child: BlenderChild, blend: Path, folder: Path) -> list[Path]:
    """Render and finish frame 1 in this one child."""
    facts = decode(child.inspect(blend), SceneFacts)
    spec = JobSpec(SceneId("0" * 64), (1,), samples=1)
    settings = split.pin(spec, facts)
    width, height = tiles.frame_size(facts, settings.resolution_percentage)
    area, canvas = tiles.border_area(facts, width, height)
    plan = classify(facts, settings)
    assert plan.output is TaskOutput.LINEAR
    task, finish = split.split(JobId("job"), spec, facts, plan, settings)
    held = (LeaseToken(1), "0", 30.0, spec.scene, OwnerId("me"), settings, width, height, area, canvas)
    child.open(blend, Device())
    tile, merged = folder / "tile.exr", folder / "merged.exr"
    first = Lease(task, *held)
    child.render(first, region_of(first), tile, lambda done, total: None)
    exr.write(merged, exr.check(tile, width, height))
    output = folder / "output"
    output.mkdir()
    done = child.finish(Lease(finish, *held), merged, output, lambda done, total: None)
    return [output / safe_relative(name) for name in done.files]


def test_scripts_and_drivers_are_named_and_never_run(
    child: BlenderChild, scenes: Path, tmp_path: Path, marker: Path
) -> None:
    facts = decode(child.inspect(scenes / "scripts.blend"), SceneFacts)
    assert facts.scripts == ("autorun.py",)
    (dead,) = facts.drivers
    assert "open(" in dead
    render(child, scenes / "scripts.blend", tmp_path)
    assert not list(marker.parent.iterdir())


def test_freestyle_is_refused_unrun(child: BlenderChild, scenes: Path, marker: Path) -> None:
    facts = decode(child.inspect(scenes / "freestyle.blend"), SceneFacts)
    with pytest.raises(InvalidInput, match="Freestyle"):
        classify(facts, split.pin(JobSpec(SceneId("0" * 64), (1,)), facts))
    assert not list(marker.parent.iterdir())


def test_file_outputs_stay_below_the_output_folder(
    child: BlenderChild, scenes: Path, tmp_path: Path, marker: Path
) -> None:
    files = render(child, scenes / "outputs.blend", tmp_path)
    assert len(files) == 10
    below = {path for path in (tmp_path / "output").rglob("*") if path.is_file()}
    assert set(files) == below
    assert not list(marker.parent.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged.exr", "output", "tile.exr"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""A .blend runs no Python of its own and writes nowhere by itself: not when it is looked at, and not when it
is rendered by a child that was told lies about it. No sandbox helps here.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode
from farm_protocol.ids import SceneId
from farm_protocol.records import FailureCode, JobSpec
from frame_splitter import exactness, exr, split
from gpu_worker.blender import BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.child import confining
from gpu_worker.failures import TaskError
from gpu_worker.inspect import inspect_scene
from gpu_worker.slot import region_of
from tests.by_hand import Children, Job
from tests.reference import REPOSITORY, run

pytestmark = pytest.mark.blender

FREESTYLE = (
    "freestyle_plain",
    "freestyle_in_the_compositor",
    "freestyle_in_a_strip",
    "freestyle_behind_a_strips_compositor",
    "freestyle_in_a_second_layer",
    "freestyle_in_a_keyed_layer",
    "freestyle_in_a_driven_layer",
    "freestyle_with_a_keyed_mode",
    "freestyle_in_a_linked_scene",
)
CACHES = (
    "paint_outside",
    "paint_beside",
    "particles_beside",
    "cloth_outside",
    "soft_body_outside",
    "hair_outside",
    "cloth_put_on_disk_by_a_key",
)
FLUIDS = (
    "fluid_replayed_outside",
    "fluid_replayed_in_renders",
    "fluid_switched_on_by_keys",
    "fluid_that_reads",
)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, elsewhere: Path) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    run("hostile.hostile_blends", str(folder), str(elsewhere))
    return folder


@pytest.fixture(scope="module")
def child() -> Iterator[BlenderChild]:
    blender = BlenderChild(ChildLimits(memory=4 << 30))
    blender.start()
    yield blender
    blender.close()


@pytest.fixture(autouse=True)
def nothing_is_written(scenes: Path, elsewhere: Path) -> Iterator[None]:
    """Whatever a test does leaves both folders as they were."""
    before = contents(scenes), contents(elsewhere)
    yield
    assert (contents(scenes), contents(elsewhere)) == before


def contents(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def blend_of(scenes: Path, name: str) -> Path:
    return scenes / name / f"{name}.blend"


def lies(child: BlenderChild, blend: Path) -> tuple[Job, Job]:
    """Two jobs whose client says that nothing is wrong with the scene: Blender's own frames, and tiles."""
    told = decode(child.inspect(blend), SceneFacts)
    own, tiles = (_job(child, blend, replace(told, final_only=reasons)) for reasons in (("",), ()))
    return own, tiles


def _job(child: BlenderChild, blend: Path, told: SceneFacts) -> Job:
    facts = replace(told, refused=(), simulations=(), camera=True)
    spec = JobSpec(SceneId("0" * 64), (1, 2), samples=1, tiles="1x1")
    settings = split.pin(spec, facts)
    plan = exactness.classify(facts, settings, spec.frames)
    return Job(Children(child, child), blend, spec, facts, settings, plan)


def render(job: Job, folder: Path) -> Path:
    """Both frames, one after the other, in one child; the last one's file or folder."""
    child = job.children.render
    child.open(job.blend, Device())
    for frame in job.spec.frames:
        lease = job.tasks(frame)[0]
        path = folder / f"{job.plan.output}-{frame}"
        if job.plan.output == "final":
            path.mkdir()
        child.render(lease, region_of(lease), path, lambda done, total: None)
    return path


@pytest.mark.parametrize("name", FREESTYLE)
def test_freestyle_runs_nothing_and_is_refused_whatever_the_facts_say(
    child: BlenderChild, scenes: Path, tmp_path: Path, name: str
) -> None:
    blend = blend_of(scenes, name)
    assert any("Freestyle" in said for said in decode(child.inspect(blend), SceneFacts).refused)
    for job in lies(child, blend):
        with pytest.raises(TaskError, match="Freestyle runs Python") as refused:
            render(job, tmp_path)
        assert refused.value.failure is FailureCode.SCENE


@pytest.mark.parametrize("name", CACHES)
def test_no_simulation_is_written_where_a_file_says(
    child: BlenderChild, scenes: Path, tmp_path: Path, name: str
) -> None:
    for job in lies(child, blend_of(scenes, name)):
        render(job, tmp_path)


@pytest.mark.parametrize("name", FLUIDS)
def test_mantaflow_never_runs(child: BlenderChild, scenes: Path, tmp_path: Path, name: str) -> None:
    blend = blend_of(scenes, name)
    facts = decode(child.inspect(blend), SceneFacts)
    assert any("Mantaflow" in said for said in facts.refused)
    for job in lies(child, blend):
        render(job, tmp_path)


def test_looking_at_a_fluid_without_a_sandbox_writes_nothing(scenes: Path) -> None:
    facts = decode(
        inspect_scene(blend_of(scenes, "fluid_replayed_outside"), None, sandboxed=False), SceneFacts
    )
    assert [one.kind for one in facts.simulations] == ["fluid"]


OPENED = """
import sys, bpy, addon_utils
from gpu_worker.child.rendering import open_scene
open_scene(sys.argv[1])
print(sorted(one for one in bpy.context.preferences.addons.keys() if addon_utils.check(one)[1]))
lists = {name: getattr(bpy.app.handlers, name) for name in dir(bpy.app.handlers)}
print(sorted(name for name, held in lists.items() if isinstance(held, list) and held and name[0] != "_"))
print(bpy.context.preferences.filepaths.use_scripts_auto_execute)
"""


def test_no_addon_and_no_handler_sees_a_file(scenes: Path) -> None:
    """But Cycles, which brings old files up to date, and Blender's own translation."""
    program = [sys.executable, "-c", OPENED, str(blend_of(scenes, "freestyle_plain"))]
    said = subprocess.run(program, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert said.stdout.splitlines()[-3:] == [
        "['cycles']",
        "['translation_update_post', 'version_update']",
        "False",
    ]


def test_freestyle_in_a_scene_that_nobody_shows_refuses_nothing(
    child: BlenderChild, scenes: Path, tmp_path: Path
) -> None:
    assert not decode(child.inspect(blend_of(scenes, "freestyle_that_nobody_shows")), SceneFacts).refused
    render(lies(child, blend_of(scenes, "freestyle_that_nobody_shows"))[0], tmp_path)


def test_a_shader_is_compiled_elsewhere_and_shown(child: BlenderChild, scenes: Path, tmp_path: Path) -> None:
    job = lies(child, blend_of(scenes, "shader_compiled_beside_its_source"))[1]
    tile = exr.check(render(job, tmp_path), 64, 48)
    red, green, blue = (tile.parts[0].channels[f"ViewLayer.Combined.{color}"] for color in "RGB")
    assert numpy.count_nonzero((red == 4) & (green == 2) & (blue == 1)) > 50


def test_outputs_of_scenes_behind_strips_stay_in_the_frames_folder(
    child: BlenderChild, scenes: Path, tmp_path: Path
) -> None:
    render(lies(child, blend_of(scenes, "outputs_behind_a_strip"))[0], tmp_path)


def test_a_file_that_cannot_be_looked_through_is_not_evaluated(child: BlenderChild, scenes: Path) -> None:
    for name in ("names_that_are_no_text", "rigid_bodies_outside"):
        with pytest.raises(TaskError, match="cannot be made safe") as refused:
            child.inspect(blend_of(scenes, name))
        assert refused.value.failure is FailureCode.SCENE


@pytest.mark.skipif(not confining.available(), reason="This kernel has no Landlock.")
def test_a_child_writes_nowhere_but_where_its_parent_says(scenes: Path, tmp_path: Path) -> None:
    """Whatever a file may find to make Blender write elsewhere: here the child itself is told to."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    confined = BlenderChild(ChildLimits(memory=4 << 30), ChildCommand(writes=(inside,)))
    confined.start()
    try:
        job = lies(confined, blend_of(scenes, "freestyle_that_nobody_shows"))[1]
        assert render(job, inside).is_file()
        with pytest.raises(TaskError, match=r"wrote no picture|could not render"):
            render(job, outside)
    finally:
        confined.close()
    assert not list(outside.iterdir())


@pytest.mark.skipif(not confining.available(), reason="This kernel has no Landlock.")
def test_of_devices_a_child_writes_to_harmless_ones_only(tmp_path: Path) -> None:
    """Without a sandbox, root's own could have written to any: here the one that makes terminals."""
    program = f"""
import json, os
from gpu_worker.child import confining
def opens(path):
    try:
        os.close(os.open(path, os.O_WRONLY))
    except OSError as error:
        return type(error).__name__
    return "opened"
paths = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/ptmx"]
before = [opens(path) for path in paths]
assert confining.confine([{str(tmp_path)!r}])
print(json.dumps([before, [opens(path) for path in paths]]))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    opened = ["opened"] * 3
    assert json.loads(answer.stdout) == [[*opened, "opened"], [*opened, "PermissionError"]]

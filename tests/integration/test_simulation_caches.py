# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a simulation is baked is told by its data, not by its settings: here, data on disk."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm_protocol.facts import SceneFacts
from frame_splitter.exactness import unbaked
from gpu_worker.blender import CHILD_PROGRAM, BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.sandbox import Sandbox, environment
from tests.by_hand import Children, assert_equals_plain, children, facts_of, job_of, render_tile
from tests.reference import Plain, render_plainly, run

pytestmark = pytest.mark.blender


@pytest.fixture(scope="module")
def pair() -> Iterator[Children]:
    with children() as both:
        yield both


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cached")
    run("cached_scenes", str(folder))
    return folder


@pytest.fixture
def scenes(made: Path, tmp_path: Path) -> Path:
    """A copy, elsewhere, that a test may take things away from."""
    return Path(shutil.copytree(made, tmp_path / "scenes"))


def look(pair: Children, scenes: Path, name: str) -> SceneFacts:
    return facts_of(pair, scenes / name / f"{name}.blend")


def caches(facts: SceneFacts) -> dict[str, bool]:
    """The cache folders the scene reads, and whether each is missing."""
    return {asset.path: asset.missing for asset in facts.assets if asset.kind == "cache"}


@pytest.mark.parametrize(
    ("name", "folder"),
    [("cloth_on_disk", "blendcache_cloth_on_disk"), ("linked_cloth_on_disk", "assets/blendcache_flag")],
)
def test_a_physics_bake_on_disk_is_a_folder_that_must_travel(
    pair: Children, scenes: Path, name: str, folder: str
) -> None:
    path = scenes / name / folder
    (scenes / name / f"{name}.blend1").unlink()
    facts = look(pair, scenes, name)
    assert not unbaked(facts)
    assert name == "linked_cloth_on_disk" or caches(facts) == {str(path): False}
    assert [Path(one).name for one in caches(facts)] == [path.name]


def test_a_physics_bake_whose_files_are_gone_is_a_missing_file(pair: Children, scenes: Path) -> None:
    folder = scenes / "cloth_on_disk" / "blendcache_cloth_on_disk"
    shutil.rmtree(folder)
    assert caches(look(pair, scenes, "cloth_on_disk")) == {str(folder): True}


def test_what_was_played_into_a_cache_on_disk_counts_as_far_as_it_goes(pair: Children, scenes: Path) -> None:
    facts = look(pair, scenes, "cloth_played_on_disk")
    assert not unbaked(facts, (1, 2, 3))
    assert [one.owner for one in unbaked(facts, (1, 4))] == ["flag"]
    shutil.rmtree(scenes / "cloth_played_on_disk" / "blendcache_cloth_played_on_disk")
    facts = look(pair, scenes, "cloth_played_on_disk")
    assert not unbaked(facts, (1,))
    assert unbaked(facts, (2,))


def test_looking_at_a_scene_writes_nothing(pair: Children, scenes: Path) -> None:
    shutil.rmtree(scenes / "cloth_played_on_disk" / "blendcache_cloth_played_on_disk")
    before = sorted(scenes.rglob("*"))
    for name in ("cloth_played_on_disk", "zone_on_disk", "fluid_replayed"):
        look(pair, scenes, name)
    assert sorted(scenes.rglob("*")) == before


def test_a_zones_bake_on_disk_renders_as_blender_renders_it(
    pair: Children, scenes: Path, tmp_path: Path
) -> None:
    blend = scenes / "zone_on_disk" / "zone_on_disk.blend"
    (folder,) = caches(look(pair, scenes, "zone_on_disk"))
    assert Path(folder).parent == blend.parent / "bakes"
    render_plainly(Plain(blend, tmp_path / "plain", (5,), apart=True))
    files = job_of(pair, blend, (5,)).render(5, tmp_path / "ours")
    assert_equals_plain(files, tmp_path / "ours", tmp_path / "plain" / "5")
    shutil.rmtree(folder)
    assert unbaked(look(pair, scenes, "zone_on_disk"), (5,))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed.")
def test_a_zones_bake_on_disk_is_read_from_a_scene_that_is_read_only(
    pair: Children, scenes: Path, tmp_path: Path
) -> None:
    """Blender itself reads such a bake as empty, without a word."""
    blend, output = scenes / "zone_on_disk" / "zone_on_disk.blend", tmp_path / "output"
    output.mkdir()
    box = Sandbox((CHILD_PROGRAM.parent, blend.parent), (output,))
    command = ChildCommand(wrap=box.wrap, variables=environment({}), writes=(output,))
    boxed = BlenderChild(ChildLimits(memory=4 << 30), command)
    boxed.start()
    try:
        job = job_of(pair, blend, (5,), tiles="1x1")
        free, jailed = job, replace(job, children=replace(pair, render=boxed))
        tiles = [
            render_tile(opened(one.children.render, blend), one.tasks(5)[0], output / name)
            for one, name in ((free, "free"), (jailed, "jailed"))
        ]
    finally:
        boxed.close()
    for ours, theirs in zip(tiles[0].parts, tiles[1].parts, strict=True):
        assert {name: px.tobytes() for name, px in ours.channels.items()} == {
            name: px.tobytes() for name, px in theirs.channels.items()
        }


def opened(child: BlenderChild, blend: Path) -> BlenderChild:
    child.open(blend, Device(threads=2))
    return child


def test_a_zone_that_was_never_baked_names_where_its_bake_would_be(pair: Children, scenes: Path) -> None:
    facts = look(pair, scenes, "zone_to_be_baked_to_disk")
    assert unbaked(facts)
    assert list(caches(facts).values()) == [True]


def test_a_replayed_fluid_counts_to_the_first_frame_that_lacks(pair: Children, scenes: Path) -> None:
    facts = look(pair, scenes, "fluid_replayed")
    assert not unbaked(facts, (1, 2, 3))
    assert unbaked(facts, (4,))
    (scenes / "fluid_replayed" / "smoke" / "data" / "fluid_data_0004.vdb").touch()
    assert unbaked(look(pair, scenes, "fluid_replayed"))
    (scenes / "fluid_replayed" / "smoke" / "data" / "fluid_data_0006.vdb").touch()
    assert not unbaked(look(pair, scenes, "fluid_replayed"))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a scene reads travels in its bundle: with all originals moved away, the farm's frames equal
those that plain Blender made of the originals.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode
from render_farm import doctor
from render_farm.blend_blocks import BlendData
from render_farm.bundle import Bundle, bundle
from render_farm.doctor import Checked
from render_farm.outside import all_may
from render_farm.path_fields import path_fields
from render_farm.rewriting import Change, rewrite
from tests.by_hand import Children, assert_equals_plain, children, job_of
from tests.reference import Plain, render_plainly, run

pytestmark = pytest.mark.blender

FRAME = 4
ODD = {"scene_with_a_line_break": "sh\not.blend"}
TRAVEL = (
    "alembic_cache",
    "auto_smooth",
    "clip_of_pictures",
    "cloth_on_disk",
    "font_elsewhere",
    "import_node",
    "import_node_by_frame",
    "import_node_by_modifier",
    "import_node_by_text",
    "lamp_with_ies",
    "library_by_absolute_path",
    "library_instanced",
    "library_of_a_library",
    "library_packed_into_the_scene",
    "mesh_cache",
    "movie_on_an_object",
    "named_but_not_needed",
    "nodes_bake",
    "nodes_bake_elsewhere",
    "nodes_bake_with_its_own_folder",
    "nodes_bake_without_a_folder",
    "particles_on_disk",
    "picture_above_the_project",
    "picture_beside",
    "picture_by_absolute_path",
    "picture_in_the_compositor",
    "picture_of_the_world",
    "picture_with_odd_name",
    "scene_with_a_line_break",
    "sequence_elsewhere",
    "sequence_with_a_gap",
    "shipped_library_of_another_machine",
    "sound_that_is_gone",
    "strip_beside_the_scene",
    "strip_of_a_movie",
    "strip_of_pictures",
    "udim_tiles",
    "usd_with_layers",
    "volume_elsewhere",
    "volume_sequence",
)


@dataclass(frozen=True)
class Moved:
    """All scenes bundled, and the originals out of reach."""

    bundles: dict[str, Bundle]
    plain: Path


@pytest.fixture(scope="module")
def pair() -> Iterator[Children]:
    with children() as both:
        yield both


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    top = tmp_path_factory.mktemp("travel")
    made, plain = top / "made", top / "plain"
    run("variants.files", str(made), *TRAVEL)
    scenes = {name: made / name / "project" / ODD.get(name, "scene.blend") for name in TRAVEL}
    render_plainly(*(Plain(path, plain / name, (FRAME,), apart=True) for name, path in scenes.items()))
    with ExitStack() as stack:
        bundles = {
            name: stack.enter_context(bundle(path, top / "work" / name, may=all_may))
            for name, path in scenes.items()
        }
        made.rename(top / "gone")
        yield Moved(bundles, plain)


@pytest.fixture
def examine(pair: Children, monkeypatch: pytest.MonkeyPatch) -> Callable[[Bundle], Checked]:
    """The doctor, with the warm child in place of a fresh one for each scene."""

    def inspect(bundled: Bundle, _: object) -> SceneFacts:
        return decode(pair.render.inspect(bundled.main), SceneFacts)

    monkeypatch.setattr(doctor, "inspect", inspect)
    return doctor.examine


@pytest.mark.parametrize("name", TRAVEL)
def test_what_a_scene_reads_travels(
    moved: Moved, pair: Children, examine: Callable[[Bundle], Checked], tmp_path: Path, name: str
) -> None:
    bundled = moved.bundles[name]
    checked = examine(bundled)
    assert checked.report.missing == ()
    assert not checked.report.problems
    files = job_of(pair, checked.bundle.main, (FRAME,)).render(FRAME, tmp_path / "frame")
    assert_equals_plain(files, tmp_path / "frame", moved.plain / name / str(FRAME))


@pytest.mark.parametrize("name", ["import_node_by_modifier", "import_node_by_text"])
def test_a_text_of_a_node_may_become_longer(moved: Moved, pair: Children, tmp_path: Path, name: str) -> None:
    """A short path of the artist's may be a long one in the bundle; Blender keeps texts as long as needed."""
    bundled = moved.bundles[name]
    data = BlendData(bundled.main)
    texts = [one for group in data.groups for one in path_fields(data, group) if one.guess]
    longer = f"//{'deep/' * 60}s.obj"
    place = tmp_path / longer[2:]
    place.parent.mkdir(parents=True)
    (place.parent / "s.obj").hardlink_to(bundled.root / "_outside" / "1" / "s.obj")
    changes = [Change(one.place, longer.encode(), "") for one in texts if one.place]
    assert changes
    assert rewrite(tmp_path / "scene.blend", data, changes) == {}
    files = job_of(pair, tmp_path / "scene.blend", (FRAME,)).render(FRAME, tmp_path / "frame")
    assert_equals_plain(files, tmp_path / "frame", moved.plain / name / str(FRAME))


# --- a studio's colours ---------------------------------------------------------------------------------

STUDIO = "colors_of_a_studio"


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scene made under a configuration of its own, which OCIO names while the test runs."""
    run("variants.files", "--studio", str(tmp_path / "made" / "studio"))
    monkeypatch.setenv("OCIO", str(tmp_path / "made" / "studio" / "ocio" / "config.ocio"))
    run("variants.files", str(tmp_path / "made"), STUDIO)
    return tmp_path / "made" / STUDIO / "project" / "scene.blend"


def test_a_studios_colours_travel(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render_plainly(Plain(studio, tmp_path / "plain", (FRAME,), apart=True))
    with bundle(studio, tmp_path / "work", may=all_may) as bundled:
        (tmp_path / "made").rename(tmp_path / "gone")
        monkeypatch.delenv("OCIO")
        checked = doctor.examine(bundled)
        assert checked.report.missing == ()
        assert not checked.report.problems
        with children(OCIO=bundled.color_config) as pair:
            files = job_of(pair, bundled.main, (FRAME,)).render(FRAME, tmp_path / "frame")
    assert_equals_plain(files, tmp_path / "frame", tmp_path / "plain" / str(FRAME))


def test_colours_that_blender_would_replace_are_refused_by_name(
    studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OCIO")
    with bundle(studio, tmp_path / "work", may=all_may) as bundled:
        problems = " ".join(doctor.examine(bundled).report.problems)
    assert "Scene uses the look 'Studio Red'" in problems
    assert "//tex/plate.png uses the colour space 'Studio Plate'" in problems


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("picture_by_absolute_path", "elsewhere/stock/wood.png"),
        ("font_elsewhere", "elsewhere/title.woff2"),
        ("library_by_absolute_path", "elsewhere/props/props.blend"),
        ("import_node", "elsewhere/shape.obj"),
        ("mesh_cache", "elsewhere/move.pc2"),
        ("volume_elsewhere", "elsewhere/cloud.vdb"),
        ("strip_beside_the_scene", "project/plate.png"),
    ],
)
def test_what_is_needed_and_gone_is_named(
    examine: Callable[[Bundle], Checked], tmp_path: Path, name: str, lost: str
) -> None:
    run("variants.files", str(tmp_path), name)
    (tmp_path / name / lost).unlink()
    scene = tmp_path / name / "project" / "scene.blend"
    with bundle(scene, tmp_path / "work", may=all_may) as bundled:
        report = examine(bundled).report
    assert report.missing == (str(tmp_path / name / lost),)
    assert "1 file is missing" in report.problems[0]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which OCIO configuration a scene is opened with, and what travels of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import ColorNames
from render_farm.color_config import ColorConfig, find_config, plan_config
from render_farm.foreign_colors import foreign_colors
from render_farm.packing import NamedColor

CONFIG = """ocio_profile_version: 2

{search}
looks:
  - !<Look>
    name: Red
    transform: !<FileTransform> {{src: {source}, interpolation: linear}}
colorspaces:
  - !<ColorSpace>
    name: Plate
    from_scene_reference: !<ColorSpaceTransform> {{src: Linear, dst: Other}}
"""


def studio(folder: Path, source: str = "red.cube", search: str = "search_path: luts") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.ocio").write_text(CONFIG.format(search=search, source=source))
    return folder / "config.ocio"


def table(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("LUT_3D_SIZE 2\n")
    return path


def plan(config: Path, tmp_path: Path, variables: Mapping[str, str] | None = None) -> ColorConfig:
    return plan_config(str(config), tmp_path / "bundle", set(), variables or {})


def test_blenders_own_variable_goes_before_the_usual_one() -> None:
    assert find_config({"OCIO": "/a/c.ocio", "BLENDER_OCIO": "/b/c.ocio"}) == "/b/c.ocio"
    assert find_config({"OCIO": "/a/c.ocio", "BLENDER_OCIO": ""}) == "/a/c.ocio"
    assert find_config({"OCIO": "ocio://default"}) == "ocio://default"
    assert find_config({"OCIO": "", "HOME": "/nowhere"}) == ""


def test_the_users_own_data_files_hold_one_too(tmp_path: Path) -> None:
    there = tmp_path / "blender" / "5.0" / "datafiles"
    config = table(there / "colormanagement" / "config.ocio")
    assert find_config({"XDG_CONFIG_HOME": str(tmp_path)}) == str(config)
    assert find_config({"BLENDER_USER_DATAFILES": str(there)}) == str(config)
    assert find_config({"BLENDER_USER_RESOURCES": str(there.parent)}) == str(config)
    assert find_config({"XDG_CONFIG_HOME": str(tmp_path), "BLENDER_USER_DATAFILES": "/nowhere"}) == ""


def test_one_that_is_built_in_needs_no_files() -> None:
    assert plan_config("ocio://default", Path("/x"), set(), {}) == ColorConfig("ocio://default")


def test_only_the_tables_it_names_travel(tmp_path: Path) -> None:
    config = studio(tmp_path / "studio")
    red, _ = table(tmp_path / "studio/luts/red.cube"), table(tmp_path / "studio/luts/blue.cube")
    found = plan(config, tmp_path)
    assert found.files == {"_ocio/config.ocio": str(config), "_ocio/luts/red.cube": str(red)}
    assert (found.main, found.written) == ("_ocio/config.ocio", ())


@pytest.mark.parametrize(
    ("source", "search", "variables"),
    [
        ("red.cube", "search_path: ../tables", {}),
        ("red.cube", "search_path:\n  - luts\n  - ../tables", {}),
        ("red.cube", "search_path: {absolute}", {}),
        ("../tables/red.cube", "", {}),
        ('"../tables/red.cube"', "", {}),
        ("{absolute}/red.cube", "", {}),
        ('"../tables/${{SHOT}}.cube"', "", {"SHOT": "red"}),
        ("../$TABLES/red.cube", "environment:\n  TABLES: tables\n", {}),
        ("red.cube", "search_path: $STUDIO/tables", {"STUDIO": ".."}),
    ],
)
def test_tables_from_elsewhere_are_gathered_and_named_anew(
    tmp_path: Path, source: str, search: str, variables: dict[str, str]
) -> None:
    red = table(tmp_path / "tables" / "red.cube")
    absolute = str(tmp_path / "tables")
    config = studio(tmp_path / "studio", source.format(absolute=absolute), search.format(absolute=absolute))
    found = plan(config, tmp_path, variables)
    assert found.files["_ocio/tables/0-red.cube"] == str(red)
    assert found.written == ("_ocio/config.ocio",)
    text = (tmp_path / "bundle" / "_ocio" / "config.ocio").read_text()
    assert text.startswith("ocio_profile_version: 2\n")
    assert "search_path: tables" in text
    assert text.count("search_path") == 1
    assert 'src: "0-red.cube", interpolation' in text
    assert "src: Linear, dst" in text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("$SHOT.cube", "reads $SHOT.cube"),
        ("../../.secret/red.cube", "stays here"),
        ("/etc/passwd", "stays here"),
    ],
)
def test_what_would_be_another_picture_elsewhere_is_refused(tmp_path: Path, source: str, words: str) -> None:
    table(tmp_path / ".secret" / "red.cube")
    config = studio(tmp_path / "studio", source)
    with pytest.raises(InvalidInput) as caught:
        plan(config, tmp_path, {"SHOT": "gone"})
    assert words in caught.value.sentence


def test_a_configuration_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan(tmp_path / "gone.ocio", tmp_path)
    assert f"{tmp_path}/gone.ocio is not there" in caught.value.sentence


def test_a_project_with_a_folder_of_that_name_is_not_mixed_up(tmp_path: Path) -> None:
    config = studio(tmp_path / "studio")
    assert plan_config(str(config), tmp_path, {"_ocio/mine.png"}, {}).main == "_ocio_/config.ocio"


# --- names the configuration lacks ------------------------------------------------------------------------

KNOWN = ColorNames(("sRGB",), ("None",), ("sRGB",), ("sRGB/AgX",), ("SCScene", "IMwood"))


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (NamedColor("IMwood", "space", "ACEScg"), "wood uses the colour space 'ACEScg'"),
        (NamedColor("SCScene", "look", "Red", "view"), "Scene uses the look 'Red'"),
        (NamedColor("SCScene", "display", "P3", "view"), "Scene uses the display 'P3'"),
        (NamedColor("SCScene", "look", "Red", "output"), "Scene uses the look 'Red'"),
    ],
)
def test_a_name_the_configuration_lacks_is_said(named: NamedColor, sentence: str) -> None:
    (said,) = foreign_colors([named], KNOWN)
    assert sentence in said


def test_a_view_belongs_to_its_display() -> None:
    display = NamedColor("SCScene", "display", "sRGB", "view")
    assert not list(foreign_colors([display, NamedColor("SCScene", "view", "AgX", "view")], KNOWN))
    (said,) = foreign_colors([display, NamedColor("SCScene", "view", "Film Noir", "view")], KNOWN)
    assert "Scene uses the view transform 'Film Noir'" in said


@pytest.mark.parametrize(
    "named",
    [
        NamedColor("IMunused", "space", "ACEScg"),
        NamedColor("SCScene", "space", "ACEScg", "sequencer"),
        NamedColor("IMwood", "space", "sRGB"),
        NamedColor("IMwood", "space", "Linear"),
    ],
)
def test_names_that_do_not_count_are_no_trouble(named: NamedColor) -> None:
    assert not list(foreign_colors([named], KNOWN))

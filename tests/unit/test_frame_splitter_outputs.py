# SPDX-License-Identifier: GPL-3.0-or-later
import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from frame_splitter.outputs import (
    carried_name,
    frame_path,
    is_color_config,
    laid_out_name,
    refuse_overwrite,
    safe_relative,
)


@pytest.mark.parametrize(
    ("pattern", "frame", "extension", "path"),
    [
        ("/a/f####", 7, ".png", "/a/f0007.png"),
        ("/a/f", 7, ".png", "/a/f0007.png"),
        ("/a/", 7, ".png", "/a/0007.png"),
        ("/a/f##", -1, ".png", "/a/f-01.png"),
        ("/a/####", -1, ".png", "/a/-0001.png"),
        ("/a/f##", 123456, ".png", "/a/f123456.png"),
        ("/a/##b##", 1, ".png", "/a/##b01.png"),
        ("/a/b##/c", 1, ".png", "/a/b##/c0001.png"),
        ("/a/f.png", 1, ".png", "/a/f.png0001.png"),
        ("/a/f##.png", 1, ".png", "/a/f01.png"),
        ("/a/f##.PNG", 1, ".png", "/a/f01.PNG"),
        ("/a/f##.jpg", 1, ".png", "/a/f01.png"),
        ("/a/f##.jpeg", 1, ".jpg", "/a/f01.jpeg"),
        ("/a/f##.tiff", 1, ".tif", "/a/f01.tiff"),
        ("/a/f##.v2", 1, ".png", "/a/f01.v2.png"),
        ("/a/f##.png.exr", 1, ".png", "/a/f01.png.png"),
        ("f", 0, ".exr", "f0000.exr"),
    ],
)
def test_names_follow_blender(pattern: str, frame: int, extension: str, path: str) -> None:
    assert frame_path(pattern, frame, extension) == path


@pytest.mark.parametrize("pattern", ["a\0b", "#" * 17, "a" * 5000])
def test_patterns_no_file_can_have(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        frame_path(pattern, 1, ".png")


@given(
    pattern=st.text(alphabet="ab#./", max_size=20), one=st.integers(-999, 999), other=st.integers(-999, 999)
)
def test_no_two_frames_share_a_name(pattern: str, one: int, other: int) -> None:
    try:
        first, second = frame_path(pattern, one, ".png"), frame_path(pattern, other, ".png")
    except InvalidInput:
        return
    assert (first == second) == (one == other)
    assert first.lower().endswith(".png")
    assert os.path.dirname(first) == os.path.dirname(pattern)


def test_outputs_never_meet_inputs(tmp_path: Path) -> None:
    texture = tmp_path / "wood0001.png"
    texture.write_bytes(b"wood")
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (texture, tmp_path / "x" / ".." / "wood0001.png", tmp_path / "link" / "wood0001.png"):
        with pytest.raises(InvalidInput, match="would overwrite"):
            refuse_overwrite({1: str(path)}, [str(tmp_path / "scene.blend"), str(texture)])
    refuse_overwrite({1: str(tmp_path / "wood0002.png")}, [str(texture)])


def test_outputs_never_meet_each_other(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Frames 1 and 2"):
        refuse_overwrite({1: str(tmp_path / "a"), 2: str(tmp_path / "b" / ".." / "a")}, [])


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "textures/wood 1.png",
        "木目/板\u3000.png",
        "tex: a.png",
        "..a/b..c",
        "a" * 255,
        "//a"[2:],
        "~",
        "#.png",
    ],
)
def test_honest_names_pass(name: str) -> None:
    assert str(safe_relative(name)) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("//server/share", "absolute"),
        ("..", "climbs"),
        ("a/../../b", "climbs"),
        ("../a", "climbs"),
        ("C:/a", "drive"),
        ("c:a", "drive"),
        ("a\\b", "backslash"),
        ("..\\a", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x1b[2J", "control"),
        ("a\u2028b", "control"),
        ("a\udcffb", "control"),
        ("a//b", "empty part"),
        ("a/./b", "empty part"),
        ("a/", "empty part"),
        ("a" * 256, "255"),
        ("a/" * 600 + "b", "1024"),
        ("ä" * 128, "255"),
    ],
)
def test_hostile_names_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        safe_relative(name)
    assert caught.value.sentence.isprintable()
    assert len(caught.value.sentence) < 250


@given(name=st.text(max_size=40) | st.text(alphabet="a./\\:~", max_size=12))
def test_what_passes_stays_in_its_folder(name: str) -> None:
    try:
        path = safe_relative(name)
    except InvalidInput:
        return
    joined = os.path.normpath(os.path.join("/scene", path))
    assert joined.startswith("/scene/")
    assert joined == f"/scene/{name}"


# --- names that no message may hold -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "carried"),
    [
        ("tex/wood.png", "tex/wood.png"),
        ("tex/~backup~.png", "tex/~backup~.png"),
        ("sh\not.blend", "sh~k~ot.blend"),
        ("a\\b/c.png", "a~fm~b/c.png"),
        ("C:x.png", "C~dk~x.png"),
        ("~ab~.png", "~ho~ab~ho~.png"),
    ],
)
def test_odd_names_travel_as_letters(name: str, carried: str) -> None:
    assert carried_name(name) == carried
    assert str(laid_out_name(carried)) == name


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20))
def test_every_name_a_disk_allows_arrives(name: str) -> None:
    assume(name not in {".", ".."})
    carried = carried_name(f"tex/{name}")
    assert str(safe_relative(carried)) == carried
    assert str(laid_out_name(carried)) == f"tex/{name}"


@pytest.mark.parametrize(
    "name", ["~cp~etc", "a/~cocp~b", "a/~co~~co~", "a/~a~", "a/~co~", "~" + "co~~" * 3, "../x", "x" * 300]
)
def test_what_leads_out_of_the_folder_is_refused(name: str) -> None:
    try:
        path = laid_out_name(name)
    except InvalidInput:
        return
    assert ".." not in path.parts
    assert not path.is_absolute()
    assert "\0" not in str(path)


@pytest.mark.parametrize("name", ["~cp~etc", "a/~co~~co~", "a/~a~", "a/~co~", "x/~cp~y"])
def test_escapes_that_make_other_paths_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        laid_out_name(name)


def test_a_configuration_of_colours_is_a_file_or_built_in() -> None:
    files = {"_ocio/config.ocio": 1}
    assert all(is_color_config(name, files) for name in ("", "_ocio/config.ocio", "ocio://default"))
    assert not any(
        is_color_config(name, files) for name in ("/etc/passwd", "x.ocio", "ocio://../x", "ocio://")
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Output paths with Blender's templates; the expected names were written by Blender 5.0.1."""

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import Naming
from frame_splitter.outputs import frame_path, view_of
from frame_splitter.templates import fill_in, variables

NAMING = Naming("shot 01.v2", "Sc/en:e", 24 / 1.001, "Cam A", ((5, "C2"), (9, "C/3")))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{scene_name}_####", "Sc_en_e_####"),
        ("{camera_name}_{resolution_x:#####}", "C2_00012"),
        ("{fps:.###} {fps:####.##} {fps:###}", "23.976 0023.98 024"),
        ("{resolution_x:.##} {resolution_x:#.#}", "12.00 12.0"),
        ("{blend_dir}/{blend_name}", "/a/shot 01.v2"),
        ("a{{b}}", "a{b}"),
    ],
)
def test_templates_are_filled_in_as_blender_does(pattern: str, expected: str) -> None:
    assert fill_in(pattern, variables(NAMING, 6, (12, 9), "/a")) == expected


@pytest.mark.parametrize("pattern", ["{no}", "{", "a}b", "{scene_name:##}", "{fps:}", "{fps:#.}", "{fps:x}"])
def test_what_blender_cannot_fill_in_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        fill_in(pattern, variables(NAMING, 6, (12, 9), "/a"))


@pytest.mark.parametrize(("frame", "camera"), [(1, "C2"), (5, "C2"), (8, "C2"), (9, "C_3"), (99, "C_3")])
def test_markers_bind_cameras(frame: int, camera: str) -> None:
    assert variables(NAMING, frame, (1, 1), "")["camera_name"] == camera


@pytest.mark.parametrize(
    ("pattern", "suffix", "expected"),
    [
        ("/a/####", "_L", "/a/0003_L.png"),
        ("/a/x.####", "_R", "/a/x_R.0003.png"),
        ("/a/####", ".up", "/a/0003.up.png"),
    ],
)
def test_views_are_named_as_blender_names_them(pattern: str, suffix: str, expected: str) -> None:
    assert frame_path(pattern, 3, ".png", suffix) == expected


def test_files_get_no_ending_where_the_scene_wants_none() -> None:
    assert frame_path("/a/####", 3, "") == "/a/0003"


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("frame0003.png", ("", ".png")),
        ("frame0003_L.png", ("_L", ".png")),
        ("frame0003.jpg", ("", ".jpg")),
        ("frame0004.png", None),
        ("outputs/frame0003.png", None),
    ],
)
def test_a_frames_own_files_are_told_from_others(name: str, view: tuple[str, str] | None) -> None:
    assert view_of(name, 3, ".png") == view

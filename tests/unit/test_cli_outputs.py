# SPDX-License-Identifier: GPL-3.0-or-later
"""Where frames go, and where nothing may go."""

from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from render_farm.cli.outputs import targets


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_frames_go_beside_the_command_by_default(tmp_path: Path) -> None:
    goals = targets("", "shot", (1, 12), ".png", ())
    assert goals.frames == {
        1: tmp_path / "shot-frames" / "0001.png",
        12: tmp_path / "shot-frames" / "0012.png",
    }


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("out/a_##.png", "out/a_07.png"),
        ("out/", "out/0007.png"),
        ("a.b_#", "a.b_7.png"),
    ],
)
def test_patterns_are_blenders(tmp_path: Path, pattern: str, name: str) -> None:
    assert targets(pattern, "s", (7,), ".png", ()).frames[7] == tmp_path / name


def test_a_pattern_that_hits_the_scene_is_refused(tmp_path: Path) -> None:
    texture = tmp_path / "tex0001.png"
    texture.write_bytes(b"")
    with pytest.raises(InvalidInput, match="would overwrite"):
        targets("tex####", "s", (1,), ".png", (str(texture),))


def test_a_pattern_that_hits_the_scene_through_a_link_is_refused(tmp_path: Path) -> None:
    texture = tmp_path / "tex0001.png"
    texture.write_bytes(b"")
    (tmp_path / "way").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="would overwrite"):
        targets("way/tex####", "s", (1,), ".png", (str(texture),))


def test_a_frame_that_would_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a0001.png").mkdir()
    with pytest.raises(InvalidInput, match="is a folder"):
        targets("a####", "s", (1,), ".png", ())


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"cannot be written to .*/out/shot: Not a directory"):
        targets("out/shot/####", "s", (1,), ".png", ()).prepare()
    targets("new/shot/####", "s", (1,), ".png", ()).prepare()
    assert list((tmp_path / "new" / "shot").iterdir()) == []


def test_other_files_lie_beside_their_frame(tmp_path: Path) -> None:
    goals = targets("out/####", "s", (1,), ".png", ())
    there = tmp_path / "out" / "outputs-above" / "1" / "hand0001.exr"
    assert goals.other(1, "outputs-above/1/hand0001.exr") == there


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/x.png", "a/../../x.png", "C:/x.png", "a\\b.png", "", "x\n"]
)
def test_other_files_never_climb_out(name: str) -> None:
    with pytest.raises(InvalidInput):
        targets("out/####", "s", (1,), ".png", ()).other(1, name)


def test_other_files_never_replace_a_frame_or_the_scene(tmp_path: Path) -> None:
    goals = targets("####", "s", (1, 2), ".png", (str(tmp_path / "plate.png"),))
    (tmp_path / "outputs").symlink_to(tmp_path)
    for name in ("outputs/0002.png", "outputs/plate.png"):
        with pytest.raises(InvalidInput, match="would overwrite"):
            goals.other(1, name)


def test_other_files_do_not_follow_links_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "outputs").symlink_to("/tmp")
    with pytest.raises(InvalidInput, match="through a link"):
        targets("out/####", "s", (1,), ".png", ()).other(1, "outputs/x.exr")

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files may leave the artist's machine, and which files a path stands for."""

import os
from pathlib import Path

import pytest

from render_farm.scene.asset_rules import CACHE_ENDINGS, AssetRules, files_of, find_moved
from render_farm.scene.packing import Layout
from render_farm.scene.path_fields import BAKED_NODES, FLUID, OCEAN
from tests.support.plain_files import put


def test_files_of_a_project_may_go(tmp_path: Path) -> None:
    rules = AssetRules(tmp_path / "project")
    for name in ("project/a.png", "project/deep/b.EXR", "other/c.blend", "other/d.blend1", "e.wav"):
        assert rules.refusal(put(tmp_path / name)) == ""


@pytest.mark.parametrize("name", ["secrets.env", "key", "mail.txt", "data.json", "a.png.gpg", "c.gz", "x"])
def test_files_of_other_kinds_stay(tmp_path: Path, name: str) -> None:
    assert "no kind of file" in AssetRules(tmp_path).refusal(put(tmp_path / name))


def test_hidden_folders_stay_unless_the_scene_is_in_one(tmp_path: Path) -> None:
    inside = put(tmp_path / ".work" / "project" / "a.png")
    beside = put(tmp_path / ".work" / "project" / ".git" / "b.png")
    assert "hidden" in AssetRules(tmp_path / "project").refusal(inside)
    assert AssetRules(tmp_path / ".work" / "project").refusal(inside) == ""
    assert "hidden" in AssetRules(tmp_path / ".work" / "project").refusal(beside)


def test_links_are_judged_by_where_they_lead(tmp_path: Path) -> None:
    put(tmp_path / ".ssh" / "id_rsa")
    (tmp_path / "wood.png").symlink_to(tmp_path / ".ssh" / "id_rsa")
    (tmp_path / "pass.png").symlink_to("/etc/passwd")
    (tmp_path / "keys").symlink_to(tmp_path / ".ssh")
    put(tmp_path / ".ssh" / "x.png")
    rules = AssetRules(tmp_path)
    assert rules.refusal(tmp_path / "wood.png")
    assert rules.refusal(tmp_path / "pass.png")
    assert rules.refusal(tmp_path / "keys" / "x.png")


def test_what_is_no_file_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    rules = AssetRules(tmp_path)
    for path in (tmp_path / "pipe.png", tmp_path / "folder.png", Path("/dev/null")):
        assert "not a regular file" in rules.refusal(path)
    assert "cannot be read" in rules.refusal(tmp_path / "gone.png")


def test_names_that_are_not_utf_8_stay(tmp_path: Path) -> None:
    rules = AssetRules(tmp_path)
    assert "UTF-8" in rules.refusal(put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))))
    assert rules.refusal(put(tmp_path / "a\n.png")) == ""


def test_the_system_stays_even_for_a_scene_at_the_root() -> None:
    system = next(path for path in Path("/usr").rglob("*.png") if path.is_file()) if _has_png() else None
    if system is None:
        pytest.skip("this machine's /usr holds no picture")
    assert "system" in AssetRules(Path("/")).refusal(system)
    assert "system" in AssetRules(Path("/home/ann")).refusal(system)


def _has_png() -> bool:
    return next(Path("/usr").rglob("*.png"), None) is not None


def test_fonts_of_the_system_may_go() -> None:
    font = next((path for path in Path("/usr/share/fonts").rglob("*.ttf")), None)
    if font is None:
        pytest.skip("this machine has no fonts")
    assert AssetRules(Path("/home/ann")).refusal(font) == ""


def test_a_cache_lies_where_artists_work(tmp_path: Path) -> None:
    rules = AssetRules(tmp_path / "project")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "link").symlink_to(tmp_path / ".ssh")
    assert rules.folder_refusal(tmp_path / "project") == ""
    for folder in (tmp_path / ".ssh", tmp_path / "project" / "link", Path("/etc"), Path("/proc/self")):
        assert rules.folder_refusal(folder)


def test_a_cache_folder_gives_the_files_of_its_cache_only(tmp_path: Path) -> None:
    baked = ("7/meta/00001_00000.json", "7/blobs/00001_00000.blob")
    others = ("meta/key.json", "8/meta/00001_00000.json", "7/meta/keys.json", "7/meta/x/00001.json", "a.json")
    for name in (*baked, *others):
        put(tmp_path / name)
    found = files_of(tmp_path, members=f"7/{BAKED_NODES}")
    assert sorted(str(path.relative_to(tmp_path)) for path in found) == sorted(baked)
    assert all(AssetRules(tmp_path.parent).refusal(path, CACHE_ENDINGS) == "" for path in found)
    (tmp_path / "7" / "meta" / "00002_00000.json").symlink_to("/etc/passwd")
    link = files_of(tmp_path, members=f"7/{BAKED_NODES}")[-1]
    assert AssetRules(tmp_path.parent).refusal(link, CACHE_ENDINGS)


@pytest.mark.parametrize(
    ("named", "there", "found"),
    [
        ("a0001.png", ["a0001.png", "a0002.png", "a12.png", "ab0001.png", "a0001.jpg"], 3),
        ("a0001_v.png", ["a0001_v.png", "a0002_v.png", "a0001.png"], 2),
        ("1.png", ["1.png", "2.png", "holiday.png"], 2),
        ("t.<UDIM>.exr", ["t.1001.exr", "t.1002.exr", "t.x.exr", "t.100.exr"], 2),
        ("t.<UVTILE>.exr", ["t.u1_v1.exr", "t.u2_v1.exr", "t.1001.exr"], 2),
        ("plain.png", ["plain.png", "plain1.png"], 1),
        ("a(1).png", ["a(1).png", "a(2).png", "a1.png"], 2),
    ],
)
def test_a_sequence_is_the_files_blender_reads(
    tmp_path: Path, named: str, there: list[str], found: int
) -> None:
    for name in there:
        put(tmp_path / name)
    assert [path.name for path in files_of(tmp_path / named, sequence=True)] == sorted(there[:found])


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("C:\\Users\\ann\\project\\tex\\wood.png", "tex/wood.png"),
        ("/mnt/nas/project/tex/wood.png", "tex/wood.png"),
        ("D:/x/TEX/Wood.PNG", "tex/wood.png"),
        ("\\\\server\\share\\wood2.png", "wood2.png"),
        ("C:\\other\\gone.png", None),
        ("C:\\..\\..\\secret.png", None),
        ("/", None),
    ],
)
def test_files_of_another_machine_are_found_beside_the_scene(
    tmp_path: Path, named: str, found: str | None
) -> None:
    base = tmp_path / "project"
    put(base / "tex" / "wood.png")
    put(base / "wood2.png")
    put(tmp_path / "secret.png")
    assert find_moved(named, base, sequence=False) == (base / found if found else None)


def test_folders_from_elsewhere_keep_their_place_to_each_other() -> None:
    base = Path("/work/project")
    far = {Path("/lib/a"), Path("/lib/a/tex"), Path("/lib/b"), Path("/work/project/tex")}
    layout = Layout(base, far)
    assert layout.place(Path("/work/project/tex/x.png")) == "tex/x.png"
    assert layout.place(Path("/lib/a/lib.blend")) == "_outside/1/lib.blend"
    assert layout.place(Path("/lib/a/tex/y.png")) == "_outside/1/tex/y.png"
    assert layout.place(Path("/lib/b/z.png")) == "_outside/2/z.png"
    assert layout.folders() == {"": "/work/project", "_outside/1": "/lib/a", "_outside/2": "/lib/b"}


def test_a_project_with_a_folder_of_that_name_is_not_mixed_up() -> None:
    layout = Layout(Path("/p"), {Path("/p/_outside/1"), Path("/q")})
    assert layout.place(Path("/p/_outside/1/x.png")) == "_outside/1/x.png"
    assert layout.place(Path("/q/x.png")) == "_outside_/1/x.png"


@pytest.mark.parametrize(
    ("members", "there", "others"),
    [
        (
            FLUID,
            ["config/config_0001.uni", "data/fluid_data_0001.vdb", "mesh/fluid_mesh_0001.bobj.gz"],
            ["fluid_data_0001.vdb", "secret/fluid_data_0001.vdb", "data/deep/a.vdb", "data/notes.txt"],
        ),
        (OCEAN, ["disp_0001.exr", "foam_0001.exr"], ["render_0001.exr", "disp_0001.png", "x/disp_0001.exr"]),
    ],
)
def test_a_simulations_folder_gives_what_it_wrote_only(
    tmp_path: Path, members: str, there: list[str], others: list[str]
) -> None:
    for name in (*there, *others):
        put(tmp_path / name)
    assert [str(path.relative_to(tmp_path)) for path in files_of(tmp_path, members=members)] == there


def test_a_folder_called_almost_like_the_systems_is_not_its():
    rules = AssetRules(Path("/home/ann"))
    assert "system" in rules.folder_refusal(Path("/usr"))
    assert "system" in rules.folder_refusal(Path("/usr/caches"))
    assert rules.folder_refusal(Path("/usrdata/caches")) == ""

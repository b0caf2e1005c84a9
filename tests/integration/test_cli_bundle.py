# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes bundled and examined: every kind of path found, nothing taken that must stay."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from farm_protocol.errors import InvalidInput
from render_farm.bundle import Bundle, bundle
from render_farm.doctor import examine
from render_farm.outside import all_may

MAKER = Path(__file__).parent.parent / "fakes" / "asset_scenes.py"
FILES = {
    "_outside/1/absolute.png",
    "_outside/1/library.blend",
    "_outside/1/tex/inlib.png",
    "tex/Moved.PNG",
    "tex/beside.png",
    "tex/seq0001.png",
    "tex/seq0002.png",
    "tex/udim.1001.png",
    "tex/udim.1002.png",
}
STAYS = {
    "/etc/passwd": "belongs to the system",
    "/dev/zero": "not a regular file",
    "/proc/self/environ": "belongs to the system",
    "home/.ssh/id_rsa": "hidden folder",
    "home/.ssh/hidden.png": "hidden folder",
    "project/link.png": "hidden folder",
    "project/notes.txt": "no kind of file",
    "project/pipe.png": "not a regular file",
    "home/.ssh": "hidden folder",
    "home/.ssh/notes.csv": "hidden folder",
    "/": "is a folder",
    "/etc": "is a folder",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `asset_scenes.py` saved its scenes."""
    made = tmp_path_factory.mktemp("scenes") / "made"
    subprocess.run([sys.executable, str(MAKER), str(made)], check=True, capture_output=True, timeout=120)
    os.mkfifo(made / "project" / "pipe.png")
    return made


@pytest.fixture
def packed(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[Bundle]:
    """The scene named by the test's parameter, bundled."""
    scene = folder / "project" / f"{request.param}.blend"
    with bundle(scene, tmp_path / "work", may=all_may) as bundled:
        yield bundled


@pytest.mark.parametrize("packed", ["scene", "packed"], indirect=True)
@pytest.mark.blender
def test_every_path_leads_into_the_bundle(packed: Bundle, folder: Path) -> None:
    assert set(packed.manifest.files) == FILES | {packed.scene.name}
    assert packed.missing == ()
    assert packed.left_out == ()
    for name, blob in packed.manifest.files.items():
        assert (packed.root / name).stat().st_size == blob.size
    remapped = {item.path: item.bundled for item in packed.remapped}
    assert remapped[str(folder / "elsewhere" / "absolute.png")] == "_outside/1/absolute.png"
    assert remapped["D:\\work\\project\\tex\\moved.png"] == "tex/Moved.PNG"
    # Blender itself agrees: opened from the bundle, every file is found, and none outside of it.
    report = examine(packed).report
    assert report.missing == ()
    assert report.renders, report.problems
    assert {asset.path for asset in report.assets} >= {
        str(folder / "elsewhere" / "library.blend"),
        str(folder / "elsewhere" / "tex" / "inlib.png"),
        str(folder / "project" / "tex" / "Moved.PNG"),
    }


@pytest.mark.parametrize("packed", ["scene"], indirect=True)
def test_the_artists_own_files_are_not_touched(packed: Bundle) -> None:
    original = packed.scene.read_bytes()
    assert packed.main.read_bytes() != original
    assert packed.scene.read_bytes() == original


def test_the_same_scene_gives_the_same_bundle(folder: Path, tmp_path: Path) -> None:
    manifests = []
    for name in ("a", "b"):
        with bundle(folder / "project" / "scene.blend", tmp_path / name, may=all_may) as bundled:
            manifests.append(bundled.manifest)
            root = bundled.root
        assert not root.exists()
    assert manifests[0] == manifests[1]


def test_what_root_alone_may_read_is_copied_for_the_sandboxs_user(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = folder / "project" / "scene.blend"
    mode = scene.stat().st_mode
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    scene.chmod(0o600)
    before = os.umask(0o077)
    try:
        with bundle(scene, tmp_path / "work", may=all_may) as bundled:
            there = [bundled.root, *bundled.root.rglob("*")]
            assert {path.stat().st_mode & 0o004 for path in there} == {4}
            assert {path.stat().st_mode & 0o005 for path in there if path.is_dir()} == {5}
            assert bundled.root.parent.stat().st_mode & 0o077 == 0
        assert scene.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
        scene.chmod(mode)


@pytest.mark.parametrize("packed", ["evil"], indirect=True)
@pytest.mark.blender
def test_what_no_artist_means_to_upload_stays(packed: Bundle, folder: Path) -> None:
    assert set(packed.manifest.files) == {"evil.blend"}
    reasons = {item.path.replace(f"{folder}/", ""): item.reason for item in packed.left_out}
    assert set(reasons) == set(STAYS)
    for path, words in STAYS.items():
        assert words in reasons[path]
    report = examine(packed).report
    assert not report.renders
    assert {str(folder / path) if path[0] != "/" else path for path in STAYS} <= set(report.missing)


@pytest.mark.blender
def test_missing_files_are_one_list(folder: Path, tmp_path: Path) -> None:
    scene = folder / "project" / "missing.blend"
    line = [sys.executable, "-m", "render_farm", "doctor", str(scene), "--json", "--state-dir", str(tmp_path)]
    strict = subprocess.run(line, capture_output=True, text=True, check=False)
    report = json.loads(strict.stdout)
    assert strict.returncode == 1
    assert sorted(report["missing"]) == ["/nowhere/at/all.exr", str(folder / "project" / "tex" / "gone.png")]
    assert "2 files are missing" in report["problems"][0]
    lenient = subprocess.run([*line, "--allow-missing"], capture_output=True, text=True, check=False)
    assert lenient.returncode == 0
    assert json.loads(lenient.stdout)["renders"]


# --- files that are no scenes -------------------------------------------------------------------


def _refusal(scene: Path, work: Path) -> str:
    with pytest.raises(InvalidInput) as caught, bundle(scene, work):
        pass
    return caught.value.sentence


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello world, this is text", "not a .blend"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "not a .blend"),
        (b"BLEN", "cut short"),
        (b"BLENDER17-01v05", "cut short"),
        (b"BLENDER17-01v0501" + b"\0" * 100, "saved with Blender 5.1"),
        (b"BLENDER-v501" + b"\0" * 100, "saved with Blender 5.1"),
        (b"BLENDER18-02v0600" + b"\0" * 100, "does not know"),
        (b"BLENDER-V279" + b"\0" * 100, "big-endian"),
        (gzip.compress(b"BLENDER17-01v0501" + b"\0" * 100), "saved with Blender 5.1"),
        (zstandard.compress(b"BLENDER17-01v0501" + b"\0" * 100), "saved with Blender 5.1"),
        (gzip.compress(b"not a scene at all"), "not a .blend"),
        (zstandard.compress(b"not a scene at all"), "not a .blend"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "cut short"),
        (b"BLENDER17-01v0500" + b"\xff" * 1000, "damaged"),
    ],
)
def test_what_is_no_scene_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "x.blend").write_bytes(data)
    assert words in _refusal(tmp_path / "x.blend", tmp_path / "work")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.blend")
    (tmp_path / "loop.blend").symlink_to(tmp_path / "loop.blend")
    assert "is not a file" in _refusal(tmp_path / "pipe.blend", tmp_path)
    assert "is not a file" in _refusal(tmp_path, tmp_path)
    assert "is not a file" in _refusal(Path("/dev/zero"), tmp_path)
    assert "no file" in _refusal(tmp_path / "none.blend", tmp_path)
    assert "cannot be read" in _refusal(tmp_path / "loop.blend", tmp_path)


@pytest.mark.parametrize("name", ["scene", "packed"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_scene_is_named(folder: Path, tmp_path: Path, name: str, part: float) -> None:
    data = (folder / "project" / f"{name}.blend").read_bytes()
    (tmp_path / "x.blend").write_bytes(data[: int(len(data) * part)])
    assert "cut short" in _refusal(tmp_path / "x.blend", tmp_path / "work")


def test_a_scene_that_unpacks_without_end_is_stopped(tmp_path: Path) -> None:
    bomb = zstandard.compress(b"BLENDER17-01v0500" + b"\0" * (8 << 20))
    (tmp_path / "x.blend").write_bytes(bomb)
    program = "import render_farm.packing as p; p.SMALLEST_INFLATION = 1 << 20; p.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.blend"), str(tmp_path)],
        capture_output=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert "unpacks to far more" in json.loads(done.stdout)["error"]

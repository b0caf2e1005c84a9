# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's report, from facts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm_protocol.facts import Asset, FileFormat, SceneFacts, Simulation
from farm_protocol.records import Blob, Manifest
from render_farm.cli.checked_scene import facts_to_send
from render_farm.scene import doctor
from render_farm.scene.blend_header import BlendHeader
from render_farm.scene.bundle import Bundle
from render_farm.scene.doctor import Report, examine
from render_farm.scene.packing import LeftOut
from tests.support.plain_facts import PLAIN_SCENE
from tests.support.plain_files import PNG

BLOB = Blob("0" * 64, 1000)


def bundled(root: Path, **more: Any) -> Bundle:
    return Bundle(
        scene=Path("/home/ann/shot.blend"),
        header=BlendHeader(405, "", big_endian=False),
        root=root,
        manifest=Manifest("shot.blend", {"shot.blend": BLOB}),
        sources={"shot.blend": "/home/ann/shot.blend", "_outside/1/a.png": "/mnt/a.png"},
        folders={"": "/home/ann", "_outside/1": "/mnt"},
        **more,
    )


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Examine facts instead of a file."""

    def examined(facts: SceneFacts, allow_missing: bool = False, **more: Any) -> Report:
        monkeypatch.setattr(doctor, "inspect", lambda *_: facts)
        return examine(bundled(tmp_path, **more), allow_missing=allow_missing).report

    return examined


def test_a_plain_scene_renders(report: Any) -> None:
    found = report(PLAIN_SCENE)
    assert found.renders
    assert (found.exactness, found.promise) == ("float-exact", "bit-exact on CPUs, float-exact on GPUs")
    assert (found.saved_with, found.rendered_with) == ("4.5", "5.0.1")
    assert "bit-exact" in found.text()
    assert "1-10" in found.text()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"camera": False}, "no camera"),
        ({"refused": ("Freestyle runs Python.",)}, "Freestyle runs Python."),
        (
            {"simulations": (Simulation("Flag", "cloth", baked=False),)},
            "on 'Flag' is not baked",
        ),
        ({"samples": 0}, "0 samples"),
        ({"frame_start": 9, "frame_end": 3}, "empty"),
        ({"resolution_x": 1, "resolution_percentage": 1}, "pixel"),
    ],
)
def test_what_stands_in_the_way_is_said(report: Any, change: dict[str, Any], sentence: str) -> None:
    found = report(replace(PLAIN_SCENE, **change))
    assert not found.renders
    assert any(sentence in problem for problem in found.problems), found.problems
    assert "Cannot be rendered:" in found.text()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"file": FileFormat("FFMPEG", "RGB", "8", ".mp4", movie=True)}, "PNG frames instead"),
        ({"scripts": ("rig.py",)}, "Scripts are never run on the farm: rig.py"),
        ({"drivers": ("Cube.location: frame*2",)}, "Drivers that need Python"),
        ({"simulations": (Simulation("Flag", "cloth", baked=True),)}, ""),
    ],
)
def test_what_is_only_worth_knowing_is_a_note(report: Any, change: dict[str, Any], sentence: str) -> None:
    found = report(replace(PLAIN_SCENE, **change))
    assert found.renders
    assert sentence in " ".join(found.notes)


def test_a_movie_becomes_png(report: Any) -> None:
    movie = FileFormat("FFMPEG", "RGB", "8", ".mp4", movie=True)
    assert report(replace(PLAIN_SCENE, file=movie)).format == "PNG"


def test_missing_files_are_named_as_the_artist_knows_them(report: Any, tmp_path: Path) -> None:
    assets = (
        Asset(str(tmp_path / "tex" / "gone.png"), "image", "Wood", missing=True),
        Asset(str(tmp_path / "_outside" / "1" / "b.png"), "image", "Stone", missing=True),
        Asset("/opt/elsewhere.png", "image", "Moss", missing=False),
        Asset(str(tmp_path / "there.png"), "image", "Sand", missing=False),
    )
    left = (LeftOut("/etc/passwd", "it belongs to the system"),)
    facts = replace(PLAIN_SCENE, assets=assets)
    found = report(facts, left_out=left)
    assert found.missing == ("/home/ann/tex/gone.png", "/mnt/b.png", "/opt/elsewhere.png", "/etc/passwd")
    assert "4 files are missing" in found.problems[0]
    assert report(facts, allow_missing=True, left_out=left).renders


def test_a_file_only_blender_knows_of_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, root = tmp_path / "home", tmp_path / "bundle"
    (home / "tex").mkdir(parents=True)
    (home / "tex" / "late.png").write_bytes(PNG)
    root.mkdir()
    asset = Asset(str(root / "tex" / "late.png"), "image", "Late", missing=True)

    def inspect(*_: object) -> SceneFacts:
        return replace(PLAIN_SCENE, assets=(replace(asset, missing=not Path(asset.path).exists()),))

    monkeypatch.setattr(doctor, "inspect", inspect)
    start = replace(bundled(root), scene=home / "shot.blend", folders={"": str(home)})
    checked = examine(start)
    assert checked.report.missing == ()
    assert checked.bundle.manifest.files["tex/late.png"].size == len(PNG)
    assert checked.bundle.sources["tex/late.png"] == str(home / "tex" / "late.png")


def test_the_report_is_json(report: Any) -> None:
    found = report(PLAIN_SCENE)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Report) == found


def test_facts_go_without_the_artists_folders(tmp_path: Path) -> None:
    assets = (
        Asset("/mnt/a.png", "image", "A", missing=False),
        Asset("/home/ann/private/b.png", "image", "B", missing=True),
    )
    facts = replace(PLAIN_SCENE, assets=assets, output_path="/home/ann/out")
    sent = facts_to_send(bundled(tmp_path), facts)
    assert [asset.path for asset in sent.assets] == ["_outside/1/a.png", "b.png"]
    assert b"ann" not in msgspec.json.encode(sent)

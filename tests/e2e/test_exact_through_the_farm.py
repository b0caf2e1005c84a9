# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm delivers equals, in every pixel, what one plain Blender process writes."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SAMPLES, LiveFarm
from tests.support.reference import Plain, assert_same_picture, make_variants, pixels, render_plainly

pytestmark = [pytest.mark.farm, pytest.mark.timeout(900)]


def assert_equals_blender(answer: dict[str, Any], plain: Path) -> None:
    """Each delivered file, and each that a File Output node wrote, is in the plain folder, equal."""
    for frame in answer["frames"]:
        assert frame["exactness"] == "bit-exact"
        main = Path(frame["path"])
        assert_same_picture(main, plain / main.name)
        for other in map(Path, frame["other_files"]):
            (twin,) = plain.rglob(other.name)
            assert_same_picture(other, twin)
    expected = sum(1 for path in plain.rglob("*") if path.is_file())
    assert sum(1 + len(frame["other_files"]) for frame in answer["frames"]) == expected


@pytest.mark.parametrize(
    ("tiles", "options", "settings"),
    [
        ("2x2", ("--samples", 8), {"samples": 8}),
        ("3x2", ("--samples", 3, "--resolution-percentage", 37), {"samples": 3, "resolution_percentage": 37}),
        ("auto", ("--samples", 2, "--seed", 5), {"samples": 2, "seed": 5}),
    ],
)
def test_bmw27(
    farm: LiveFarm,
    shared_scenes: Path,
    tmp_path: Path,
    tiles: str,
    options: tuple[object, ...],
    settings: Any,
) -> None:
    scene = shared_scenes / "bmw27.blend"
    answer = farm.render(scene, tmp_path / "farm", "--frames", 1, "--tiles", tiles, *options)
    assert answer["frames"][0]["tiles"] > 1
    render_plainly(Plain(scene, tmp_path / "plain", **settings))
    assert_equals_blender(answer, tmp_path / "plain")


@pytest.mark.parametrize(
    ("name", "frames", "tiles", "settings"),
    [
        ("orbit", (1, 2, 3, 5), "auto", {"samples": 5, "resolution_percentage": 20}),
        ("orbit", (7,), "3x2", {"samples": 3, "resolution_percentage": 37}),
        ("layers", (1,), "2x2", {"samples": 4, "resolution_percentage": 50}),
        ("layers", (1,), "1x1", {"samples": 3, "resolution_percentage": 37}),
        ("defaults", (1,), "3x2", {"samples": 24, "resolution_percentage": 37}),
        ("defaults", (1,), "auto", {"samples": 100, "resolution_percentage": 5}),
    ],
)
def test_samples(
    farm: LiveFarm, tmp_path: Path, name: str, frames: tuple[int, ...], tiles: str, settings: dict[str, int]
) -> None:
    scene = SAMPLES / f"{name}.blend"
    numbers = ",".join(map(str, frames))
    options = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", value)]
    answer = farm.render(scene, tmp_path / "farm", "--frames", numbers, "--tiles", tiles, *options)
    assert [frame["frame"] for frame in answer["frames"]] == list(frames)
    render_plainly(Plain(scene, tmp_path / "plain", frames, **settings))
    assert_equals_blender(answer, tmp_path / "plain")


@pytest.mark.parametrize(
    "name",
    [
        "border_kept",
        "denoised_adaptive_float",
        "jpeg",
        "multilayer_composited",
        "tiff16",
        "two_layers_cryptomatte_outputs",
        "volume",
    ],
)
def test_awkward_features(farm: LiveFarm, tmp_path: Path, name: str) -> None:
    make_variants(tmp_path, name)
    scene = tmp_path / f"{name}.blend"
    answer = farm.render(scene, tmp_path / "farm", "--frames", 4, "--tiles", "2x2")
    render_plainly(Plain(scene, tmp_path / "plain", (4,)))
    assert_equals_blender(answer, tmp_path / "plain")


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "OPEN_EXR", "OPEN_EXR_MULTILAYER"])
def test_formats_asked_for_on_the_command_line(farm: LiveFarm, tmp_path: Path, name: str) -> None:
    make_variants(tmp_path, "bloom")
    scene = tmp_path / "bloom.blend"
    answer = farm.render(scene, tmp_path / "farm", "--frames", 2, "--format", name)
    render_plainly(Plain(scene, tmp_path / "plain", (2,), format=name))
    assert_equals_blender(answer, tmp_path / "plain")


def test_eevee_is_promised_as_approximate(farm: LiveFarm, tmp_path: Path) -> None:
    options = ("--frames", 3, "--samples", 2, "--resolution-percentage", 20)
    answer = farm.render(SAMPLES / "eevee.blend", tmp_path, *options)
    (frame,) = answer["frames"]
    assert (frame["exactness"], frame["tiles"]) == ("approximate", 1)
    red = pixels(Path(frame["path"]))["R"]
    assert red.shape == (54, 96)
    assert red.min() < red.max()

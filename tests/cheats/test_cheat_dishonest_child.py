# SPDX-License-Identifier: GPL-3.0-or-later
"""The dishonest child does what each cheat's words say: otherwise the farm would catch something else."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from farm_protocol.audits import SPARSE, AuditOrder, SampleRange, crop_name
from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import Lease, RenderSettings, Task, TaskKind
from frame_splitter import exr
from frame_splitter.tiles import relative
from tests.cheats import dishonest_child
from tests.cheats.cheats import CHEATS, PAINTED
from tests.cheats.forger import Forger

pytestmark = pytest.mark.blender

REGION = Tile(32, 0, 64, 32)
BROKEN = [name for name, cheat in CHEATS.items() if cheat.broken]
SAME_PASSES = sorted(set(CHEATS) - {*BROKEN, "wrong-pass", "missing-pass", "slander"})


@dataclass(frozen=True)
class Liar:
    """The forger, asked for tiles of the room."""

    forger: Forger

    def render(self, cheat: str, **changed: Any) -> Path:
        return self.forger.render(cheat, lease(**changed))

    def picture(self, cheat: str, **changed: Any) -> exr.Image:
        return exr.read(self.render(cheat, **changed))


def lease(frame: int = 6, samples: int = 16, seed: int = 7, size: int = 64, region: Tile = REGION) -> Lease:
    task = Task(TaskId("job.1"), JobId("job"), TaskKind.RENDER, frame, region)
    settings = RenderSettings(samples, seed, size * 100 // 64, "OPEN_EXR")
    whole = Tile(0, 0, size, size)
    names = (SceneId("0" * 64), OwnerId("me"))
    return Lease(task, LeaseToken(1), "0", 30.0, *names, settings, size, size, whole, whole)


@pytest.fixture(scope="module")
def liar(forger: Forger) -> Liar:
    return Liar(forger)


def floats(image: exr.Image) -> dict[str, numpy.ndarray]:
    return {f"{part.name}/{name}": pixels for part in image.parts for name, pixels in part.channels.items()}


def differing(one: exr.Image, other: exr.Image) -> set[str]:
    """Channels that differ."""
    first, second = floats(one), floats(other)
    assert list(first) == list(second)
    return {name for name in first if not numpy.array_equal(first[name], second[name])}


def assert_same(one: exr.Image, other: exr.Image) -> None:
    assert differing(one, other) == set()


def combined(image: exr.Image) -> numpy.ndarray:
    return numpy.stack(
        [px for name, px in floats(image).items() if ".Combined." in name and name[-1] in "RGB"]
    )


@pytest.fixture(scope="module")
def honest(liar: Liar) -> exr.Image:
    return liar.picture("")


@pytest.mark.parametrize("name", SAME_PASSES)
def test_every_cheat_differs_from_the_honest_tile_and_looks_like_one(
    liar: Liar, honest: exr.Image, name: str
) -> None:
    picture = exr.check(liar.render(name), REGION.width, REGION.height)
    assert differing(picture, honest)
    assert_same(liar.picture(""), honest)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("half-samples", {"samples": 8}),
        ("three-quarters-samples", {"samples": 12}),
        ("nearly-all-samples", {"samples": 15}),
        ("wrong-seed", {"seed": 8}),
        ("other-frame", {"frame": 11}),
        ("previous-frame", {"frame": 5}),
        ("other-tile", {"region": Tile(0, 0, 32, 32)}),
    ],
)
def test_it_is_what_blender_makes_of_other_settings(liar: Liar, name: str, meant: dict) -> None:
    assert_same(liar.picture(name), liar.picture("", **meant))


def test_half_size_is_half_size(liar: Liar) -> None:
    small = liar.picture("", size=32, region=Tile(16, 0, 32, 16))
    large = liar.picture("half-size")
    for name, pixels in floats(small).items():
        assert numpy.array_equal(floats(large)[name][::2, ::2], pixels)
        assert numpy.array_equal(floats(large)[name][1::2, 1::2], pixels)


def test_denoised_is_smoother_than_the_truth(liar: Liar, honest: exr.Image) -> None:
    def roughness(image: exr.Image) -> float:
        return float(numpy.abs(numpy.diff(combined(image), n=2, axis=2)).mean())

    few = liar.picture("", samples=2)
    assert roughness(liar.picture("eighth-denoised")) < roughness(honest) < roughness(few)


def test_light_that_bounces_once_is_darker(liar: Liar, honest: exr.Image) -> None:
    assert combined(liar.picture("fewer-bounces")).mean() < 0.95 * combined(honest).mean()


def test_without_texture_depth_is_the_same_and_colours_are_not(liar: Liar, honest: exr.Image) -> None:
    changed = differing(liar.picture("dropped-texture"), honest)
    assert changed
    assert all(".Combined." in name for name in changed)


def test_only_the_square_is_painted(liar: Liar, honest: exr.Image) -> None:
    different = (combined(liar.picture("painted")) != combined(honest)).any(axis=0)
    rows, columns = numpy.nonzero(different)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (8, 24, 8, 24)
    assert different.sum() == PAINTED**2


@pytest.mark.parametrize(("name", "passes"), [("cryptomatte", "Crypto"), ("depth", "Depth")])
def test_only_that_pass_is_falsified(liar: Liar, honest: exr.Image, name: str, passes: str) -> None:
    changed = differing(liar.picture(name), honest)
    assert changed
    assert all(passes in channel for channel in changed)


@pytest.mark.parametrize(("name", "gone"), [("wrong-pass", "Depth"), ("missing-pass", "Depth")])
def test_passes_are_not_those_of_the_job(liar: Liar, honest: exr.Image, name: str, gone: str) -> None:
    names = set(floats(liar.picture(name)))
    assert names != set(floats(honest))
    assert not any(gone in one for one in names)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_do_not_pass_the_nodes_own_check(liar: Liar, name: str) -> None:
    with pytest.raises(InvalidInput):
        exr.check(liar.render(name), REGION.width, REGION.height)


def test_slander_is_for_audits_only(liar: Liar, honest: exr.Image, tmp_path: Path) -> None:
    crop = Tile(40, 8, 48, 16)
    order = replace(lease(), audit=AuditOrder((crop,), SampleRange(3, 1)))

    def audit(cheat: str) -> exr.Image:
        files = liar.forger.audit(cheat, order)
        assert list(files) == [crop_name(0), SPARSE]
        (tmp_path / "crop.exr").write_bytes(files[crop_name(0)])
        return exr.read(tmp_path / "crop.exr")

    truth = exr.crop(honest, relative(crop, REGION))
    assert_same(liar.picture("slander"), honest)
    assert_same(audit("half-samples"), truth)
    assert differing(audit("slander"), truth)


def test_lies_are_written_down(liar: Liar) -> None:
    before = (liar.forger.folder / dishonest_child.LIES).read_text().splitlines()
    liar.render("black")
    *old, new = (liar.forger.folder / dishonest_child.LIES).read_text().splitlines()
    assert old == before
    assert '"black"' in new

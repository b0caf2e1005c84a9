# SPDX-License-Identifier: GPL-3.0-or-later
"""Honest devices that add in any order are never rejected, and every cheat on top of one is, by the farm's
own look and verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from farm_protocol.audits import SPARSE, AuditOrder, CheckOrder, Sums
from farm_protocol.device_classes import Summation
from farm_protocol.fields import Tile
from farm_protocol.ids import TaskId
from farm_protocol.records import Lease
from frame_splitter import counts, exr
from frame_splitter.exr import Image
from gpu_worker.checking import FIRST, region_of
from tests.cheats.cheats import CHEATS
from tests.cheats.forger import Forger, forging
from tests.emulated import dishonest
from tests.emulated.stand import lease_of
from tests.reference import run
from verification import sampling
from verification.compare import AuditedFiles, look
from verification.passes import with_first_samples
from verification.pixel_root import pixel_root
from verification.verdict import Case, Outcome, Verdict, judge

pytestmark = pytest.mark.blender

DRAWS = 4
POLICY = sampling.AuditPolicy()
ROUNDING = "other-device"
"""Off by 2e-6: what an order of sums explains, and nothing that anybody gains by."""

LOCAL = frozenset({"painted", "painted-small", "reseeded-dark", "depth-patch", "depth-nan", "matte-patch"})
"""What touches a small part of the tile is found by suspects, and not in every draw."""

WHOLLY = sorted(
    name
    for name, cheat in CHEATS.items()
    if not (cheat.broken or cheat.audits or name in LOCAL | {ROUNDING, "other-tile"})
)
"""The tile here is the whole frame, so that there is no other one."""


@dataclass(frozen=True)
class Room:
    """An emulated node with a scene open that may cheat, and audits of it by the same device."""

    forger: Forger
    lease: Lease
    sums: Sums

    def tile(self, cheat: str) -> Image:
        """A tile as it is submitted."""
        self.forger.tell(cheat)
        path, region = self.forger.folder / "tile.exr", region_of(self.lease)
        answer = self.forger.child.render(self.lease, region, path, lambda done, total: None)
        return counts.plain_counts(exr.read(path), answer.samples)

    def audit(self, order: AuditOrder, folder: Path) -> AuditedFiles:
        """An honest audit's files, as a node hands them in."""
        self.forger.tell("")
        asked, first = replace(self.lease, audit=order), self.forger.folder / FIRST
        first.unlink(missing_ok=True)
        answer = self.forger.child.audit(
            asked, order.crops, order.sparse, self.forger.folder, lambda done, total: None
        )
        shares = answer.samples_of_each or ({},) * len(answer.files)
        for name, most in zip(answer.files, shares, strict=True):
            image = counts.plain_counts(exr.read(self.forger.folder / name), most)
            if name == SPARSE and first.exists():
                image = with_first_samples(image, exr.read(first))
            exr.write(folder / name, image)
        crops = tuple(folder / name for name in answer.files if name != SPARSE)
        sparse = folder / SPARSE if order.sparse else None
        return AuditedFiles(TaskId(folder.name), order, crops, sparse, own=True)

    def verdict(self, tile: Image, draw: int, folder: Path) -> Verdict:
        """What becomes of a tile in one draw."""
        folder.mkdir()
        exr.write(folder / "tile.exr", tile)
        order = CheckOrder(pixel_root([tile]), sums=self.sums)
        area, samples = self.lease.task.tile, self.lease.settings.samples
        draws = sampling.Draws(b"value", bytes([draw]))
        audits = [self.audit(sampling.first_order(draws, area, samples, POLICY), _new(folder / "first"))]
        report = look(folder / "tile.exr", area, samples, order, audits)
        second = sampling.second_order(area, report.suspects, POLICY, report.must)
        if second is not None and not any(crop.different for crop in report.crops):
            audits.append(self.audit(second, _new(folder / "second")))
            report = look(folder / "tile.exr", area, samples, order, audits)
        case = Case(self.lease.task.frame, samples, len(audits), summation=Summation.ANY_ORDER)
        return judge(report, case)

    def verdicts(self, cheat: str, folder: Path) -> Iterator[Verdict]:
        """What becomes of as many tiles, each rendered and summed afresh."""
        for draw in range(DRAWS):
            yield self.verdict(self.tile(cheat), draw, folder / f"{cheat or 'honest'}-{draw}")


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """64x64 pixels, 16 samples, depth and a cryptomatte."""
    blend = tmp_path_factory.mktemp("room") / "room.blend"
    run("cheats.scene", str(blend))
    lease = lease_of(Tile(0, 0, 64, 64), 64, 64, 16, frame=6)
    with forging(tmp_path_factory.mktemp("gpu"), blend, Path(dishonest.__file__)) as forger:
        yield Room(forger, lease, Sums(16))


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """96x54 pixels, up to 96 samples, stopped where the noise is low."""
    blend = Path(__file__).parents[2] / "samples" / "defaults.blend"
    lease = lease_of(Tile(0, 0, 96, 54), 96, 54, 96, percentage=5)
    with forging(tmp_path_factory.mktemp("gpu"), blend, Path(dishonest.__file__)) as forger:
        yield Room(forger, lease, Sums(96, noise_threshold=0.01, min_samples=0))


def test_honest_tiles_are_accepted_in_every_draw(room: Room, tmp_path: Path) -> None:
    for number in range(5):
        for one in room.verdicts("", _new(tmp_path / str(number))):
            assert one.outcome is Outcome.ACCEPTED, one
            assert "up to the order of sums" in one.reason


def test_honest_adaptive_tiles_are_accepted_in_every_draw(adaptive: Room, tmp_path: Path) -> None:
    for one in adaptive.verdicts("", tmp_path):
        assert one.outcome is Outcome.ACCEPTED, one


@pytest.mark.parametrize("cheat", WHOLLY)
def test_a_cheat_that_touches_the_whole_tile_is_rejected_in_every_draw(
    room: Room, tmp_path: Path, cheat: str
) -> None:
    found = list(room.verdicts(cheat, tmp_path))
    assert {one.outcome for one in found} == {Outcome.REJECTED}, found


@pytest.mark.parametrize("cheat", sorted(LOCAL))
def test_a_cheat_in_a_corner_is_rejected_where_its_block_is_looked_at(
    room: Room, tmp_path: Path, cheat: str
) -> None:
    found = list(room.verdicts(cheat, tmp_path))
    assert Outcome.REJECTED in {one.outcome for one in found}, found


def test_who_stops_too_early_and_says_that_it_did_not_is_rejected_in_every_draw(
    adaptive: Room, tmp_path: Path
) -> None:
    found = list(adaptive.verdicts("false-counts", tmp_path))
    assert {one.outcome for one in found} == {Outcome.REJECTED}, found


def test_who_stops_too_early_and_says_so_is_paid_in_no_draw(adaptive: Room, tmp_path: Path) -> None:
    """Rejected where more stopped than one decision could take along, or else rendered again unpaid."""
    found = list(adaptive.verdicts("stops-early", tmp_path))
    assert {one.outcome for one in found} <= {Outcome.REJECTED, Outcome.UNRESOLVED}, found


def test_rounding_as_of_another_device_is_no_cheat(room: Room, tmp_path: Path) -> None:
    found = list(room.verdicts(ROUNDING, tmp_path))
    assert {one.outcome for one in found} == {Outcome.ACCEPTED}, found

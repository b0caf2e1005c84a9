# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of each cheat, over a row of draws: nothing that it may not be, and mostly the right thing.

The draws are fixed, and the crops are cut out of an honest frame, to which re-rendered crops are equal.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.audits import AuditOrder, CheckOrder, SampleRange
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import Lease, RenderSettings, Task, TaskKind
from frame_splitter import exr
from frame_splitter.tiles import relative
from tests.cheats.caught import CAUGHT, is_said, may_be_said
from tests.cheats.forger import Forger
from tests.cheats.raw_node import root_of
from verification import sampling
from verification.compare import AuditedFiles, look
from verification.verdict import Case, Outcome, Verdict, judge

pytestmark = pytest.mark.blender

WHOLE = Tile(0, 0, 128, 128)
FRAME, SAMPLES = 6, 16
DRAWS = 12
MOSTLY = 0.7
POLICY = sampling.AuditPolicy()
LOCAL = frozenset({"painted", "depth-patch", "depth-nan", "matte-patch"})
"""They touch a small part of the tile, which random crops mostly miss."""


def lease() -> Lease:
    task = Task(TaskId("job.1"), JobId("job"), TaskKind.RENDER, FRAME, WHOLE)
    settings = RenderSettings(SAMPLES, 7, 200, "OPEN_EXR")
    names = (SceneId("0" * 64), OwnerId("me"))
    return Lease(task, LeaseToken(1), "0", 30.0, *names, settings, 128, 128, WHOLE, WHOLE)


@pytest.fixture(scope="module")
def truth(forger: Forger) -> exr.Image:
    return exr.read(forger.render("", lease()))


def audit(name: str, truth: exr.Image, crops: tuple[Tile, ...], folder: Path) -> AuditedFiles:
    """An honest auditor's crops."""
    paths = tuple(folder / f"{name}-{number}.exr" for number in range(len(crops)))
    for path, crop in zip(paths, crops, strict=True):
        exr.write(path, exr.crop(truth, relative(crop, WHOLE)))
    return AuditedFiles(TaskId(name), AuditOrder(crops), paths, own=True)


def verdicts(submitted: Path, truth: exr.Image, folder: Path) -> Iterator[Verdict]:
    """What becomes of a tile in each draw, by its random crops alone."""
    order = CheckOrder(root_of(submitted.read_bytes()))
    for number in range(DRAWS):
        draws = sampling.Draws(b"value", bytes([number]))
        one = audit("random", truth, sampling.random_crops(draws, WHOLE, POLICY), folder)
        yield judge(look(submitted, WHOLE, SAMPLES, order, [one]), Case(FRAME, SAMPLES, 1))


def test_an_honest_tile_is_accepted_in_every_draw(forger: Forger, truth: exr.Image, tmp_path: Path) -> None:
    found = list(verdicts(forger.render("", lease()), truth, tmp_path))
    assert {one.outcome for one in found} == {Outcome.ACCEPTED}


@pytest.mark.parametrize("cheat", sorted(set(CAUGHT) - LOCAL))
def test_what_touches_every_pixel_is_rejected_in_every_draw_and_mostly_for_what_it_is(
    forger: Forger, truth: exr.Image, tmp_path: Path, cheat: str
) -> None:
    found = list(verdicts(forger.render(cheat, lease()), truth, tmp_path))
    assert {one.outcome for one in found} == {Outcome.REJECTED}
    assert all(may_be_said(cheat, one) for one in found), found
    assert sum(is_said(CAUGHT[cheat], one) for one in found) >= MOSTLY * DRAWS, found


@pytest.mark.parametrize("cheat", sorted(LOCAL))
def test_what_touches_a_region_is_found_by_the_sparse_pass(
    forger: Forger, truth: exr.Image, tmp_path: Path, cheat: str
) -> None:
    """Whichever of the samples it takes, in all draws but a few."""
    submitted = tmp_path / "submitted.exr"
    submitted.write_bytes(forger.render(cheat, lease()).read_bytes())
    order = CheckOrder(root_of(submitted.read_bytes()))
    found = []
    for first in range(0, SAMPLES - 1, 2):
        crops = (Tile(0, 0, 8, 8),)
        few = SampleRange(first, POLICY.sparse_samples)
        exr.write(tmp_path / "sparse.exr", forger.sparse(lease(), few))
        one = audit("random", truth, crops, tmp_path)
        one = AuditedFiles(one.task, AuditOrder(crops, few), one.crops, tmp_path / "sparse.exr", own=True)
        report = look(submitted, WHOLE, SAMPLES, order, [one])
        second = sampling.second_order(WHOLE, report.suspects, POLICY)
        assert second is not None
        again = look(submitted, WHOLE, SAMPLES, order, [one, audit("second", truth, second.crops, tmp_path)])
        found.append(judge(again, Case(FRAME, SAMPLES, 2)))
    assert sum(may_be_said(cheat, one) for one in found) >= MOSTLY * len(found), found
    assert all(one.outcome is Outcome.REJECTED or cheat == "painted" for one in found), found

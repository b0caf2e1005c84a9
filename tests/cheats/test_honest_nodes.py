# SPDX-License-Identifier: GPL-3.0-or-later
"""Honest nodes in scenes of which the farm does not know that they cannot be cut: nobody is rejected, the
job goes on with whole frames, and what is delivered is Blender's.

A volume is sampled with the help of neighbouring pixels. Here the farm is not told, as of any other reason
that nobody has thought of.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cheats.farm import CheatedFarm, Story
from tests.support.reference import Plain, assert_same_picture, make_variants, render_plainly
from verification.audit.verdict import AS_ASKED, Outcome
from verification.receipts import replay

pytestmark = [pytest.mark.farm, pytest.mark.timeout(300)]

FRAMES = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def unknown(cheated: CheatedFarm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with a reason to stay whole that its facts do not tell."""
    folder = tmp_path_factory.mktemp("unknown")
    make_variants(folder, "volume")
    blend = folder / "volume.blend"
    scene, facts = cheated.offer(blend)
    assert facts.whole_only
    cheated.scenes[blend] = scene, replace(facts, whole_only=())
    return blend


@pytest.fixture(scope="module")
def plain(unknown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    render_plainly(Plain(unknown, folder, FRAMES))
    return folder


def assert_nobody_is_blamed(story: Story) -> None:
    verdicts = [one.verdict for one in story.record.submissions if one.verdict]
    assert all(one.outcome is not Outcome.REJECTED for one in verdicts), verdicts
    assert replay.replay(story.record) == []


def assert_blenders(story: Story, plain: Path) -> None:
    assert sorted(story.files) == list(FRAMES)
    for path in story.files.values():
        assert_same_picture(path, plain / path.name)


def test_whole_frames_that_cannot_be_audited_in_crops(
    cheated: CheatedFarm, unknown: Path, plain: Path
) -> None:
    story = cheated.render(unknown, "", frames=FRAMES, tiles="1x1")
    assert_nobody_is_blamed(story)
    honest = [one.verdict for one in story.submissions(cheated.liar.node) if one.verdict]
    assert AS_ASKED in {one.code for one in honest}, cheated.logs()
    job = cheated.client.job(story.record.job)
    assert job.fallback.startswith("Crops of this scene's tiles do not equal the tiles")
    # On a machine that is slow it may be told as well that the job stood still for a while.
    assert job.fallback in {one["detail"] for one in story.of_kind("notice")}
    assert job.exactness == "bit-exact"
    assert job.audits.rejected == 0
    assert_blenders(story, plain)


def test_tiles_that_do_not_equal_whole_frames(cheated: CheatedFarm, unknown: Path, plain: Path) -> None:
    """Whichever finds it first: the look at the seams, or an audit."""
    story = cheated.render(unknown, "", frames=FRAMES, tiles="2x2")
    assert_nobody_is_blamed(story)
    job = cheated.client.job(story.record.job)
    assert job.fallback
    assert job.reason.endswith(job.fallback)
    assert_blenders(story, plain)


def test_a_liar_in_such_a_scene_is_still_rejected(cheated: CheatedFarm, unknown: Path, plain: Path) -> None:
    story = cheated.render(unknown, "half-samples", frames=FRAMES, tiles="1x1")
    lied = {(one.frame, one.region) for one in story.lies}
    decided = [
        one.verdict
        for one in story.submissions(cheated.liar.node)
        if (one.task.frame, one.task.tile) in lied and one.verdict
    ]
    assert all(one.outcome is not Outcome.ACCEPTED for one in decided), decided
    assert (
        any(one.outcome is Outcome.REJECTED for one in decided)
        or cheated.client.job(story.record.job).fallback
    )
    assert replay.replay(story.record) == []
    assert_blenders(story, plain)

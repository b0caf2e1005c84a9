# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way of cheating with pixels, by a real node in a real farm: caught, by the right stage, with the
right sentence; done again by somebody else; and the artist's frame is Blender's.
"""

import re
from pathlib import Path

import pytest

from tests.cheats.caught import CAUGHT, may_be_said
from tests.cheats.farm import CheatedFarm, Lie, Story
from tests.support.reference import assert_same_picture
from verification.audit.records import SubmissionRecord
from verification.audit.verdict import Outcome

pytestmark = [pytest.mark.farm, pytest.mark.timeout(300)]

FRAMES = (5, 6, 7)
SIZE = {"tiles": "1x1", "resolution_percentage": 200}
"""128x128 pixels, of which an audit renders four crops of 8x8: fewer could not tell why pixels differ."""


def told_about(story: Story, lie: Lie, liar: str) -> SubmissionRecord:
    """The submission a lie became."""
    (found,) = [
        one for one in story.submissions(liar) if (one.task.frame, one.task.tile) == (lie.frame, lie.region)
    ]
    return found


def assert_redone(story: Story, liar: str) -> None:
    """Every tile was accepted, and none that was lied about from the liar."""
    assert {frame for frame, _ in story.accepted} == set(FRAMES)
    for lie in story.lies:
        assert story.accepted[lie.frame, lie.region] not in (None, liar)


def assert_blenders(story: Story, plain: Path) -> None:
    for path in story.files.values():
        assert_same_picture(path, plain / path.name)


@pytest.mark.parametrize("cheat", CAUGHT)
def test_a_cheat_is_caught_and_its_work_done_again(
    cheated: CheatedFarm, room: Path, plain_large: Path, cheat: str
) -> None:
    story = cheated.render(room, cheat, frames=FRAMES, **SIZE)
    assert story.lies, cheated.logs()
    for lie in story.lies:
        record = told_about(story, lie, cheated.liar.node)
        assert record.verdict is not None
        assert record.verdict.outcome is Outcome.REJECTED, record.verdict
        assert may_be_said(cheat, record.verdict), (record.verdict, record.report)
    assert_redone(story, cheated.liar.node)
    assert len(story.files) == len(FRAMES)
    assert_blenders(story, plain_large)


def test_a_frame_handed_in_twice_is_named(cheated: CheatedFarm, room: Path, plain_large: Path) -> None:
    """The frame before is somebody's honest work: it is named as soon as the farm has seen it. The liar may
    be quicker once or twice; then only the difference can be told.
    """
    for _ in range(5):
        story = cheated.render(room, "previous-frame", frames=FRAMES, **SIZE)
        assert story.lies
        verdicts = [told_about(story, lie, cheated.liar.node).verdict for lie in story.lies]
        assert all(one is not None and one.outcome is Outcome.REJECTED for one in verdicts), verdicts
        assert_redone(story, cheated.liar.node)
        assert_blenders(story, plain_large)
        if any(one is not None and one.code == "other_frame" for one in verdicts):
            break
    (named, *_) = [one for one in verdicts if one is not None and one.code == "other_frame"]
    assert re.search(r"Pixels of frame \d+ where frame \d+ was asked", named.reason)


@pytest.mark.parametrize(
    ("cheat", "codes"),
    [
        ("other-tile", {"differs", "too_few_samples"}),
        ("wrong-pass", {"differs", "wrong_passes"}),
        ("missing-pass", {"differs", "wrong_passes"}),
    ],
)
def test_what_may_be_caught_in_two_ways(
    cheated: CheatedFarm, room: Path, plain_room: Path, cheat: str, codes: set[str]
) -> None:
    """One small crop may not tell why it differs; and what passes there should be is known from the
    first accepted tile on, before that only from the audit.
    """
    story = cheated.render(room, cheat, frames=(FRAMES), tiles="2x2")
    assert story.lies
    for lie in story.lies:
        verdict = told_about(story, lie, cheated.liar.node).verdict
        assert verdict is not None
        assert verdict.outcome is Outcome.REJECTED
        assert verdict.code in codes, verdict
    assert_redone(story, cheated.liar.node)
    assert_blenders(story, plain_room)


def test_an_honest_node_is_believed(cheated: CheatedFarm, room: Path, plain_large: Path) -> None:
    story = cheated.render(room, "", frames=FRAMES, **SIZE)
    honest = story.submissions(cheated.liar.node)
    assert honest
    assert all(one.verdict and one.verdict.outcome is Outcome.ACCEPTED for one in honest)
    assert all(one.audits for one in honest)
    assert_blenders(story, plain_large)

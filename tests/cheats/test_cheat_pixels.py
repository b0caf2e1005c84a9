# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way of cheating with pixels, by a real node in a real farm: caught, by the right stage, with the
right sentence; done again by somebody else; and the artist's frame is Blender's.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from frame_splitter.fields import Tile
from tests.cheats.farm import CheatedFarm, Lie, Story
from tests.reference import assert_same_picture
from verification.records import SubmissionRecord
from verification.verdict import Outcome

pytestmark = [pytest.mark.farm, pytest.mark.timeout(300)]

FRAME = 6


@dataclass(frozen=True)
class Caught:
    """How a cheat should end: the verdict's code, and what its sentence says. `audits`: it takes one."""

    code: str
    words: str
    audits: bool = True


CAUGHT = {
    "half-samples": Caught("too_few_samples", r"about (7|8|9) of 16 samples"),
    "three-quarters-samples": Caught("too_few_samples", r"about 1[0-4] of 16 samples"),
    "nearly-all-samples": Caught("differs", r"differ"),
    "eighth-denoised": Caught("differs", r"differ"),
    "half-size": Caught("differs", r"differ"),
    "other-frame": Caught("differs", r"differ"),
    "previous-frame": Caught("differs", r"differ"),
    "other-tile": Caught("differs", r"differ"),
    "wrong-seed": Caught("differs", r"differ"),
    "fewer-bounces": Caught("differs", r"differ"),
    "dropped-texture": Caught("differs", r"differ"),
    "painted": Caught("region", r"\d+x\d+ px region"),
    "black": Caught("differs", r"differ"),
    "grey": Caught("differs", r"differ"),
    "noise": Caught("differs", r"differ"),
    "cryptomatte": Caught("differs", r"differ"),
    "depth": Caught("differs", r"differ"),
    "wrong-pass": Caught("wrong_passes", r"pass", audits=False),
    "missing-pass": Caught("wrong_passes", r"pass", audits=False),
}


def told_about(story: Story, lie: Lie, liar: str) -> SubmissionRecord:
    """The submission a lie became."""
    (found,) = [
        one for one in story.submissions(liar) if (one.task.frame, one.task.tile) == (lie.frame, lie.region)
    ]
    return found


def final(story: Story, frame: int, tile: Tile) -> SubmissionRecord:
    """The accepted submission of a tile."""
    (found,) = [
        one
        for one in story.record.submissions
        if (one.task.frame, one.task.tile) == (frame, tile)
        and one.verdict is not None
        and one.verdict.outcome is Outcome.ACCEPTED
    ]
    return found


def assert_redone(story: Story, liar: str) -> None:
    """Every tile was accepted once, and none that was lied about came from the liar."""
    for lie in story.lies:
        assert final(story, lie.frame, lie.region).node != liar


def assert_blenders(story: Story, plain: Path, *frames: int) -> None:
    for frame in frames:
        assert_same_picture(story.files[frame], plain / story.files[frame].name)


@pytest.mark.parametrize("cheat", CAUGHT)
def test_a_cheat_is_caught_and_its_work_done_again(
    cheated: CheatedFarm, room: Path, plain_room: Path, cheat: str
) -> None:
    expected = CAUGHT[cheat]
    story = cheated.render(room, cheat, frames=(FRAME,), tiles="2x2")
    assert story.lies, cheated.logs()
    for lie in story.lies:
        record = told_about(story, lie, cheated.liar.node)
        assert record.verdict is not None
        assert record.verdict.outcome is Outcome.REJECTED, record.verdict
        assert record.verdict.code == expected.code, record.verdict
        assert re.search(expected.words, record.verdict.reason), record.verdict
    assert_redone(story, cheated.liar.node)
    assert_blenders(story, plain_room, FRAME)


def test_an_honest_node_is_believed(cheated: CheatedFarm, room: Path, plain_room: Path) -> None:
    story = cheated.render(room, "", frames=(1, 2, 3), tiles="2x2")
    assert story.submissions(cheated.liar.node)
    verdicts = [one.verdict for one in story.record.submissions]
    assert all(one is not None and one.outcome is Outcome.ACCEPTED for one in verdicts)
    assert_blenders(story, plain_room, 1, 2, 3)

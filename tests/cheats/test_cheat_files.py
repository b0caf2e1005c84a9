# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that no honest node's program would hand in, handed in by a program that is none.

They reach the farm's own node, whose limited process must refuse each for what it is, and live.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm_protocol.ids import JobId
from farm_protocol.records import JobSpec, TaskResult
from tests.cheats.farm import CheatedFarm
from tests.cheats.forger import Forger
from tests.cheats.raw_node import RawNode, as_lease, raw_node
from tests.reference import assert_same_picture
from verification.records import JobVerification, SubmissionRecord
from verification.verdict import Outcome

pytestmark = [pytest.mark.farm, pytest.mark.timeout(300)]

FRAME = 6

Prepare = Callable[[RawNode, dict[str, Any], TaskResult], TaskResult]


@pytest.fixture(scope="module")
def raw(cheated: CheatedFarm) -> RawNode:
    """A program of the artist's that says it is a node of the own node's device class."""
    (own,) = [one for one in cheated.operator.ok("GET", "/nodes")["nodes"] if one["own"]]
    return raw_node(cheated.artist, "raw", own["device_class"])


def hand_in(
    farm: CheatedFarm, raw: RawNode, forger: Forger, room: Path, cheat: str, prepare: Prepare | None = None
) -> tuple[JobVerification, SubmissionRecord, Path]:
    """Submit one forged tile of a job; what the farm made of it, and the job's frame."""
    scene, facts = farm.offer(room)
    farm.liar.is_told("")
    job = farm.client.submit(JobSpec(scene, frames=(FRAME,), tiles="4x4"), facts).job
    lease = take_lease(raw, job)
    forged = forger.render(cheat, as_lease(lease)).read_bytes()
    result = raw.uploaded(lease, forged)
    answer = raw.submit(lease, raw.signed(lease, prepare(raw, lease, result) if prepare else result))
    assert answer.status == 200, answer
    assert answer.body["state"] == "submitted"
    for _ in farm.client.events(job):
        pass
    record = farm.client.verification(job)
    (mine,) = [one for one in record.submissions if one.node == raw.id]
    (frame,) = farm.client.frames(job)
    assert frame.files, farm.logs()
    target = farm.folder / "frames" / job / f"{FRAME:04d}.exr"
    target.parent.mkdir(parents=True)
    return record, mine, farm.client.download(frame.files[0], target)


def take_lease(raw: RawNode, job: JobId) -> dict[str, Any]:
    """One of the job's tiles; leases that are left of older jobs are none of this test's."""
    (lease,) = raw.lease(wait=20, kinds=["render"])
    assert lease["task"]["job"] == job
    return lease


def assert_refused(record: JobVerification, mine: SubmissionRecord, code: str, words: str) -> None:
    """Rejected with this code and sentence, and rendered again by somebody else."""
    assert mine.verdict is not None
    assert (mine.verdict.outcome, mine.verdict.code) == (Outcome.REJECTED, code), mine.verdict
    assert re.search(words, mine.verdict.reason), mine.verdict
    again = [one for one in record.submissions if one.task.id == mine.task.id][-1]
    assert again.verdict is None or again.verdict.outcome is Outcome.ACCEPTED
    assert again.node != mine.node


@pytest.mark.parametrize(
    ("cheat", "code", "words"),
    [
        ("nan", "not_finite", r"1 values? that (is|are) (no|not) "),
        ("infinite", "not_finite", r"1 values? that (is|are) (no|not) "),
        ("truncated", "undecodable", "damaged or cut off"),
        ("bomb", "too_large", "no render of this size"),
        ("huge", "undecodable", "cut off before its pixels"),
    ],
)
def test_a_broken_file_is_refused_for_what_it_is(
    cheated: CheatedFarm,
    raw: RawNode,
    forger: Forger,
    room: Path,
    plain_room: Path,
    cheat: str,
    code: str,
    words: str,
) -> None:
    before = own_node_process(cheated)
    record, mine, frame = hand_in(cheated, raw, forger, room, cheat)
    assert_refused(record, mine, code, words)
    assert_same_picture(frame, plain_room / frame.name)
    assert own_node_process(cheated) == before


def own_node_process(farm: CheatedFarm) -> object:
    return farm.farm.part("node").process()


def test_other_pixels_than_signed_are_refused(
    cheated: CheatedFarm, raw: RawNode, forger: Forger, room: Path, plain_room: Path
) -> None:
    """The picture is right, but its signature promises another one."""

    def sign_others(node: RawNode, lease: dict[str, Any], result: TaskResult) -> TaskResult:
        return replace(result, pixel_root="ab" * 32)

    record, mine, frame = hand_in(cheated, raw, forger, room, "", sign_others)
    assert_refused(record, mine, "wrong_root", "not those its node signed")
    assert_same_picture(frame, plain_room / frame.name)

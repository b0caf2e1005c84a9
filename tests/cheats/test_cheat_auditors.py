# SPDX-License-Identifier: GPL-3.0-or-later
"""Auditors that lie, peek or refuse: the honest node they audit loses nothing, and they are told apart."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from farm_protocol.fields import encode
from farm_protocol.records import TaskKind
from tests.api_calls import under
from tests.cheats.farm import CheatedFarm, Story, running
from tests.cheats.forger import Forger
from tests.cheats.raw_node import RawNode, as_lease, raw_node
from tests.reference import assert_same_picture
from verification.records import AuditRecord, SubmissionRecord
from verification.verdict import Outcome

pytestmark = [pytest.mark.farm, pytest.mark.timeout(300)]

FRAME = 8


@pytest.fixture(scope="module")
def cheated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheatedFarm]:
    """A farm whose own node leaves audits to strangers, as far as nobody does too many."""
    with running(tmp_path_factory.mktemp("audited"), rules=(("--audit-own-first", "0"),)) as farm:
        yield farm


@pytest.fixture
def rival(cheated: CheatedFarm, request: pytest.FixtureRequest) -> RawNode:
    """A node of a third party, which is asked to audit before the own node is. Each test has its own: who
    failed an audit does none for long.
    """
    (own,) = [one for one in cheated.operator.ok("GET", "/nodes")["nodes"] if one["own"]]
    name = f"rival {request.node.name[:40]}"
    return raw_node(cheated.operator.owner(name), name, own["device_class"])


Answer = Callable[[dict[str, Any]], None]


@contextmanager
def auditing(rival: RawNode, answer: Answer) -> Iterator[list[dict[str, Any]]]:
    """The rival audits as long as the block lasts, as `answer` has it; yields the leases it got."""
    leases: list[dict[str, Any]] = []
    over = Event()

    def work() -> None:
        while not over.is_set():
            for lease in rival.lease(wait=1, kinds=[TaskKind.AUDIT]):
                leases.append(lease)
                answer(lease)

    rival.lease(kinds=[TaskKind.AUDIT])  # it is online from its first word on
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield leases
        finally:
            over.set()
        working.result()


def by_rival(story: Story, rival: RawNode) -> list[tuple[SubmissionRecord, AuditRecord]]:
    return [
        (one, audit) for one in story.record.submissions for audit in one.audits if audit.node == rival.id
    ]


def test_an_honest_node_that_is_slandered_keeps_its_name(
    cheated: CheatedFarm, rival: RawNode, forger: Forger, room: Path, plain_room: Path
) -> None:
    """Every audit is answered with noise."""

    def slander(lease: dict[str, Any]) -> None:
        files = forger.audit("slander", as_lease(lease))
        answer = rival.submit(lease, rival.signed(lease, rival.audited(lease, files)))
        assert answer.status == 200, answer

    with auditing(rival, slander) as leases:
        story = cheated.render(room, "", frames=(FRAME,), tiles="2x2")
    assert leases, cheated.logs()
    contradicted = by_rival(story, rival)
    assert contradicted
    for submission, audit in contradicted:
        assert audit.contradicted, submission
        assert submission.verdict is not None
        assert submission.verdict.outcome is Outcome.ACCEPTED, submission.verdict
    assert_same_picture(story.files[FRAME], plain_room / story.files[FRAME].name)
    standing = {one["node"]: one["standing"] for one in cheated.operator.ok("GET", "/nodes")["nodes"]}
    assert standing[rival.id]["failed"] >= 1
    assert standing[rival.id]["passed"] == 0


def test_auditors_are_told_nothing_of_the_submitted_pixels(
    cheated: CheatedFarm, rival: RawNode, room: Path, plain_room: Path
) -> None:
    """Nor does one that looks at everything it is given and then gives it back hold a job up."""
    told: list[str] = []

    def peek(lease: dict[str, Any]) -> None:
        path = under(lease)
        scene = rival.ok("GET", f"{path}/scene?token={lease['token']}")
        others = [
            rival.call("GET", f"/jobs/{lease['task']['job']}/{what}")
            for what in ("verification", "tasks", f"frames/{FRAME + 1}/receipt")
        ]
        assert all(one.status in (403, 404) for one in others), others
        told.append(encode([lease, scene, [one.body for one in others]]).decode())
        failure = {"code": "node", "message": "This node would rather not.", "bad_inputs": []}
        rival.ok("POST", f"{path}/failure?token={lease['token']}", failure)

    with auditing(rival, peek):
        story = cheated.render(room, "", frames=(FRAME + 1,), tiles="2x2")
    assert told, cheated.logs()
    secrets = {one.attestation.pixelRoot for one in story.record.submissions}
    secrets |= {one.attestation.object for one in story.record.submissions}
    assert not any(secret in text for secret in secrets for text in told)
    honest = story.submissions(cheated.liar.node)
    assert honest
    assert all(one.verdict and one.verdict.outcome is Outcome.ACCEPTED for one in honest)
    assert_same_picture(story.files[FRAME + 1], plain_room / story.files[FRAME + 1].name)

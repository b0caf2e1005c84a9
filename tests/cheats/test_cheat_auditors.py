# SPDX-License-Identifier: GPL-3.0-or-later
"""Auditors that lie, peek or sleep: the honest node they audit loses nothing, and they are told apart."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from frame_splitter.fields import encode
from frame_splitter.records import TaskKind
from tests.cheats.farm import CheatedFarm, Story
from tests.cheats.forger import Forger
from tests.cheats.raw_node import RawNode, as_lease, raw_node
from tests.reference import assert_same_picture
from verification.records import AuditRecord, SubmissionRecord
from verification.verdict import Outcome

pytestmark = [pytest.mark.farm, pytest.mark.timeout(300)]

FRAME = 8


@pytest.fixture(scope="module")
def rival(cheated: CheatedFarm) -> RawNode:
    """A node of a third party, which is asked to audit before the own node is."""
    (own,) = [one for one in cheated.operator.ok("GET", "/nodes")["nodes"] if one["own"]]
    return raw_node(cheated.operator.owner("rival"), "rival", own["device_class"])


def audits_of(rival: RawNode) -> Iterator[dict[str, Any]]:
    """Leases of audits, as they come, until there are none for a while."""
    while leases := rival.lease(wait=8, kinds=[TaskKind.AUDIT]):
        yield from leases


def slander(rival: RawNode, forger: Forger) -> list[dict[str, Any]]:
    """Answer every audit with noise; the leases it was done under."""
    done = []
    for lease in audits_of(rival):
        files = forger.audit("slander", as_lease(lease))
        answer = rival.submit(lease, rival.signed(lease, rival.audited(lease, files)))
        assert answer.status == 200, answer
        done.append(lease)
    return done


def by_rival(story: Story, rival: RawNode) -> list[tuple[SubmissionRecord, AuditRecord]]:
    return [
        (one, audit) for one in story.record.submissions for audit in one.audits if audit.node == rival.id
    ]


def test_an_honest_node_that_is_slandered_keeps_its_name(
    cheated: CheatedFarm, rival: RawNode, forger: Forger, room: Path, plain_room: Path
) -> None:
    rival.lease(kinds=[TaskKind.AUDIT])  # it is online from its first word on
    with ThreadPoolExecutor(1) as pool:
        slandering = pool.submit(slander, rival, forger)
        story = cheated.render(room, "", frames=(FRAME,), tiles="2x2")
        leases = slandering.result()
    assert leases, cheated.logs()
    assert all(one["inputs"] == [] for one in leases)
    contradicted = by_rival(story, rival)
    assert contradicted
    for submission, audit in contradicted:
        assert audit.contradicted, submission
        assert submission.verdict is not None
        assert submission.verdict.outcome is Outcome.ACCEPTED, submission.verdict
    assert_same_picture(story.files[FRAME], plain_room / story.files[FRAME].name)
    standing = {one["node"]: one["standing"] for one in cheated.operator.ok("GET", "/nodes")["nodes"]}
    assert standing[rival.id]["failed"] >= 1
    assert standing[cheated.liar.node]["failed"] == 0


def test_auditors_are_told_nothing_of_the_submitted_pixels(
    cheated: CheatedFarm, rival: RawNode, room: Path, plain_room: Path
) -> None:
    """Nor does one that takes audits and never answers hold a job up for good."""
    with ThreadPoolExecutor(1) as pool:
        peeking = pool.submit(lambda: list(audits_of(rival)))
        story = cheated.render(room, "", frames=(FRAME + 1,), tiles="2x2")
        leases = peeking.result()
    assert leases
    secrets = {one.attestation.pixelRoot for one in story.record.submissions}
    secrets |= {one.attestation.object for one in story.record.submissions}
    for lease in leases:
        told = encode(lease).decode()
        assert not any(secret in told for secret in secrets)
        scene = rival.call("GET", f"/leases/{lease['task']['id']}/scene?token={lease['token']}")
        assert not any(secret in encode(scene.body).decode() for secret in secrets)
    assert all(one.verdict and one.verdict.outcome is Outcome.ACCEPTED for one in story.record.submissions)
    assert_same_picture(story.files[FRAME + 1], plain_room / story.files[FRAME + 1].name)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a submission through the real coordinator: receipts, rounds, audits, checks and verdicts.

Nodes here speak HTTP; pictures are a few bytes, and a check finds what the test says.
"""

from dataclasses import replace

import pytest

from frame_splitter.audits import CropFinding
from frame_splitter.fields import Tile, decode, encode
from tests import servers
from tests.api_calls import FINE, Api
from verification import replay
from verification.records import JobVerification

DIFFERENT = replace(FINE, crops=(CropFinding(Tile(0, 0, 8, 8), different=64, rmse=0.5),))


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory, seaweed_server):
    """A coordinator that audits everything, its own nodes' work too, and never repeats an audit."""
    folder = tmp_path_factory.mktemp("strict")
    options = ("--audit-own", "1", "--audit-floor", "1", "--audit-repeat", "0", "--beacon-period", "0.05")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(folder / "process", store.url, seaweed_server, *options) as running,
    ):
        yield running


@pytest.fixture
def admin(strict_server):
    return Api(strict_server.url, strict_server.admin_token)


@pytest.fixture
def ann(admin):
    return admin.owner()


@pytest.fixture
def guest(admin):
    """A stranger's node."""
    return admin.owner("bob").node("guest")


@pytest.fixture
def own(admin):
    return admin.node("own", own=True)


@pytest.fixture
def device(request):
    """A device class that no other test's nodes have."""
    return f"cpu:{request.node.name}:5.0.1"


def of(node, device):
    node.device = device
    return node


def wait_for(node, kind, tries=20):
    """The node's next lease, which must be of this kind; the round may still have to come."""
    for _ in range(tries):
        if leases := node.lease(wait=1.0):
            assert [lease["task"]["kind"] for lease in leases] == [kind]
            return leases[0]
    raise AssertionError(f"there was no {kind}")


def verification(owner, job):
    return decode(encode(owner.ok("GET", f"/jobs/{job}/verification")), JobVerification)


def task_of(owner, job, number=0):
    return owner.ok("GET", f"/jobs/{job}/tasks")["tasks"][number]


def test_audited_and_accepted(ann, guest, own, device):
    of(guest, device), of(own, device)
    job = ann.job(frames=(1,))
    lease = guest.lease()[0]
    assert guest.do(lease)["state"] == "submitted"
    audit = wait_for(own, "audit")
    assert audit["audit"]["crops"], audit
    assert audit["inputs"] == []
    own.do(audit, b"crops")
    check = wait_for(own, "check")
    assert check["inputs"][0]["task"] == lease["task"]["id"]
    assert [one["task"] for one in check["check"]["audits"]] == [audit["task"]["id"]]
    assert task_of(ann, job)["state"] == "auditing"
    own.do(check)
    assert task_of(ann, job)["state"] == "accepted"
    own.do(wait_for(own, "finish"))
    told = ann.ok("GET", f"/jobs/{job}")
    assert told["state"] == "complete"
    assert told["audits"] == {"audited": 1, "passed": 1, "rejected": 0, "unresolved": 0}
    found = verification(ann, job)
    assert replay.replay(found) == []

# SPDX-License-Identifier: GPL-3.0-or-later
"""A farm that changes how often and how it audits: older jobs keep the rules they began with."""

from farm_protocol.fields import decode, encode
from farm_protocol.records import TaskKind
from tests import servers
from tests.api_calls import STRANGERS_ONLY, Api
from verification import receipts, replay
from verification.records import JobVerification


def next_of(node, kind):
    for _ in range(20):
        if leases := node.lease(wait=1.0, kinds=(TaskKind(kind),)):
            return leases[0]
    raise AssertionError(f"there was no {kind}")


def audited(own):
    """The own node renders a tile, audits it and looks at it."""
    own.do(own.lease(kinds=(TaskKind.RENDER,))[0])
    own.do(next_of(own, "audit"))
    own.do(next_of(own, "check"))


def test_older_jobs_keep_their_rules(tmp_path, seaweed_server):
    options = ("--audit-own", "1", *STRANGERS_ONLY, "--beacon-period", "0.05")
    with (
        servers.valkey(tmp_path / "valkey") as store,
        servers.coordinator(tmp_path / "process", store.url, seaweed_server, *options) as running,
    ):
        admin = Api(running.url, running.admin_token)
        own, job = admin.node("own", own=True), admin.job(frames=(1,), tiles="2x1")
        audited(own)
        running.stop()
        running.command += ["--audit-own", "0.5", "--audit-floor", "0.4", "--audit-crops", "1"]
        running.start()
        # A job under way goes on by them, too: the second tile is audited for certain.
        audited(own)
        own.do(next_of(own, "finish"))
        record = decode(encode(admin.ok("GET", f"/jobs/{job}/verification")), JobVerification)
        assert replay.replay(record) == []
        assert [one.receipt.rate for one in record.submissions] == [1_000_000, 1_000_000]
        document = admin.http.request(
            "GET",
            f"{admin.url}/api/v1/jobs/{job}/frames/1/receipt",
            headers={"Authorization": f"Bearer {admin.token}"},
        ).data
        assert receipts.verify(document, admin.ok("GET", "/farm")["address"]) == []
        assert admin.ok("GET", "/farm")["rates"]["own"] == 500_000

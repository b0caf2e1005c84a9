# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes at a coordinator: who probes, who is told, and what a quote says of what was measured."""

import threading
from dataclasses import dataclass, field, replace

import pytest

from farm_protocol.probes import Measure, ProbeReport
from farm_protocol.records import FailureCode, JobSpec, TaskFailure, TaskKind
from render_farm.quotes import MOST_AT_ONCE
from tests.api_calls import FACTS, Api, under

KINDS = (TaskKind.RENDER, TaskKind.FINISH, TaskKind.AUDIT, TaskKind.PROBE)
PIXELS = FACTS.resolution_x * FACTS.resolution_y


@pytest.fixture
def farm(coordinator_server):
    return Api(coordinator_server.url, coordinator_server.admin_token)


@pytest.fixture
def ann(farm):
    """An artist, who leaves nothing behind."""
    ann = Artist(farm.url, farm.owner().token)
    yield ann
    for quote in ann.asked:
        ann.ok("POST", f"/jobs/{quote}/cancel")
    for job in ann.ok("GET", "/jobs")["jobs"]:
        ann.ok("POST", f"/jobs/{job['job']}/cancel")


@dataclass
class Artist(Api):
    asked: list[str] = field(default_factory=list)

    def ask(self, wish, **headers):
        quote = self.ok("POST", "/quotes", wish, **headers)
        self.asked.append(quote["quote"])
        return quote


@pytest.fixture
def own(farm):
    node = farm.node("own", own=True)
    node.device = f"cpu:{node.id}"
    return node


def order(ann, frames=(1, 2, 3), **wish):
    return {"spec": JobSpec(ann.scene(), frames, tiles="1x1", **wish), "facts": FACTS}


def report(lease, speed=2_000_000, seconds=1.0):
    """As if each whole frame took so many seconds, all of them for its samples."""
    frames, share = lease["probe"]["frames"], 16
    small = Measure(frames[0], PIXELS // 64, seconds / 64, seconds / 64, True, True)
    others = [
        Measure(frame, PIXELS // share, seconds / share, seconds / share, number > 0, False)
        for number, frame in enumerate(frames)
    ]
    return ProbeReport(speed, (small, *others))


def probe_of(node):
    (lease,) = node.lease(kinds=KINDS)
    assert lease["task"]["kind"] == TaskKind.PROBE
    return lease


def done(node, lease, **measured):
    result = node.upload(lease, b"{}", "probe.json")
    return node.submit(lease, replace(result, probe=report(lease, **measured), peak_memory=10**8))


def test_a_quote_is_what_its_probe_measured(ann, own):
    asked = ann.ask(order(ann))
    assert (asked["state"], asked["units"]["p50"]) == ("probing", 0)
    lease = probe_of(own)
    assert lease["probe"] == {"frames": [1, 3, 2], "total": 3, "most_seconds": 120.0}
    assert done(own, lease).status == 200
    quote = ann.ok("GET", f"/quotes/{asked['quote']}")
    assert quote["state"] == "ready"
    assert quote["frames"] == [1, 2, 3]
    assert quote["frame_units"] == [2_000_000] * 3
    assert quote["units"]["p10"] < quote["units"]["p50"] == 6_000_000 < quote["units"]["p90"]
    assert quote["slot_seconds"]["p50"] == pytest.approx(3.0)
    assert quote["price"] == 10**16
    assert quote["cost"]["p50"] == 6 * 10**16
    assert quote["peak_memory"] >= 10**8
    assert quote["slots"] >= 1
    assert quote["finish_seconds"]["p10"] < quote["finish_seconds"]["p50"] < quote["finish_seconds"]["p90"]
    assert any("ten" in note for note in quote["notes"])


def test_a_quote_does_not_change_once_it_is_made(ann, own, farm):
    asked = ann.ask(order(ann))
    done(own, probe_of(own))
    first = ann.ok("GET", f"/quotes/{asked['quote']}")
    farm.node("another", own=True).lease()
    assert ann.ok("GET", f"/quotes/{asked['quote']}") == first
    assert farm.ok("GET", f"/quotes/{asked['quote']}") == first


def test_strangers_are_given_no_probes(ann, own, farm):
    stranger = farm.owner("bob").node("stranger")
    ann.ask(order(ann))
    assert stranger.lease(kinds=KINDS) == []
    probe_of(own)


def test_a_probe_goes_before_older_jobs(ann, own):
    ann.job(priority=50)
    ann.ask(order(ann))
    probe_of(own)


def test_a_quote_is_in_no_list_of_jobs(ann, farm):
    asked = ann.ask(order(ann))
    assert ann.ok("GET", "/jobs")["jobs"] == []
    assert ann.ok("GET", f"/jobs?fingerprint={asked['fingerprint']}")["jobs"] == []
    assert asked["quote"] not in [job["job"] for job in farm.ok("GET", "/jobs")["jobs"]]


def test_a_quote_is_its_owners_alone(ann, farm):
    asked = ann.ask(order(ann))
    bob = farm.owner("bob")
    bob.refused(404, "not_found", "GET", f"/quotes/{asked['quote']}")
    bob.refused(404, "not_found", "POST", f"/jobs/{asked['quote']}/cancel")
    ann.refused(404, "not_found", "GET", "/quotes/q000000000000")
    ann.refused(404, "not_found", "GET", f"/quotes/{ann.job()}")
    own = farm.node("own", own=True)
    own.refused(403, "forbidden", "POST", "/quotes", order(ann))


def test_who_waits_for_a_quote_is_told_at_once(ann, own):
    asked = ann.ask(order(ann))
    lease = probe_of(own)
    told = []
    waiter = threading.Thread(target=lambda: told.append(ann.ok("GET", f"/quotes/{asked['quote']}?wait=25")))
    waiter.start()
    assert done(own, lease).status == 200
    waiter.join(20)
    assert [quote["state"] for quote in told] == ["ready"]


def test_a_quote_that_is_cancelled_ends_its_probe(ann, own):
    asked = ann.ask(order(ann))
    lease = probe_of(own)
    ann.ok("POST", f"/jobs/{asked['quote']}/cancel")
    assert ann.ok("GET", f"/quotes/{asked['quote']}")["state"] == "cancelled"
    path = f"{under(lease)}/uploads?token={lease['token']}"
    own.refused(409, "stale_lease", "POST", path, {"files": own_files()})


def own_files():
    return [{"name": "probe.json", "sha256": "0" * 64, "size": 2}]


def test_a_scene_that_breaks_its_probes_has_no_quote(ann, farm):
    asked = ann.ask(order(ann))
    for number in range(3):
        node = farm.node(f"own {number}", own=True)
        lease = probe_of(node)
        failure = TaskFailure(FailureCode.SCENE, "no camera")
        node.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
    quote = ann.ok("GET", f"/quotes/{asked['quote']}")
    assert quote["state"] == "failed"
    assert "no camera" in quote["failure"]


def test_a_probe_that_measured_nothing_is_refused(ann, own):
    ann.ask(order(ann))
    lease = probe_of(own)
    result = own.upload(lease, b"{}", "probe.json")
    assert own.submit(lease, result).status == 422
    # As is one whose figures could not be.
    wrong = {"speed": 0, "measures": []}
    body = {"files": [], "seconds": 1, "render_seconds": 1, "device_class": "cpu", "probe": wrong}
    assert own.call("POST", f"{under(lease)}/result?token={lease['token']}", body).status == 422
    assert done(own, lease).status == 200


def test_a_quote_is_refused_as_its_job_would_be(ann):
    ann.refused(422, "invalid_input", "POST", "/quotes", order(ann, frames=(1, 1)))
    ann.refused(422, "invalid_input", "POST", "/quotes", order(ann, frames=()))
    unsealed = {"spec": JobSpec("0" * 64, (1,)), "facts": FACTS}
    ann.refused(409, "conflict", "POST", "/quotes", unsealed)


def test_nobody_keeps_the_farm_busy_with_quotes(ann, own, farm):
    quotes = [ann.ask(order(ann)) for _ in range(MOST_AT_ONCE)]
    sentence = ann.refused(409, "too_many_quotes", "POST", "/quotes", order(ann))
    assert str(MOST_AT_ONCE) in sentence
    bob = farm.owner("bob")
    other = bob.ok("POST", "/quotes", order(bob))
    bob.ok("POST", f"/jobs/{other['quote']}/cancel")
    done(own, probe_of(own))
    ann.ask(order(ann))
    ann.refused(409, "too_many_quotes", "POST", "/quotes", order(ann))
    ann.ok("POST", f"/jobs/{quotes[-1]['quote']}/cancel")
    ann.ask(order(ann))


def test_the_same_request_again_is_the_same_quote(ann, own):
    asked = order(ann)
    first = ann.ask(asked, Idempotency_Key="once")
    done(own, probe_of(own))
    again = ann.ask(asked, Idempotency_Key="once")
    assert (again["quote"], again["state"]) == (first["quote"], "ready")
    ann.refused(409, "conflict", "POST", "/quotes", order(ann), Idempotency_Key="once")


def test_a_probe_that_is_given_back_is_done_by_another(ann, own, farm):
    other = farm.node("other", own=True)
    other.lease(kinds=(TaskKind.RENDER,))
    asked = ann.ask(order(ann))
    lease = probe_of(own)
    own.ok("POST", f"{under(lease)}/failure?token={lease['token']}", TaskFailure(FailureCode.NODE, "stopped"))
    assert own.lease(kinds=KINDS) == []
    path = f"{under(lease)}/uploads?token={lease['token']}"
    own.refused(409, "stale_lease", "POST", path, {"files": own_files()})
    assert done(other, probe_of(other)).status == 200
    assert ann.ok("GET", f"/quotes/{asked['quote']}")["state"] == "ready"

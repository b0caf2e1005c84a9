# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator and what it stands on, killed and brought back under a running job."""

import threading
import time

import psutil
import pytest

from farm_protocol.records import Beat, Heartbeat
from tests import servers
from tests.api_calls import Api, events, under

LEASE = 4
"""Seconds: short enough to wait for its end, long enough for what is to be done in it on a busy machine."""


@pytest.fixture
def store(tmp_path):
    with servers.valkey(tmp_path / "valkey") as running:
        yield running


@pytest.fixture
def quick(tmp_path, store, seaweed_server):
    """A coordinator with short leases on a store of its own."""
    with servers.coordinator(
        tmp_path / "coordinator", store.url, seaweed_server, "--lease-seconds", str(LEASE)
    ) as running:
        yield running


def people(coordinator):
    admin = Api(coordinator.url, coordinator.admin_token)
    return admin, admin.node("own", own=True)


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come true")


def test_lease_ends_without_heartbeat_and_late_submit_is_refused(quick):
    admin, dead = people(quick)
    admin.job(frames=(1,))
    asked = time.monotonic()
    lease = dead.lease()[0]
    result = dead.upload(lease, b"late")
    other = admin.node("other", own=True)
    second = other.lease(wait=30.0)[0]
    assert LEASE <= time.monotonic() - asked < 20.0, "woken by the end of the lease"
    assert second["task"]["id"] == lease["task"]["id"]
    assert dead.submit(lease, result).body["code"] == "stale_lease"
    other.do(second, b"in time")


def test_heartbeats_keep_a_lease(quick):
    admin, node = people(quick)
    admin.job(frames=(1,))
    lease = node.lease()[0]
    beat = Heartbeat((Beat(lease["task"]["id"], lease["token"]),))
    for _ in range(5):
        time.sleep(LEASE / 4)
        assert node.ok("POST", "/leases/heartbeat", beat) == {"lost": []}
    node.do(lease)


def test_coordinator_killed_under_leases_goes_on(quick):
    admin, node = people(quick)
    job = admin.job(frames=(1, 2), tiles="2x1")
    done, held = node.lease(slots=2)
    node.do(done)
    result = node.upload(held, b"rendered while it was away")
    with events(admin, job) as stream:
        seen = [next(stream)["id"] for _ in range(3)]
    quick.kill()
    time.sleep(1.2 * LEASE)
    quick.start()
    assert node.submit(held, result).status == 200, "leases get their full length after a restart"
    told = admin.ok("GET", f"/jobs/{job}")
    assert told["tasks"]["accepted"] == 2
    node.work()
    with events(admin, job, seen[-1]) as stream:
        rest = list(stream)
    assert rest[-1]["data"]["state"] == "complete"
    assert not {event["id"] for event in rest} & set(seen)


def test_store_killed_loses_nothing_acknowledged(quick, store):
    admin, node = people(quick)
    job = admin.job(frames=(1, 2, 3))
    first, held = node.lease(slots=2)
    node.do(first)
    result = node.upload(held, b"pixels")
    store.kill()
    assert node.submit(held, result).body["code"] == "unavailable"
    assert Api(quick.url, "").ok("GET", "/health")["status"] == "degraded"
    time.sleep(1.2 * LEASE)
    store.start()
    until(lambda: Api(quick.url, "").ok("GET", "/health")["store"])
    assert node.submit(held, result).status == 200
    states = {task["task"]["id"]: task["state"] for task in admin.ok("GET", f"/jobs/{job}/tasks")["tasks"]}
    assert states[first["task"]["id"]] == states[held["task"]["id"]] == "accepted"
    node.work()
    assert admin.ok("GET", f"/jobs/{job}")["state"] == "complete"


def test_nothing_is_accepted_while_the_object_store_is_away(tmp_path, store):
    with (
        servers.seaweed(tmp_path / "seaweed") as objects,
        servers.coordinator(tmp_path / "coordinator", store.url, objects) as coordinator,
    ):
        admin, node = people(coordinator)
        job = admin.job(frames=(1,))
        lease = node.lease()[0]
        result = node.upload(lease, b"pixels")
        objects.kill()
        asked = time.monotonic()
        token = f"token={lease['token']}"
        node.refused(503, "unavailable", "POST", f"{under(lease)}/result?{token}", result)
        assert time.monotonic() - asked < 15
        assert admin.ok("GET", f"/jobs/{job}")["tasks"]["leased"] == 1
        beat = Heartbeat((Beat(lease["task"]["id"], lease["token"]),))
        assert node.ok("POST", "/leases/heartbeat", beat) == {"lost": []}, "rendering goes on"
        objects.start()
        until(lambda: node.submit(lease, result).status == 200)
        assert node.work() == 1


def test_coordinator_starts_before_its_object_store(tmp_path, store):
    with servers.seaweed(tmp_path / "seaweed") as objects:
        objects.kill()
        with servers.coordinator(tmp_path / "coordinator", store.url, objects) as coordinator:
            admin, node = people(coordinator)
            assert not admin.ok("GET", "/health")["objects"]
            objects.start()
            until(lambda: admin.ok("GET", "/health")["objects"])
            admin.job(frames=(1,))
            assert node.work() == 2


def test_sigterm_closes_what_is_held_open(quick):
    admin, _ = people(quick)
    job = admin.job(frames=(1,))
    leases = []
    waiting = threading.Thread(target=lambda: leases.append(admin.node("idle").lease(wait=30.0, kinds=())))
    with events(admin, job) as stream:
        next(stream)
        waiting.start()
        time.sleep(0.3)
        asked = time.monotonic()
        assert quick.stop() == 0
        assert time.monotonic() - asked < 15.0
        assert list(stream) == []
    waiting.join(40)
    assert leases == [[]], "a long poll is answered, not cut"


def test_coordinator_is_small_and_decodes_no_pictures(coordinator_server):
    process = psutil.Process(coordinator_server.child.pid)
    assert process.memory_info().rss < 300 * 2**20
    loaded = " ".join(entry.path for entry in process.memory_maps())
    for library in ("/torch/", "/numpy/", "OpenEXR", "/bpy/"):
        assert library not in loaded


def test_node_away_for_good_is_shown_offline(tmp_path, store, seaweed_server):
    # Online is derived from the last word, so a node that never spoke is offline from the start.
    with servers.coordinator(tmp_path / "coordinator", store.url, seaweed_server) as coordinator:
        admin, node = people(coordinator)
        assert [one["online"] for one in admin.ok("GET", "/nodes")["nodes"]] == [False]
        node.lease()
        assert [one["online"] for one in admin.ok("GET", "/nodes")["nodes"]] == [True]


def test_a_slot_that_its_node_cannot_use_is_shown_with_the_reason(quick):
    admin, node = people(quick)
    node.lease()
    trouble = {"slot": "cpu-7", "state": "unreachable", "reason": "The cluster has no room for it."}

    def away():
        slots = admin.ok("GET", "/nodes")["nodes"][0]["slots"]
        return [one for one in slots if one["state"] != "ready"]

    assert away() == []
    node.ok("POST", "/leases/heartbeat", {"beats": [], "troubles": [trouble]})
    assert away() == [{**trouble, "task": None, "progress": None}]
    node.ok("POST", "/leases/heartbeat", {"beats": []})
    assert away() == []

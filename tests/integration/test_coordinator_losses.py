# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store loses what it was given: scenes wait for it and say so, and nobody is blamed."""

import asyncio
import hashlib
import os

import pytest

from farm_protocol.records import FailureCode, TaskFailure, TaskKind
from render_farm.objects import Objects, Place, blob_key, result_key
from tests import servers
from tests.api_calls import Api, events, manifest, under
from tests.integration.test_coordinator_verified_days import ALL, Day, parts
from verification import replay

__all__ = ["parts"]


class Shelf:
    """The bucket, with a hand in it."""

    def __init__(self, server: servers.ObjectStore) -> None:
        self._place = Place(server.url, server.url, "farm", "us-east-1", server.key, server.secret)

    def remove(self, key: str) -> None:
        """Take an object away, and see that it is gone."""

        async def work() -> object:
            objects = Objects(self._place)
            await objects.remove(key)
            return await objects.look(key)

        assert asyncio.run(work()) is None


@pytest.fixture
def shelf(seaweed_server):
    return Shelf(seaweed_server)


@pytest.fixture
def store(tmp_path):
    with servers.valkey(tmp_path / "valkey") as running:
        yield running


@pytest.fixture
def coordinator(tmp_path, store, seaweed_server):
    with servers.coordinator(tmp_path / "coordinator", store.url, seaweed_server) as running:
        yield running


def miss(node, lease, *shas):
    failure = TaskFailure(FailureCode.LOST, "The object store has lost scene.blend.", lost=shas)
    return node.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)["state"]


def test_a_lost_file_unseals_its_scene_until_it_is_sent_again(coordinator, shelf):
    admin = Api(coordinator.url, coordinator.admin_token)
    content = os.urandom(100)
    sha = hashlib.sha256(content).hexdigest()
    owner, node = admin.owner(), admin.node("own", own=True)
    scene = owner.scene(content)
    job, other = owner.job(scene), owner.job(scene, frames=(7,))
    who = owner.ok("GET", f"/jobs/{job}")["owner"]
    lease = node.lease()[0]
    shelf.remove(blob_key(who, sha))
    assert miss(node, lease, sha) == "ready"
    for name in (job, other):
        told = owner.ok("GET", f"/jobs/{name}")
        assert told["state"] == "paused"
        assert "scene.blend" in told["lacks"]
    assert node.lease() == [], "nobody renders what cannot be fetched"
    with events(owner, job) as stream:
        lost = next(one for one in stream if one["event"] == "lost")
    assert lost["data"]["files"] == ["scene.blend"]
    assert "scene.blend" in lost["data"]["detail"]
    spec = owner.ok("GET", f"/jobs/{job}")["spec"]
    owner.refused(409, "conflict", "POST", f"/scenes/{scene}/seal")
    assert owner.scene(content) == scene, "asked for, sent, sealed"
    for name in (job, other):
        told = owner.ok("GET", f"/jobs/{name}")
        assert (told["state"], told["lacks"], told["spec"]["scene"]) == ("rendering", "", spec["scene"])
    node.work()
    assert owner.ok("GET", f"/jobs/{job}")["state"] == "complete"


def test_a_nodes_word_alone_unseals_nothing(coordinator):
    admin = Api(coordinator.url, coordinator.admin_token)
    content = os.urandom(100)
    ann, stranger = admin.owner(), admin.owner("eve").node("stranger")
    scene = ann.scene(content)
    job = ann.job(scene, tiles="2x1")
    lease = stranger.lease()[0]
    others = [hashlib.sha256(bytes([number])).hexdigest() for number in range(20)]
    assert miss(stranger, lease, hashlib.sha256(content).hexdigest(), *others) == "ready"
    told = ann.ok("GET", f"/jobs/{job}")
    assert (told["state"], told["lacks"]) == ("rendering", "")
    assert ann.ok("POST", "/scenes", manifest(content))["sealed"]


def test_lost_pictures_of_an_audit_are_made_again_and_cost_its_auditor_nothing(parts, shelf):
    _, running = parts(*ALL)
    day = Day(running)
    auditor = day.node("auditor")
    assert auditor.lease(kinds=(TaskKind.AUDIT,)) == []
    day.liar.do(day.liar.lease(kinds=(TaskKind.RENDER,))[0])
    audit = day.next_of(auditor, "audit")
    result = auditor.upload(audit, b"crops")
    assert auditor.submit(audit, result).status == 200
    check = day.next_of(day.own, "check")
    shelf.remove(result_key(day.job, audit["task"]["id"], audit["token"], result.files[0]))
    failure = TaskFailure(FailureCode.LOST, "The object store has lost crop-0.exr.", (audit["task"]["id"],))
    path = f"{under(check)}/failure?token={check['token']}"
    assert day.own.ok("POST", path, failure)["state"] == "cancelled"
    again = day.next_of(day.own, "audit")
    assert again["task"]["id"] == audit["task"]["id"]
    day.own.do(again, b"crops again")
    day.check()
    assert day.tile()["state"] == "accepted"
    views = {one["node"]: one["standing"] for one in day.admin.ok("GET", "/nodes")["nodes"]}
    assert views[auditor.id] == {"passed": 0, "failed": 0}
    assert replay.replay(day.verification()) == []


def test_a_lost_tile_is_rendered_again_without_blame(parts):
    _, running = parts(*ALL)
    day = Day(running)
    lease = day.liar.lease()[0]
    day.liar.do(lease)
    day.audit()
    check = day.next_of(day.own, "check")
    failure = TaskFailure(FailureCode.LOST, "The object store has lost tile.exr.", (lease["task"]["id"],))
    path = f"{under(check)}/failure?token={check['token']}"
    assert day.own.ok("POST", path, failure)["state"] == "cancelled"
    assert day.tile()["state"] == "ready"
    assert day.ann.ok("GET", f"/jobs/{day.job}")["audits"]["unresolved"] == 1
    views = {one["node"]: one["standing"] for one in day.admin.ok("GET", "/nodes")["nodes"]}
    assert views[day.liar.id] == {"passed": 0, "failed": 0}

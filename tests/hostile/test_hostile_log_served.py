# SPDX-License-Identifier: GPL-3.0-or-later
"""A real coordinator's log as a node's own program and a client see it, and one that was rewritten."""

import threading
import time
from pathlib import Path

import pytest
import redis

from farm_protocol.fields import decode, encode
from farm_protocol.records import Lease, TaskKind, TaskResult
from gpu_worker.coordinator import Coordinator
from gpu_worker.delivery import Delivery
from gpu_worker.identity import enrol, load_identity
from gpu_worker.log_watch import LogWatch
from gpu_worker.notary import Notary
from render_farm.cli.log_watch import LogWatch as ClientWatch
from render_farm.client import FarmClient
from tests import servers
from tests.api_calls import Api, Node
from verification.witness import SplitView, Witness


class Placed:
    """The slot whose files are in the store already."""

    def deliver(self, lease, uploads):
        """Nothing is left to do."""


def settled(watch: LogWatch) -> None:
    """Wait until every leaf that is expected was seen in its head."""
    deadline = time.monotonic() + 60
    while watch._expected:
        pause = watch._once()
        assert pause is not None, "the watch ended"
        assert time.monotonic() < deadline
        threading.Event().wait(min(pause, 0.2))


@pytest.fixture(scope="module")
def served(tmp_path_factory, seaweed_server):
    folder = tmp_path_factory.mktemp("served")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(folder / "process", store.url, seaweed_server) as coordinator,
    ):
        yield coordinator, redis.Redis.from_url(store.url, decode_responses=True)


def test_node_client_and_coordinator_agree_until_the_log_is_rewritten(served, tmp_path: Path):
    coordinator, store = served
    admin = Api(coordinator.url, coordinator.admin_token)
    ann, bob = admin.owner("ann"), admin.owner("bob")
    state = tmp_path / "node"
    state.mkdir()
    identity = load_identity(state)
    made = bob.ok("POST", "/nodes", {"name": "bob", "own": False})
    link = Coordinator(coordinator.url, made["token"], tries=2)
    known = enrol(link, coordinator.url, identity, state)
    watch = LogWatch(link, known.farm, state)
    notary = Notary(identity, known.farm, state, observer=watch)
    job = ann.job(frames=(1, 2, 3))
    raw = Node(coordinator.url, made["token"], id=made["node"], farm=known.farm)
    for _ in range(3):
        (told,) = raw.lease(slots=1, kinds=(TaskKind.RENDER,))
        lease = decode(encode(told), Lease)
        result: TaskResult = raw.upload(told, f"pixels {lease.task.id}".encode())
        placed = Delivery(link, Placed(), notary, threading.Event(), 60.0, 10.0)
        assert placed.deliver(lease, result, threading.Event()) is None
        settled(watch)
    kept = Witness(state / "heads", known.farm)
    assert kept.newest is not None
    assert kept.newest.size == 3
    with FarmClient(coordinator.url, ann.token, patience=5) as client:
        mine = ClientWatch(client, tmp_path / "client")
        events = [
            event
            for event in (decode_event(entry) for entry in store.xrange(f"farm:job:{job}:events"))
            if event[0] == "head"
        ]
        assert events, "the job's stream tells the heads of its rounds"
        for _, data in events:
            mine.heed(data)
        assert Witness(tmp_path / "client" / "heads", known.farm).newest == kept.newest
        # The farm's keeper puts another leaf where the first was, and lets the log grow on.
        store.lset("farm:log", 0, "00" * 32)
        store.delete("farm:log:nodes", "farm:log:size")
        before = store.get("farm:log:head")
        ann.job()
        (told,) = raw.lease(slots=1, kinds=(TaskKind.RENDER,))
        raw.key = identity.key
        raw.do(told)
        head = later_head(store, before)
        with pytest.raises(SplitView):
            mine.heed(head)
    with pytest.raises(SplitView):
        LogWatch(link, known.farm, state).start()


def later_head(store, before):
    """The next head that the coordinator signs."""
    deadline = time.monotonic() + 60
    while (found := store.get("farm:log:head")) == before:
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    return found.encode()


def decode_event(entry):
    return entry[1]["event"], entry[1]["data"].encode()

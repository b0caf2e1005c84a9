# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a node's Ray die or hang while it works: what it held is given back, and it works on."""

import signal

import psutil
import pytest

from farm_protocol.records import FailureCode
from tests.fakes.fake_coordinator import FakeCoordinator
from tests.worker_node import Node, lease_of

pytestmark = pytest.mark.timeout(300)

SECONDS = 120
QUICK = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "8",
}
"""Ray itself notices that one of its machines hangs; that it waited for its CPU is no hang."""


@pytest.fixture(scope="module")
def farm():
    farm = FakeCoordinator()
    yield farm
    farm.close()


@pytest.fixture(scope="module")
def node(farm, tmp_path_factory):
    node = Node(farm, tmp_path_factory.mktemp("n"), "--silence-seconds", "10", **QUICK)
    try:
        farm.wait_for(lambda: farm.requests or node.process.poll() is not None, SECONDS)
        assert node.process.poll() is None, node.events
        yield node
    finally:
        if node.process.poll() is None:
            node.finish()


def process_of(node, name):
    """The process of that name of the node's present Ray."""
    return next(one for one in node.below() if one.name() == name)


def slot_pid(node, slot):
    return next(
        one["pid"] for one in reversed(node.events) if one["event"] == "slot_ready" and one["slot"] == slot
    )


def busy(farm, node, name):
    """A task that is worked on until its slot is stopped; which slot that is."""
    farm.put(lease_of(farm, name, 0, render="slow"))
    task = f"{name}:0"
    farm.wait_for(
        lambda: any(beat.task == task and beat.progress.done for beats in farm.beats for beat in beats),
        SECONDS,
    )
    leased = node.wait_for("task_leased", SECONDS, task=task)
    return leased["slot"]


def works_again(farm, name):
    """Every slot takes work again."""
    asked = len(farm.requests)
    farm.wait_for(
        lambda: {offer.slot for one in farm.requests[asked:] for offer in one.offers} >= {"cpu-0", "cpu-1"},
        SECONDS,
    )
    farm.put(*(lease_of(farm, name, number) for number in range(4)))
    farm.wait_for(lambda: sum(task.startswith(f"{name}:") for task in farm.results) == 4, SECONDS)


def events(node, name):
    return [one for one in node.events if one["event"] == name]


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_part_of_ray_that_dies_or_hangs_is_started_anew_with_all_slots(farm, node, part, number):
    name, lost = f"{part}{int(number)}", len(events(node, "ray_lost"))
    busy(farm, node, name)
    process_of(node, part).send_signal(number)
    farm.wait_for(lambda: farm.failures[f"{name}:0"], SECONDS)
    assert farm.failures[f"{name}:0"][0][1].code is FailureCode.NODE
    works_again(farm, f"after{name}")
    assert len(events(node, "ray_lost")) == lost + 1
    assert node.process.poll() is None


def test_a_slot_that_hangs_is_given_up_and_its_lease_given_back(farm, node):
    slot = busy(farm, node, "hung")
    holder = psutil.Process(slot_pid(node, slot))
    holder.send_signal(signal.SIGSTOP)
    farm.wait_for(lambda: farm.failures["hung:0"], SECONDS)
    failure = farm.failures["hung:0"][0][1]
    assert failure.code is FailureCode.NODE
    assert "did not answer" in failure.message
    assert psutil.wait_procs([holder], 20)[1] == []
    works_again(farm, "afterhung")
    assert events(node, "slot_silent")[-1]["slot"] == slot


def test_what_was_finished_is_delivered_by_the_slots_next_process(farm, node):
    # With the first of its tasks the node has the scene, which a store that is away could not give.
    farm.put(lease_of(farm, "kept", 0))
    farm.wait_for(lambda: "kept:0" in farm.results, SECONDS)
    started, tried = len(events(node, "ray_started")), farm.calls["store PUT"]
    farm.store_away = True
    try:
        farm.put(lease_of(farm, "kept", 1))
        farm.wait_for(lambda: farm.calls["store PUT"] > tried, SECONDS)
        process_of(node, "raylet").kill()
        farm.wait_for(lambda: len(events(node, "ray_started")) > started, SECONDS)
    finally:
        farm.store_away = False
    farm.wait_for(lambda: "kept:1" in farm.results, SECONDS)
    assert not farm.failures["kept:1"]
    works_again(farm, "afterkept")


def test_a_node_whose_ray_was_started_anew_heeds_sigterm(farm, node):
    """The last test of the shared node."""
    busy(farm, node, "drained")
    assert node.finish() == 0
    assert farm.failures["drained:0"][0][1].message == "The node is shutting down."

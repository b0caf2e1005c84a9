# SPDX-License-Identifier: GPL-3.0-or-later
"""A node with GPUs of two kinds, on a real Ray that says it has them: each slot is what its own GPU is."""

import socket

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.records import FailureCode, SlotState, TaskKind
from gpu_worker.agent_records import Bench
from gpu_worker.node import _one_class
from gpu_worker.readiness import SlotInfo
from tests.fakes.fake_coordinator import FakeCoordinator
from tests.gpu_machine import GpuMachine
from tests.integration.test_worker_ray_cluster import HOST, OPEN, SECONDS, cluster
from tests.worker_node import Node, lease_of

pytestmark = pytest.mark.timeout(400)

SMALL = "optix:NVIDIA L4:driver-550.54:bpy-5.0.1-fake"
LARGE = "optix:NVIDIA A100-SXM4-80GB:driver-550.54:bpy-5.0.1-fake"


def test_each_slot_has_the_class_the_memory_and_the_kernels_of_its_gpu(tmp_path_factory, monkeypatch):
    folder, state = tmp_path_factory.mktemp("r"), tmp_path_factory.mktemp("n")
    machine = GpuMachine(folder / "m", ("NVIDIA L4", 23034), ("NVIDIA A100-SXM4-80GB", 81920))
    monkeypatch.setenv("PATH", machine.path)
    machine.behave("Failed to load OptiX kernel (OPTIX_ERROR_UNSUPPORTED_ABI_VERSION)")
    farm = FakeCoordinator()
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    node = None
    try:
        with cluster(port, folder / "a", "--num-gpus", "2"):
            options = ("--ray-address", f"{HOST}:{port}", "--child-program", str(machine.child))
            node = Node(farm, state, *options, **OPEN)
            farm.wait_for(lambda: len(farm.troubles) == 2, SECONDS)
            farm.wait_for(lambda: {one.state for one in farm.troubles} == {SlotState.RESTING}, SECONDS)
            assert {one.slot for one in farm.troubles} == {"gpu-0", "gpu-1"}
            assert "UNSUPPORTED_ABI" in farm.troubles[0].reason
            assert {offer.slot for one in farm.requests for offer in one.offers} <= {"finish-0"}
            machine.behave("ok")
            seen = offers(farm, {"gpu-0", "gpu-1"})
            assert {one.device_class: one.memory >> 20 for one in seen.values()} == {
                SMALL: 22534,
                LARGE: 81420,
            }
            assert len(list(state.glob("kernels/*/made.json"))) == 2
            farm.put(lease_of(farm, "full", 0, render="gpu_memory"))
            farm.wait_for(lambda: farm.failures["full:0"], SECONDS)
            assert farm.failures["full:0"][0][1].code is FailureCode.GPU_MEMORY
            farm.put(*(lease_of(farm, "good", number) for number in range(4)))
            farm.wait_for(lambda: sum(task.startswith("good:") for task in farm.results) == 4, SECONDS)
            classes = {result.device_class for _, result in farm.results.values()}
            assert classes <= {SMALL, LARGE}
            assert node.finish() == 0
    finally:
        if node is not None and node.process.poll() is None:
            node.finish()
        farm.close()


def offers(farm, slots):
    """The last offer of each slot, once all were made."""

    def made():
        return {offer.slot: offer for one in farm.requests for offer in one.offers if offer.slot in slots}

    farm.wait_for(lambda: made().keys() >= slots, SECONDS)
    return made()


class Sold:
    """A slot that renders, or one that only finishes."""

    def __init__(self, name, kind):
        self.name, self.kinds = name, (kind,)


def benches(*kinds):
    renders = [Bench(Sold(kind, TaskKind.RENDER), SlotInfo(kind, True)) for kind in kinds]
    return [*renders, Bench(Sold("finish", TaskKind.FINISH), SlotInfo("cpu", True))]


def test_a_node_sells_work_of_one_class():
    assert _one_class(benches(SMALL, SMALL)) == SMALL
    with pytest.raises(InvalidInput, match="run a node for each, with CUDA_VISIBLE_DEVICES"):
        _one_class(benches(SMALL, LARGE))

# SPDX-License-Identifier: GPL-3.0-or-later
"""A node on a Ray cluster of somebody else's, which goes away and comes back."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from farm_protocol.records import FailureCode
from tests.fakes.fake_coordinator import FakeCoordinator
from tests.worker_node import Node, lease_of

pytestmark = pytest.mark.timeout(400)

SECONDS = 150
HOST = "127.0.0.1"
OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0"}


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


@contextlib.contextmanager
def cluster(port, folder, *options):
    """A Ray that is not the node's own, killed at the end."""
    line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "3"]
    line += ["--node-ip-address", HOST, "--port", str(port), "--temp-dir", str(folder)]
    line += ["--object-store-memory", str(80 << 20), "--include-dashboard", "false", "--disable-usage-stats"]
    line += options
    with subprocess.Popen(line, env=os.environ | OPEN, stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + SECONDS
            while not listens(port):  # nothing tells of it
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.1)
            yield
        finally:
            known = psutil.Process(process.pid)
            for one in [*known.children(recursive=True), known]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def test_a_cluster_that_goes_is_left_and_joined_when_it_is_back(tmp_path_factory):
    farm, folder = FakeCoordinator(), tmp_path_factory.mktemp("r")
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    node = None
    try:
        with cluster(port, folder / "a"):
            node = Node(farm, tmp_path_factory.mktemp("n"), "--ray-address", f"{HOST}:{port}", **OPEN)
            farm.put(lease_of(farm, "slow", 0, render="slow"))
            farm.wait_for(lambda: farm.beats and farm.beats[-1][0].progress.done, SECONDS)
        farm.wait_for(lambda: farm.failures["slow:0"], SECONDS)
        assert farm.failures["slow:0"][0][1].code is FailureCode.NODE
        node.wait_for("ray_unreachable", SECONDS)
        asked = len(farm.requests)
        with cluster(port, folder / "b"):
            node.wait_for("ray_started", SECONDS)
            wanted = {"cpu-0", "cpu-1", "finish-0"}
            farm.wait_for(
                lambda: {offer.slot for one in farm.requests[asked:] for offer in one.offers} >= wanted,
                SECONDS,
            )
            farm.put(*(lease_of(farm, "after", number) for number in range(4)))
            farm.wait_for(lambda: sum(task.startswith("after:") for task in farm.results) == 4, SECONDS)
            assert node.finish() == 0
    finally:
        if node is not None and node.process.poll() is None:
            node.finish()
        farm.close()

# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole node as a process, on a real local Ray, with a fake child and a fake coordinator."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from farm_protocol.audits import AuditAnswer, AuditOrder, CheckOrder, SampleRange
from farm_protocol.fields import StoredFile, Tile
from farm_protocol.ids import TaskId
from farm_protocol.records import FailureCode, TaskKind, TileInput
from tests.fakes.fake_coordinator import FARM, TOKEN, FakeCoordinator
from tests.worker_node import FAKES, WHOLE, Node, lease_of


@pytest.fixture(scope="module")
def farm():
    farm = FakeCoordinator()
    yield farm
    farm.close()


@pytest.fixture(scope="module")
def node(farm, tmp_path_factory):
    node = Node(farm, tmp_path_factory.mktemp("node"))
    try:
        farm.wait_for(lambda: farm.requests or node.process.poll() is not None, 90)
        assert node.process.poll() is None, node.events
        yield node
    finally:
        if node.process.poll() is None:
            node.finish()


def run_node(farm, *words, **environment):
    """A node that is expected to end by itself."""
    farm.address = None
    command = [sys.executable, "-m", "gpu_worker", "run", "--coordinator", farm.url, *words]
    variables = os.environ | {"FARM_NODE_TOKEN": TOKEN} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=variables)


def pids(node, program):
    return [one.pid for one in node.below() if program in " ".join(one.cmdline())]


def test_tasks_are_rendered_on_ray_actors(farm, node):
    farm.put(*(lease_of(farm, "good", number) for number in range(6)))
    farm.wait_for(lambda: sum(task.startswith("good:") for task in farm.results) == 6)
    assert len(pids(node, "ray::")) >= 3
    kinds = {
        offer.slot: [str(kind) for kind in offer.kinds]
        for request in farm.requests
        for offer in request.offers
    }
    rendering = ["render", "audit", "probe"]
    assert kinds == {"cpu-0": rendering, "cpu-1": rendering, "finish-0": ["finish", "check"]}
    assert farm.results["good:0"][1].device_class.endswith(":bpy-5.0.1-fake")


def test_progress_travels_with_the_heartbeat_while_rendering(farm, node):
    farm.put(lease_of(farm, "slow", 0, render="slow"))
    farm.wait_for(
        lambda: any(beat.task == "slow:0" and beat.progress.done for beats in farm.beats for beat in beats)
    )
    farm.lost.add("slow:0")
    farm.put(*(lease_of(farm, "after", number) for number in range(2)))
    farm.wait_for(lambda: sum(task.startswith("after:") for task in farm.results) == 2)


def test_a_child_that_crashes_is_given_back_and_other_slots_are_unharmed(farm, node):
    farm.put(lease_of(farm, "crash", 0, render="crash"), lease_of(farm, "beside", 0))
    farm.wait_for(lambda: farm.failures["crash:0"] and "beside:0" in farm.results)
    assert farm.failures["crash:0"][0][1].code is FailureCode.CRASHED
    assert "SIGSEGV" in farm.failures["crash:0"][0][1].message


def test_an_actor_that_dies_is_replaced_with_all_it_started(farm, node):
    farm.put(lease_of(farm, "actor", 0, render="slow"))
    farm.wait_for(
        lambda: any(beat.task == "actor:0" and beat.progress.done for beats in farm.beats for beat in beats)
    )
    slot = next(one["slot"] for one in reversed(node.events) if one.get("task") == "actor:0")
    pid = next(one["pid"] for one in node.events if one["event"] == "slot_ready" and one["slot"] == slot)
    below = psutil.Process(pid).children(recursive=True)
    assert below
    psutil.Process(pid).kill()
    assert psutil.wait_procs(below, 10)[1] == []
    farm.wait_for(lambda: farm.failures["actor:0"])
    assert farm.failures["actor:0"][0][1].code is FailureCode.NODE
    asked = len(farm.requests)
    farm.wait_for(
        lambda: any(offer.slot == slot for one in farm.requests[asked:] for offer in one.offers), 60
    )
    farm.put(*(lease_of(farm, "again", number) for number in range(4)))
    farm.wait_for(lambda: sum(task.startswith("again:") for task in farm.results) == 4)


def test_a_node_signs_its_results_and_keeps_the_receipts(farm, node):
    state = Path(node.process.args[node.process.args.index("--state-dir") + 1])
    farm.put(lease_of(farm, "signed", 0))
    farm.wait_for(lambda: "signed:0" in farm.results)
    assert farm.results["signed:0"][1].signature
    enrolled = next(one for one in node.events if one["event"] == "node_enrolled")
    assert (enrolled["address"], enrolled["farm"]) == (farm.address, FARM)
    lines = [json.loads(line) for line in (state / "receipts.jsonl").read_text().splitlines()]
    assert {line["attestation"]["task"] for line in lines} >= {"good:0", "good:5"}
    assert (state / "node.key").stat().st_mode & 0o77 == 0


def stored(farm, task, file):
    """A file that a node has delivered, as the coordinator lists it to the next."""
    return StoredFile(file.name, file.sha256, file.size, f"{farm.url}/store/{task}/{file.name}")


def test_a_tile_is_audited_by_a_slot_that_renders_and_checked_by_the_one_that_finishes(farm, node):
    """The fake child renders an audit in another way than a tile, so they differ."""
    order = AuditOrder((Tile(0, 0, 8, 8),), SampleRange(0, 2))
    audit = dataclasses.replace(lease_of(farm, "audited", 1, TaskKind.AUDIT), audit=order)
    farm.put(lease_of(farm, "audited", 0), audit)
    farm.wait_for(lambda: {"audited:0", "audited:1"} <= farm.results.keys())
    tile, found = (farm.results[f"audited:{number}"][1] for number in range(2))
    assert [file.name for file in found.files] == ["crop-0.exr", "sparse.exr"]
    files = tuple(stored(farm, "audited:1", file) for file in found.files)
    answer = AuditAnswer(TaskId("audited:1"), order, files)
    check = dataclasses.replace(
        lease_of(farm, "audited", 2, TaskKind.CHECK),
        inputs=(TileInput(TaskId("audited:0"), WHOLE, stored(farm, "audited:0", tile.files[0])),),
        check=CheckOrder(tile.pixel_root, (), (answer,)),
    )
    farm.put(check)
    farm.wait_for(lambda: "audited:2" in farm.results)
    result = farm.results["audited:2"][1]
    assert (result.report.fault, result.report.crops[0].different) == (None, 64)
    assert {file.name for file in result.files} > {"report.json", "crop-0-difference.png"}
    assert farm.objects["/store/audited:2/crop-0-difference.png"].startswith(b"\x89PNG")


def test_a_farm_that_is_away_when_a_node_starts_is_waited_for(tmp_path):
    farm = FakeCoordinator()
    farm.away = True
    node = Node(farm, tmp_path / "state", "--slots", "1")
    try:
        farm.wait_for(lambda: farm.calls["self"] >= 2, 90)
        farm.away = False
        farm.wait_for(lambda: farm.requests, 90)
    finally:
        status = node.finish()
        farm.close()
    assert status == 0
    assert farm.address is not None


def test_a_second_node_in_the_same_folder_is_refused(farm, node, tmp_path):
    state = node.process.args[node.process.args.index("--state-dir") + 1]
    other = run_node(farm, "--state-dir", state)
    assert other.returncode == 1
    assert "Another node runs in" in other.stderr


def test_ctrl_c_gives_back_and_leaves_nothing(farm, node):
    """The last test of the shared node. A terminal sends Ctrl-C to the whole group, Ray included."""
    farm.put(lease_of(farm, "drain", 0, render="slow"))
    farm.wait_for(lambda: any(beat.task == "drain:0" for beats in farm.beats for beat in beats))
    assert node.finish(signal.SIGINT, group=True) == 0
    assert farm.failures["drain:0"][0][1].message == "The node is shutting down."
    assert {"node_draining", "node_stopped"} <= {one["event"] for one in node.events}


def test_a_node_killed_with_its_parent_or_by_force_leaves_nothing(farm, tmp_path):
    """In a folder so deep that Ray's sockets do not fit into it."""
    deep = tmp_path / ("d" * 60) / "state"
    asked = len(farm.requests)
    node = Node(farm, deep)
    farm.wait_for(lambda: len(farm.requests) > asked or node.process.poll() is not None, 90)
    assert node.process.poll() is None, node.events
    assert node.finish(signal.SIGKILL) == -signal.SIGKILL


def test_a_node_that_is_still_starting_ends_at_once(farm, tmp_path):
    """It holds nothing yet, and whoever starts a farm by mistake does not want to wait for Ray."""
    node = Node(farm, tmp_path / "state")
    patience = time.monotonic() + 60
    while not any("raylet" in process.name() for process in node.below()):  # nothing tells of it
        assert time.monotonic() < patience
        time.sleep(0.02)
    below = node.below()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(30) in {signal.SIGTERM, 128 + signal.SIGTERM}  # Ray has a handler of its own
    assert psutil.wait_procs(below, 15)[1] == []
    node.reader.join(10)
    node.process.stderr.close()


def test_the_node_stops_when_its_parent_dies(farm, tmp_path):
    program = (
        "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL);"
        "print(p.pid, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-m", "gpu_worker", "run", "--coordinator", farm.url]
    words += ["--state-dir", str(tmp_path), "--slots", "1", "--die-with-parent"]
    words += ["--child-program", str(FAKES / "fake_child.py")]
    asked, farm.address = len(farm.requests), None
    with subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"FARM_NODE_TOKEN": TOKEN},
    ) as parent:
        node = psutil.Process(int(parent.stdout.readline()))
        farm.wait_for(lambda: len(farm.requests) > asked, 90)
        below = node.children(recursive=True)
        parent.kill()
    assert psutil.wait_procs([node, *below], 30)[1] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--coordinator", "ftp://farm"], "not an http:// or https:// address"),
        (["--coordinator", "http://farm", "--token-file", "/dev/null"], "no token"),
        ([], "Which farm?"),
        (["--coordinator", "http://farm", "--cache-size", "many"], "not a size"),
        (["--coordinator", "http://farm", "--slots", "0"], "--slots must be"),
    ],
)
def test_wrong_options_are_one_line_and_a_failure(options, sentence):
    answer = subprocess.run(
        [sys.executable, "-m", "gpu_worker", "run", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"FARM_NODE_TOKEN": "t"},
    )
    assert answer.returncode == 1
    assert sentence in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_blender_that_does_not_start_is_one_line_and_a_failure(farm, tmp_path):
    answer = run_node(
        farm, "--state-dir", str(tmp_path), "--slots", "1", "--child-program", str(tmp_path / "missing.py")
    )
    assert answer.returncode == 1
    assert "Blender does not start on this node" in answer.stderr.splitlines()[-1]


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(farm, tmp_path):
    answer = run_node(farm, "--state-dir", str(tmp_path), "--device", "HIP", CUDA_VISIBLE_DEVICES="")
    assert answer.returncode == 1
    assert "--device HIP was asked for, but Ray finds no GPU" in answer.stderr


def test_a_node_that_the_farm_knows_by_another_key_ends_with_the_reason(farm, tmp_path):
    farm.address = "0x" + "12" * 20
    words = ["--coordinator", farm.url, "--state-dir", str(tmp_path), "--slots", "1"]
    words += ["--child-program", str(FAKES / "fake_child.py")]
    answer = subprocess.run(
        [sys.executable, "-m", "gpu_worker", "run", *words],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=os.environ | {"FARM_NODE_TOKEN": TOKEN},
    )
    assert answer.returncode == 1
    assert "another key" in answer.stderr.splitlines()[-1]

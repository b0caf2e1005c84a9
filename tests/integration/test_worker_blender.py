# SPDX-License-Identifier: GPL-3.0-or-later
"""The parent's side against a child that misbehaves in every way the protocol knows."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import FailureCode, Lease, RenderSettings, Task, TaskKind
from gpu_worker.blender.process import BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.failures import Cancelled, TaskError

FAKE = Path(__file__).parents[1] / "fakes" / "fake_child.py"
WHOLE = Tile(0, 0, 8, 4)
LEASE = Lease(
    task=Task(TaskId("t"), JobId("j"), TaskKind.RENDER, 7, WHOLE),
    token=LeaseToken(1),
    slot="cpu-0",
    expires_in=30,
    scene=SceneId("s"),
    owner=OwnerId("o"),
    settings=RenderSettings(4, 0, 100, "PNG"),
    width=8,
    height=4,
    area=WHOLE,
    canvas=WHOLE,
)


@pytest.fixture
def start(tmp_path):
    """Start a fake child on a scene that asks for the given behaviours."""
    children = []

    def starter(memory=1 << 30, stall=20.0, total=60.0, **behaviours):
        scene = tmp_path / "scene.json"
        scene.write_text(json.dumps(behaviours))
        child = BlenderChild(ChildLimits(memory, stall, total, 20.0), ChildCommand(FAKE))
        children.append(child)
        child.start()
        child.open(scene, Device())
        return child

    yield starter
    for child in children:
        child.close()
        assert child.pid is None or not psutil.pid_exists(child.pid)


def failing(child, tmp_path):
    with pytest.raises(TaskError) as caught:
        child.render(LEASE, WHOLE, tmp_path / "tile.exr", lambda done, total: None)
    return caught.value


def test_a_render_reports_progress_and_its_answer(start, tmp_path):
    seen = []
    child = start()
    assert child.ready().build == "fake"
    done = child.render(LEASE, WHOLE, tmp_path / "tile.exr", lambda done, total: seen.append((done, total)))
    assert done.files == ("tile.exr",)
    assert seen == [(0, 4), (4, 4)]
    assert (tmp_path / "tile.exr").is_file()
    assert child.alive


def test_inspect_hands_on_the_facts_undecoded(start, tmp_path):
    child = start()
    assert json.loads(child.inspect(tmp_path / "scene.json")) == {"scene": "fake"}


def test_a_crash_names_the_signal_and_the_last_words(start, tmp_path):
    child = start(render="crash")
    error = failing(child, tmp_path)
    assert error.failure is FailureCode.CRASHED
    assert "SIGSEGV" in error.sentence
    assert "the fake child fell over" in error.sentence
    assert not child.alive


def test_a_silent_child_is_hung(start, tmp_path):
    error = failing(start(render="hang", stall=0.3), tmp_path)
    assert error.failure is FailureCode.HUNG
    assert "no progress for 0 s" in error.sentence


def test_a_busy_child_is_hung_after_the_whole_limit(start, tmp_path):
    error = failing(start(render="slow", stall=5.0, total=0.5), tmp_path)
    assert error.failure is FailureCode.HUNG
    assert "longer than" in error.sentence


@pytest.mark.parametrize("behaviour", ["eat", "eat_in_a_grandchild"])
def test_memory_is_limited_for_the_whole_tree(start, tmp_path, behaviour):
    child = start(render=behaviour, memory=200 << 20)
    error = failing(child, tmp_path)
    assert error.failure is FailureCode.OUT_OF_MEMORY
    # Where the kernel keeps the limit nobody ever sees more, and the last look may be a while before.
    assert child.peak_memory > 30 << 20


def test_the_disk_it_may_fill_is_limited(tmp_path):
    (tmp_path / "scene.json").write_text('{"render": "fill_the_disk"}')
    out = tmp_path / "out"
    out.mkdir()
    limits = ChildLimits(1 << 30, 20.0, 60.0, 20.0, disk=50 << 20)
    child = BlenderChild(limits, ChildCommand(FAKE, writes=(out,)))
    child.start()
    try:
        child.open(tmp_path / "scene.json", Device())
        with pytest.raises(TaskError, match="a task may write") as caught:
            child.render(LEASE, WHOLE, out, lambda done, total: None)
    finally:
        child.close()
    assert caught.value.failure is FailureCode.BAD_OUTPUT


@pytest.mark.parametrize("behaviour", ["garbage", "endless_line"])
def test_garbage_ends_the_child(start, tmp_path, behaviour):
    child = start(render=behaviour)
    error = failing(child, tmp_path)
    assert error.failure is FailureCode.CRASHED
    assert "protocol" in error.sentence
    assert not child.alive


def test_a_second_answer_ends_the_child(start, tmp_path):
    child = start(render="out_of_turn")
    child.render(LEASE, WHOLE, tmp_path / "tile.exr", lambda done, total: None)
    child._watch.join()
    assert failing(child, tmp_path).failure is FailureCode.CRASHED


def test_chatter_neither_blocks_nor_grows(start, tmp_path):
    error = failing(start(render="chatter"), tmp_path)
    assert "the very last line" in error.sentence
    assert len(error.sentence) <= 2000


def test_a_failure_is_the_scenes_and_printable(start, tmp_path):
    child = start(render="scene_error")
    error = failing(child, tmp_path)
    assert (error.failure, error.sentence) == (FailureCode.SCENE, "The scene has no camera. [31m")
    assert child.alive


def test_kill_from_another_thread_cancels(start, tmp_path):
    child = start(render="slow")
    rendering = threading.Event()

    def kill():
        rendering.wait(20)
        child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Cancelled):
        child.render(LEASE, WHOLE, tmp_path / "tile.exr", lambda done, total: rendering.set())
    killer.join()
    assert not child.alive


def test_a_program_that_cannot_start_says_so(tmp_path):
    child = BlenderChild(ChildLimits(1 << 30), ChildCommand(tmp_path / "missing.py"))
    child.start()
    with pytest.raises(TaskError, match="can't open file"):
        child.ready()
    child.close()


def test_no_child_outlives_its_parent(tmp_path):
    """Without a sandbox: the parent is killed with -9 while the child renders for ever."""
    (tmp_path / "scene.json").write_text('{"open": "slow"}')
    program = f"""
from pathlib import Path
from gpu_worker.blender.process import *
child = BlenderChild(ChildLimits(1 << 30), ChildCommand(Path({str(FAKE)!r})))
child.start()
child.ready()
print(child.pid, flush=True)
child.open(Path({str(tmp_path / "scene.json")!r}), Device())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_descriptors_are_closed(start, tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(3):
        child = start(render="crash")
        failing(child, tmp_path)
        child.close()
    assert count() <= before

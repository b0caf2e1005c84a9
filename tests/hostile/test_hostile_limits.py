# SPDX-License-Identifier: GPL-3.0-or-later
"""A child that a scene has taken over takes memory, processes and disk in all ways that did not count."""

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import FailureCode, Lease, RenderSettings, Task, TaskKind, TaskOutput
from gpu_worker import blender, inner_user, removal, sandbox, shortage, usage
from gpu_worker.blender import ChildLimits, Device
from gpu_worker.checking import RAW, hand_over
from gpu_worker.failures import TaskError
from gpu_worker.groups import Group
from gpu_worker.kernels import COPIED, READ, KernelKey, Kernels
from gpu_worker.slot import Slot, SlotPlan
from gpu_worker.stage import ChildPlan, Stage

CHILD = Path(__file__).with_name("hostile_child.py")
REASON = sandbox.unavailable()
inside = pytest.mark.skipif(REASON is not None, reason=str(REASON))
WHOLE = Tile(0, 0, 8, 8)
LEASE = Lease(
    task=Task(TaskId("job/7"), JobId("j"), TaskKind.RENDER, tile=WHOLE, frame=7, output=TaskOutput.FINAL),
    token=LeaseToken(1),
    slot="cpu-0",
    expires_in=30,
    scene=SceneId("s"),
    owner=OwnerId("o"),
    settings=RenderSettings(4, 0, 100, "PNG"),
    width=8,
    height=8,
    area=WHOLE,
    canvas=WHOLE,
)


class Taken:
    """A scene that does `what`."""

    manifest = SimpleNamespace(color_config="")
    scene = SceneId("s")

    def __init__(self, what: str) -> None:
        self.what = what

    def assemble(self, folder: Path) -> Path:
        (folder / "scene.json").write_text(json.dumps({"do": self.what}))
        return folder / "scene.json"

    def release(self) -> None:
        pass


@pytest.fixture
def stage(tmp_path):
    """A function that has a child do something, and gives its stage and output folder."""
    with contextlib.ExitStack() as opened:

        def make(what, memory=300 << 20, sandboxed=True, disk=64 << 30, kernels=None):
            limits = ChildLimits(memory, 30.0, 60.0, 20.0, disk)
            plan = ChildPlan(Device(), limits, sandboxed, CHILD, kernels)
            made = Stage(tmp_path / "slot", plan)
            opened.callback(made.close)
            made.give(Taken(what))
            made.open()
            return made

        yield make


def render(made):
    output = made.output()
    made.child.render(LEASE, WHOLE, output, lambda done, total: None)
    return output


def failure(made):
    with pytest.raises(TaskError) as caught:
        render(made)
    return caught.value


@pytest.fixture(params=["groups", "no groups"])
def with_and_without(request, monkeypatch):
    """As this machine is, and as one that gives no control groups."""
    if request.param == "no groups":
        no_groups(monkeypatch)
    return request.param


@inside
@pytest.mark.parametrize("what", ["forks", "unlinked_and_mapped", "elsewhere", "page_tables"])
def test_memory_is_counted_wherever_it_is(stage, with_and_without, what):
    made = stage(what)
    error = failure(made)
    # By SIGBUS where its own folder is full.
    assert error.failure in (FailureCode.OUT_OF_MEMORY, FailureCode.BAD_OUTPUT, FailureCode.CRASHED), error
    assert not made.child.alive
    assert made.child.peak_memory < 900 << 20


def no_groups(monkeypatch):
    monkeypatch.setattr(blender, "groups", lambda: SimpleNamespace(make=lambda bounds: Group()))


@inside
@pytest.mark.parametrize("what", ["shared_without_name", "unread_sockets"])
def test_a_machine_that_bounds_no_memory_ends_first_who_hides_what_it_holds(stage, monkeypatch, what):
    """What no process maps is in nobody's count. It is nobody's fault that a node cannot count it."""
    no_groups(monkeypatch)
    honest, made = stage("shared_pages"), stage(what)
    monkeypatch.setattr(shortage, "memory", lambda: (100 << 30, 2 << 30))
    error = failure(made)
    assert error.failure is FailureCode.NODE
    assert "memory" in error.sentence
    assert honest.child.alive


@inside
def test_a_machine_at_its_last_ends_every_child_whose_memory_it_does_not_bound(stage, monkeypatch):
    no_groups(monkeypatch)
    made = stage("shared_pages")
    monkeypatch.setattr(shortage, "memory", lambda: (100 << 30, 1 << 30))
    assert failure(made).failure is FailureCode.NODE


@inside
def test_what_processes_share_is_counted_once(stage, with_and_without):
    made = stage("shared_pages")
    render(made)
    assert made.child.alive


@inside
@pytest.mark.skipif(not inner_user.counts_processes(), reason="this kernel counts a user's processes in one")
def test_threads_are_bounded(stage, with_and_without):
    output = render(stage("threads", memory=1 << 30))
    assert int((output / "threads").read_text()) <= sandbox.MOST_PROCESSES


@inside
def test_a_file_that_nobody_sees_is_counted_and_never_on_disk(stage, tmp_path):
    error = failure(stage("unlinked"))
    assert error.failure in (FailureCode.BAD_OUTPUT, FailureCode.OUT_OF_MEMORY, FailureCode.CRASHED)
    assert removal.written([tmp_path], 1000)[1] < 1 << 20


@inside
def test_a_childs_kernels_are_counted_and_never_on_disk(stage, tmp_path):
    for name in (*COPIED, *READ):
        (tmp_path / "made" / name / "deep").mkdir(parents=True)
    (tmp_path / "made" / "optix" / "deep").rmdir()
    (tmp_path / "made" / "cuda" / "deep" / "kernel").write_bytes(b"compiled")
    made = stage("in_the_kernels", kernels=Kernels(KernelKey("5", "CUDA", "gpu", "1"), tmp_path / "made"))
    error = failure(made)
    assert error.failure in (FailureCode.BAD_OUTPUT, FailureCode.OUT_OF_MEMORY)
    assert made.child.peak_memory > 100 << 20
    assert list((tmp_path / "slot").rglob("*kernel*")) == []
    assert (tmp_path / "made" / "cuda" / "deep" / "kernel").read_bytes() == b"compiled"


@inside
def test_folders_are_counted_as_files_are(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(usage, "MOST_FILES", 5000)
    assert failure(stage("many_folders", memory=1 << 30)).failure is FailureCode.BAD_OUTPUT
    assert removal.written([tmp_path], 1000)[0] < 100


@inside
@pytest.mark.parametrize("what", ["deep_folders", "no_folder", "holes"])
def test_what_no_task_writes_is_the_scenes_failure_and_stays_inside(stage, tmp_path, what):
    made = stage(what)
    assert failure(made).failure in (FailureCode.BAD_OUTPUT, FailureCode.CRASHED)
    assert removal.written([tmp_path], 1000)[1] < 1 << 20
    made.close()
    assert list((tmp_path / "slot").glob("stage-*")) == []


@inside
def test_folders_that_are_closed_to_their_own_user_hold_nobody_up(stage, tmp_path):
    made = stage("locked_folders")
    for _ in range(3):
        with contextlib.suppress(TaskError):
            render(made)
    assert made.child.alive
    assert made.child._fleeting.filled().files < 30
    made.close()
    assert list((tmp_path / "slot").glob("stage-*")) == []


@inside
def test_only_files_of_the_tasks_own_come_out(stage):
    output = render(stage("links"))
    assert [path.name for path in output.iterdir()] == ["frame.png"]
    assert (output / "frame.png").read_bytes() == b"picture"
    assert not (output / "frame.png").is_symlink()


@inside
def test_each_task_starts_with_empty_folders(stage):
    made = stage("links")
    first, second = render(made), render(made)
    assert first != second
    assert made.child.alive
    assert made.child._fleeting.filled().files < 30


@pytest.mark.parametrize("what", ["deep_folders", "locked_folders"])
def test_without_a_sandbox_everything_is_removed_all_the_same(stage, tmp_path, what):
    """Thousands of folders in each other made a node unable to start, for good; those of mode 0 stayed."""
    made = stage(what, sandboxed=False)
    output = made.output()
    for _ in range(2):
        # It may be found out meanwhile.
        with contextlib.suppress(TaskError):
            made.child.render(LEASE, WHOLE, output, lambda done, total: None)
        hand_over(output, tmp_path / "done" / "task")
        output = made.output()
    hand_over(output, tmp_path / "done" / "task")
    assert list((tmp_path / "done" / "task" / RAW).iterdir()) == []
    made.close()
    assert list((tmp_path / "slot").iterdir()) == []


def test_a_node_starts_whatever_an_earlier_life_left(tmp_path, stage):
    made = stage("deep_folders", sandboxed=False)
    with contextlib.suppress(TaskError):
        render(made)
    made.child.close()
    plan = ChildPlan(Device(), ChildLimits(1 << 30), False, CHILD)
    slot = Slot(SlotPlan("cpu-0", (TaskKind.RENDER,), tmp_path / "slot", plan), None, None)
    try:
        assert len(list((tmp_path / "slot").glob("stage-*"))) == 1
    finally:
        slot.close()


def test_what_is_closed_or_too_deep_counts_as_too_much(tmp_path):
    deep = tmp_path / "deep"
    (deep / "/".join("d" * (removal.DEEPEST + 5))).mkdir(parents=True)
    assert removal.written([deep], 1000)[0] > 1000
    wide = tmp_path / "wide"
    for number in range(50):
        (wide / str(number) / "below").mkdir(parents=True)
    assert removal.written([wide], 1000)[0] == 100
    assert removal.written([wide], 60)[0] == 61
    assert removal.remove(wide)
    assert removal.remove(deep)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_an_answer_and_no_crash(tmp_path):
    assert removal.remove(tmp_path / "never" / "there")
    assert not removal.remove(Path("/proc/self/fdinfo"))

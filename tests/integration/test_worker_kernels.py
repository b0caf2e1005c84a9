# SPDX-License-Identifier: GPL-3.0-or-later
"""A slot on a GPU: the node compiles its kernels, keeps them from strangers, and has them before any task."""

import errno
import json
import re
import shutil
import sys
from types import SimpleNamespace

import pytest

from farm_protocol.records import FailureCode, TaskOutput
from gpu_worker.blender.child import devices
from gpu_worker.blender.process import CHILD_PROGRAM, BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.failures import TaskError
from gpu_worker.sandbox import bubblewrap
from gpu_worker.slot.checking import Rendered
from gpu_worker.slot.child_workspace import ChildPlan
from gpu_worker.slot.kernels import COPIED, READ, KernelKey, Kernels, KernelStore, Warmed, told, warm
from gpu_worker.slot.scene_cache import SceneCache
from gpu_worker.slot.slot import Slot, SlotPlan
from tests.integration.test_worker_slot import Farm, lease_of
from tests.support.gpu_machine import GpuMachine

SANDBOXED = bubblewrap.unavailable() is None
inside = pytest.mark.skipif(not SANDBOXED, reason="bubblewrap does not work here")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = GpuMachine(tmp_path / "m", ("NVIDIA L4", 23034))
    monkeypatch.setenv("PATH", machine.path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return machine


@pytest.fixture
def make_slot(tmp_path, machine, monkeypatch):
    farm, slots = Farm(), []
    monkeypatch.setattr("gpu_worker.farm.transfer.download", farm.download)

    def make(name="gpu-0"):
        child = ChildPlan(Device("CUDA"), ChildLimits(1 << 30, 20.0, 60.0, 20.0), SANDBOXED, machine.child)
        plan = SlotPlan(
            name, _kinds(), tmp_path / name, child, kernels=tmp_path / "kernels", commands_per_child=100
        )
        slots.append(Slot(plan, SceneCache(tmp_path / "cache", 1 << 20, farm.download), farm))
        return slots[-1]

    yield make
    for slot in slots:
        slot._readiness.wait()
        slot.close()
        assert list(slot.plan.folder.glob("stage-*")) == []


def _kinds():
    from farm_protocol.records import TaskKind

    return (TaskKind.RENDER,)


def ready(slot, doubt=""):
    slot.prepare(doubt)
    slot._readiness.wait()
    return slot.prepare()


def compiled(tmp_path):
    """How often each folder's kernel was compiled, over all that is kept."""
    return sorted(len(file.read_text()) for file in (tmp_path / "kernels").glob("*/*/compiled"))


def told_by(slot, lease):
    """What a child wrote into its picture."""
    outcome = slot.run(lease)
    assert isinstance(outcome, Rendered), outcome
    (picture,) = slot.plan.folder.glob("done/*/raw/frame.png")
    return json.loads(re.search(rb"\{.*\}", picture.read_bytes())[0])


def final(behaviour, number):
    return lease_of({"render": behaviour, "n": number}, output=TaskOutput.FINAL)


def test_kernels_are_compiled_once_for_all_slots_of_a_machine(make_slot, tmp_path):
    first = make_slot()
    info = first.describe()
    assert info.device_class == "cuda:NVIDIA L4:driver-550.54:bpy-5.0.1-fake"
    assert (info.memory, info.prepares) == (22534 << 20, True)
    assert not (tmp_path / "kernels").exists(), "saying what it is compiles nothing"
    assert ready(first).info == info
    assert compiled(tmp_path) == [1, 1, 1, 1]
    second = make_slot("gpu-1")
    assert ready(second).info == info
    assert compiled(tmp_path) == [1, 1, 1, 1]
    assert isinstance(second.run(lease_of({})), Rendered)


def test_what_is_being_compiled_is_said():
    key = KernelKey("5.0.1-a", "OPTIX", "NVIDIA L4", "550.54")
    compiling = (
        "Compiling the kernels for NVIDIA L4 (OPTIX), once for this driver (550.54) and this Blender: "
    )
    assert told(key, 47.3, 0, 0) == compiling + "40 s so far."
    assert told(key, 119.3, 2, 9) == compiling + "2 of 9 sets, 100 s so far."


@inside
def test_a_strangers_scene_cannot_leave_a_kernel_for_the_next(make_slot):
    slot = make_slot()
    assert ready(slot).info
    own = dict.fromkeys(("cuda", "optix", "cycles", "sycl"), "the node's own kernel")
    assert told_by(slot, final("poison", 1)) == {"found": own, "written": ["cuda", "optix"]}
    slot.discard(final("poison", 1))
    assert told_by(slot, final("poison", 2)) == {"found": own, "written": ["cuda", "optix"]}


def test_another_driver_is_another_class_and_its_kernels_are_made_anew(make_slot, machine, tmp_path):
    slot = make_slot()
    before = ready(slot).info
    machine.install("560.28")
    after = ready(slot, "Blender ended by SIGSEGV.").info
    assert after.device_class == "cuda:NVIDIA L4:driver-560.28:bpy-5.0.1-fake"
    assert slot.describe() == after != before
    made = [json.loads(file.read_text())["key"]["driver"] for file in tmp_path.glob("kernels/*/made.json")]
    assert made == ["560.28"], "what no driver can use any more is removed"
    assert isinstance(slot.run(lease_of({})), Rendered)


def test_kernels_that_cannot_be_made_are_a_sentence_and_are_tried_again(make_slot, machine, tmp_path):
    slot = make_slot()
    machine.behave("Failed to load CUDA kernel (Unsupported PTX version)")
    prepared = ready(slot)
    assert (prepared.info, prepared.failed) == (None, True)
    assert prepared.sentence == (
        "The kernels for NVIDIA L4 (CUDA, driver 550.54) cannot be made: "
        "Failed to load CUDA kernel (Unsupported PTX version)"
    )
    assert list(tmp_path.glob("kernels/*/made.json")) == []
    assert list(tmp_path.glob("kernels/*.part-*")) == []
    machine.behave("ok")
    assert slot.prepare() == prepared, "only who asks for it has it tried again"
    assert ready(slot, "It failed before.").info


def test_a_gpu_that_broke_is_not_offered_though_its_kernels_are_there(make_slot, machine):
    slot = make_slot()
    assert ready(slot).info
    machine.behave("Uncorrectable ECC error detected in CUDA queue synchronize")
    prepared = ready(slot, "Blender ended by SIGSEGV.")
    assert prepared.failed
    assert "Uncorrectable ECC" in prepared.sentence


def test_kernels_that_somebody_removed_are_made_again(make_slot, tmp_path):
    slot = make_slot()
    assert ready(slot).info
    assert isinstance(slot.run(lease_of({})), Rendered)
    shutil.rmtree(tmp_path / "kernels")
    failure = slot.run(lease_of({"another": "scene"}))
    assert failure.code is FailureCode.NODE
    assert ready(slot).info
    assert isinstance(slot.run(lease_of({"another": "scene"})), Rendered)


def test_a_driver_that_does_not_answer_is_a_sentence(make_slot, machine):
    slot = make_slot()
    machine.install(None)
    prepared = ready(slot)
    assert prepared.failed
    assert "after an update of the driver" in prepared.sentence


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("gpu_memory", FailureCode.GPU_MEMORY),
        ("gpu_fault", FailureCode.CRASHED),
        ("device_error", FailureCode.DEVICE),
    ],
)
def test_a_child_whose_gpu_failed_is_thrown_away(make_slot, behaviour, code):
    slot = make_slot()
    assert ready(slot).info
    failure = slot.run(lease_of({"render": behaviour}))
    assert failure.code is code
    old = slot._stage
    assert old.blank, "a fresh one is in its place"
    assert isinstance(slot.run(lease_of({})), Rendered)


def test_what_was_left_half_done_is_made_anew(tmp_path):
    store, key = KernelStore(tmp_path), KernelKey("5.0.1-a", "CUDA", "NVIDIA L4", "550.54")
    (tmp_path / key.folder() / "cuda").mkdir(parents=True)
    (tmp_path / f"{key.folder()}.part-0").mkdir()
    assert store.held(key) is None
    seen = []
    kernels = store.get(key, lambda target: seen.append(list(target.iterdir())) or Warmed("L4", 12.0))
    assert seen == [[]]
    assert (kernels, kernels.seconds) == (store.held(key), 12.0)
    assert list(tmp_path.glob("*.part-*")) == []
    (kernels.folder / "made.json").write_text("{")
    assert store.held(key) is None, "a damaged note is none"


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EOPNOTSUPP])
def test_children_get_their_copies_where_no_blocks_can_be_shared(tmp_path, monkeypatch, code):
    """As between a disk and a folder in memory."""

    def refused(*_):
        raise OSError(code, "refused")

    for name in (*COPIED, *READ):
        (tmp_path / "made" / name).mkdir(parents=True)
    (tmp_path / "made" / "cuda" / "index").write_bytes(b"kernel" * 1000)
    monkeypatch.setattr("os.copy_file_range", refused)
    Kernels(KernelKey("5.0.1-a", "CUDA", "NVIDIA L4", "550.54"), tmp_path / "made").copy_to(tmp_path / "own")
    assert (tmp_path / "own" / "cuda" / "index").read_bytes() == b"kernel" * 1000


def test_kernels_of_another_gpu_of_the_machine_stay(tmp_path):
    store = KernelStore(tmp_path)
    keys = [KernelKey("5.0.1-a", "CUDA", name, "550.54") for name in ("NVIDIA L4", "NVIDIA A10")]
    for key in keys:
        store.get(key, lambda target: Warmed("", 1.0))
    assert all(map(store.held, keys))


# --- in the child ------------------------------------------------------------------------------------


class Preferences:
    """Cycles' preferences on a machine with some devices, as (name, type, id)."""

    def __init__(self, *devices, listed=None):
        self.compute_device_type = "NONE"
        self.there = list(devices)
        self.devices = [
            SimpleNamespace(name=name, type=kind, id=mark, use=True) for name, kind, mark in devices
        ]

    def refresh_devices(self):
        pass

    def get_device_list(self, kind):
        return [one for one in self.there if one[1] in (kind, "CPU")]


CPU = ("Xeon", "CPU", "CPU")
ONE = ("NVIDIA L4", "CUDA", "CUDA_L4_01")
TWO = ("NVIDIA A10", "CUDA", "CUDA_A10_02")
SCENE = SimpleNamespace(cycles=SimpleNamespace(device="GPU"))


def chosen(*there, index=0):
    preferences = Preferences(*there)
    assert devices.select(preferences, "CUDA", index) == [ONE, TWO][index][0]
    devices.verify(preferences, SCENE, "CUDA", index)
    return preferences


def test_one_gpu_is_used_and_no_cpu_beside_it():
    assert [one.use for one in chosen(CPU, ONE, TWO, index=1).devices] == [False, False, True]


def _cpu_beside(preferences):
    preferences.devices[0].use = True


def _off(preferences):
    preferences.devices[1].use = False


def _gone(preferences):
    preferences.there.remove(ONE)


def _factory(preferences):
    preferences.compute_device_type = "NONE"


@pytest.mark.parametrize("change", [_cpu_beside, _off, _gone, _factory])
def test_whatever_would_end_on_the_cpu_is_an_error(change):
    preferences = chosen(CPU, ONE)
    change(preferences)
    with pytest.raises(devices.DeviceError):
        devices.verify(preferences, SCENE, "CUDA", 0)


def test_a_scene_that_is_set_to_the_cpu_is_an_error():
    on_cpu = SimpleNamespace(cycles=SimpleNamespace(device="CPU"))
    with pytest.raises(devices.DeviceError, match="on the CPU, not on the GPU"):
        devices.verify(chosen(CPU, ONE), on_cpu, "CUDA", 0)


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(devices.DeviceError, match="CUDA device 0 was asked for, but Cycles sees 0"):
        devices.select(Preferences(CPU), "CUDA", 0)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("System is out of GPU memory", "gpu_memory"),
        ("System is out of GPU and shared host memory", "gpu_memory"),
        ("Out of memory in cuMemAlloc(&device_pointer, size) (cuda/device_impl.cpp:560)", "gpu_memory"),
        ("Out of memory in CUDA queue enqueue (integrator_init)", "gpu_memory"),
        ("OPTIX_ERROR_DEVICE_OUT_OF_MEMORY in optixAccelBuild(...) (device_impl.cpp:1339)", "gpu_memory"),
        ("Failed to build OptiX acceleration structure", "gpu_memory"),
        (
            'oneAPI memory operation error: got runtime exception "UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"',
            "gpu_memory",
        ),
        ("Uncorrectable ECC error detected in CUDA queue synchronize (integrator_shade_surface)", "device"),
        ("Failed to load CUDA kernel from 'x.cubin' (Unsupported PTX version)", "device"),
        ("Failed to retain CUDA context (Unknown error)", "device"),
        ("No CUDA-capable device available in cuInit(0)", "device"),
        ("Illegal address in CUDA queue synchronize (integrator_shade_surface)", "gpu_fault"),
        ("Launch failed in cuStreamSynchronize(stream_) (cuda/queue.cpp:134)", "gpu_fault"),
        ("Launch exceeded timeout in CUDA queue copy_from_device ()", "gpu_fault"),
        ("OPTIX_ERROR_CUDA_ERROR in optixLaunch(pipeline)", "gpu_fault"),
        ('oneAPI kernel "integrator_init" execution error: got runtime exception "x"', "gpu_fault"),
        ("No camera found in scene", None),
        ("Cannot save: File not found", None),
        ("Out of memory", None),
    ],
)
def test_what_cycles_says_has_one_meaning(text, meaning):
    assert devices.meaning(f"Error: {text}\n") == meaning


@pytest.mark.blender
def test_the_nodes_own_scenes_render(tmp_path):
    """On the CPU, by all the scenes that OptiX gets."""
    import subprocess

    program = (
        "import sys; from gpu_worker.blender.child import warming\n"
        "some = warming.variants('OPTIX'); warming.variants = lambda backend: some\n"
        f"print(warming.warm({{'backend': 'CPU', 'index': 0, 'threads': 1}}, {str(tmp_path)!r}, "
        "lambda done, total: print('at', done, total)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False
    )
    assert "'device_name': 'CPU'" in answer.stdout, answer.stderr
    assert "at 9 9" in answer.stdout
    assert list(tmp_path.iterdir()) == []


def test_each_folder_is_either_copied_or_read_only():
    assert not set(COPIED) & set(READ)


@pytest.mark.blender
def test_the_real_child_renders_them_in_the_sandbox_it_would_compile_and_load_in(tmp_path):
    """On the CPU, whose kernels need no folder: all else is as on a GPU."""
    device, limits = Device("CPU", 0, 1), ChildLimits(8 << 30)
    store, key = KernelStore(tmp_path / "kernels"), KernelKey("5.0.1-a", "CPU", "CPU", "none")
    works = [tmp_path / "one", tmp_path / "two"]
    for work in works:
        work.mkdir()
    seen = []
    held = store.get(
        key,
        lambda target: warm(
            CHILD_PROGRAM, device, limits, SANDBOXED, works[0], None, target, lambda *at: seen.append(at)
        ),
    )
    assert seen[-1] == (3, 3)
    assert sorted(path.name for path in held.folder.iterdir() if path.is_dir()) == sorted((*COPIED, *READ))
    again = warm(CHILD_PROGRAM, device, limits, SANDBOXED, works[1], held)
    assert again.device_name == "CPU"


@pytest.mark.blender
@pytest.mark.parametrize("backend", ["CUDA", "OPTIX", "HIP", "ONEAPI"])
def test_the_real_blender_says_that_a_gpu_is_not_there(backend):
    child = BlenderChild(ChildLimits(8 << 30), ChildCommand(variables={"PATH": "/usr/bin:/bin"}))
    child.start()
    try:
        with pytest.raises(TaskError, match=backend) as caught:
            child.device_name(Device(backend))
        assert caught.value.failure is FailureCode.DEVICE
        assert not child.alive
    finally:
        child.close()

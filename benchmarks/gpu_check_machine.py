# SPDX-License-Identifier: GPL-3.0-or-later
"""The first steps of benchmarks/gpu_check.py: which devices there are, and the scenes they render."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check_child import ROOT, Child
from benchmarks.gpu_check_records import CPU, Cell, Device, Row, Setup
from gpu_worker.blender.devices import Choice, instruction_set, nvidia_gpus

SCENES = Path(__file__).with_name("gpu_check_scenes.py")
EMULATED = ROOT / "tests" / "emulated" / "child.py"
"""A Blender child that adds samples in any order, as a GPU does."""

GPUS = (Choice.CUDA, Choice.OPTIX, Choice.HIP, Choice.ONEAPI)
FIND = """
import json, bpy
preferences = bpy.context.preferences.addons['cycles'].preferences
found = {}
for backend in %r:
    try:
        preferences.compute_device_type = backend
    except TypeError:
        continue
    preferences.refresh_devices()
    names = [device.name for device in preferences.devices if device.type == backend]
    if names:
        found[backend] = names[0]
    print('FOUND', json.dumps(found), flush=True)
"""
FIND_SECONDS = 60.0
ADVICE = "check the driver (nvidia-smi, rocminfo, sycl-ls); --dry tries it all on the CPU"
BESIDE_GPU = 4
"""CPU threads beside a GPU."""


class NoGpu(Exception):
    """There is nothing to measure here; the text says what to do."""


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def devices() -> tuple[Device, ...]:
    """The CPU with all cores, the first GPU of each of Cycles' backends, and the CPU in other ways. Raises
    NoGpu.
    """
    gpus = [Device(backend, backend, 0, min(BESIDE_GPU, cores())) for backend in cycles_sees()]
    return (Device(CPU, threads=cores()), *gpus, *variants())


def variants() -> tuple[Device, ...]:
    """One thread; and Cycles' kernel for processors without AVX2, by its own switch for debugging."""
    single = Device("CPU, one thread", threads=1, variant=True)
    if instruction_set() not in {"avx2", "avx512"}:
        return (single,)
    old = {"CYCLES_CPU_NO_AVX2": "1"}
    return single, Device("CPU as if without AVX2", threads=cores(), variables=old, variant=True)


def cycles_sees() -> dict[str, str]:
    """The name of the first GPU of each backend that has one. Raises NoGpu where there is none, or where
    looking fails before one is found.
    """
    line = [sys.executable, "-c", FIND % [str(one) for one in GPUS]]
    try:
        # A Blender that is stopped leaves a folder behind.
        with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder:
            answer = subprocess.run(
                line,
                capture_output=True,
                text=True,
                check=False,
                timeout=FIND_SECONDS,
                env=os.environ | {"TMPDIR": folder},
            )
    except subprocess.TimeoutExpired as error:
        raise NoGpu(f"Blender looked for GPUs for {FIND_SECONDS:.0f} s and found none: {ADVICE}") from error
    told = [line for line in answer.stdout.splitlines() if line.startswith("FOUND ")]
    found: dict[str, str] = json.loads(told[-1].removeprefix("FOUND ")) if told else {}
    if not found and answer.returncode:
        words = answer.stderr.strip().splitlines() or [f"it ended with status {answer.returncode}"]
        raise NoGpu(f"Blender could not look for GPUs: {words[-1]}")
    if not found:
        raise NoGpu(f"Blender sees no GPU here: {ADVICE}")
    return found


def stand_ins(program: str) -> tuple[Device, ...]:
    """For a dry run: the CPU as itself and as a GPU, with `program` for its Blender child or else, where it
    can run, the one that emulates a GPU's sums.
    """
    if not program and EMULATED.is_file() and has_records():
        program = str(EMULATED)
    return Device(CPU, threads=cores()), Device("stand-in", threads=1, program=program), variants()[0]


def has_records() -> bool:
    """Whether the project's records can be decoded here, which the emulation does."""
    return sys.modules["msgspec"].__spec__ is not None


def machine(setup: Setup, device: Device) -> Iterator[Row]:
    """Processor, GPUs, drivers and the build of Blender."""
    with Child(setup, device) as child:
        build = f"{child.build['blender']} {child.build['build']}"
    facts: dict[str, Cell] = {
        "Blender": build,
        "processor": f"{_processor()}, {cores()} cores, {instruction_set()}",
    }
    for number, gpu in enumerate(nvidia_gpus()):
        memory = f"{gpu.memory >> 20} MB" if gpu.memory else "memory not told"
        facts[f"GPU {number}"] = f"{gpu.name}, driver {gpu.driver}, {memory}"
    for each in setup.gpus:
        facts[each.name] = "stands in for a GPU" if setup.dry else cycles_name(setup, each)
    for backend in GPUS if not setup.dry else ():
        if all(each.backend != backend for each in setup.gpus):
            facts[str(backend)] = "not measured, Cycles sees no such device here"
    for what, found in facts.items():
        yield Row("machine", {"what": what, "found": found})


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    lines = cpuinfo.read_text(errors="replace").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def cycles_name(setup: Setup, device: Device) -> str:
    """How Cycles calls a device."""
    scene = setup.scenes()["orbit"]
    with Child(setup, device) as child:
        return child.open(scene)


def scenes(setup: Setup, device: Device) -> Iterator[Row]:
    """Write the scenes; their sizes."""
    del device
    subprocess.run([sys.executable, str(SCENES), str(setup.folder)], check=True, stdout=sys.stderr)
    for scene in setup.scenes().values():
        size = f"{scene.width}x{scene.height}, {scene.samples} samples, frame {scene.frame}"
        yield Row("machine", {"what": f"scene {scene.name}", "found": size})

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a slot renders on, and the name of all that must match for floats to match."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from frame_splitter.errors import InvalidInput
from frame_splitter.ids import DeviceClass
from gpu_worker.protocol import Ready


class Choice(StrEnum):
    """`--device`."""

    AUTO = "auto"
    CPU = "CPU"
    CUDA = "CUDA"
    OPTIX = "OPTIX"
    HIP = "HIP"
    ONEAPI = "ONEAPI"


NVIDIA = frozenset({"CUDA", "OPTIX"})

INSTRUCTION_SETS = (("avx512f", "avx512"), ("avx2", "avx2"), ("sse4_2", "sse4.2"))
"""Flag of the processor, and how a device class calls it: the widest comes first."""


VENDORS = (("AMD", "HIP"), ("Intel", "ONEAPI"))
"""How Ray begins the names of GPUs that are not NVIDIA's, and the backend for them."""


def backend_for(choice: Choice, gpus: int, names: Iterable[str] = ()) -> str:
    """The backend to use on a node with `gpus` GPUs of these names. Raises InvalidInput where a GPU is
    asked for and there is none: there is no silent fall back to the CPU.
    """
    if choice is Choice.AUTO and gpus:
        found = {backend for name in names for vendor, backend in VENDORS if name.startswith(vendor)}
        return min(found) if found else "OPTIX"
    if choice is Choice.AUTO:
        return "CPU"
    if choice is Choice.CPU:
        return "CPU"
    if not gpus:
        raise InvalidInput(
            f"--device {choice} was asked for, but Ray finds no GPU on this node: check the driver, or use "
            f"--device CPU."
        )
    return str(choice)


def device_class(backend: str, index: int, blender: Ready) -> DeviceClass:
    """For example `cpu:avx512:bpy-5.0.1-a3db93c5b259`, or
    `optix:NVIDIA L4:driver-550.54:bpy-5.0.1-a3db93c5b259`.

    A child program that emulates a device (tests have one) is in a class of its own, whatever it runs on.
    """
    build = f"bpy-{_word(blender.blender)}-{_word(blender.build)}"
    if blender.emulates:
        return DeviceClass(f"emulated-{blender.emulates}:{instruction_set()}:{build}")
    if backend == "CPU":
        return DeviceClass(f"cpu:{instruction_set()}:{build}")
    name, driver = _gpu(backend, index)
    return DeviceClass(f"{backend.lower()}:{_word(name)}:driver-{_word(driver)}:{build}")


def instruction_set(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The widest vector instructions of this processor that renderers choose code by."""
    if platform.machine() in ("aarch64", "arm64"):
        return "arm64"
    with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return next((name for flag, name in INSTRUCTION_SETS if flag in flags), platform.machine())


def _gpu(backend: str, index: int) -> tuple[str, str]:
    """Name and driver version of a GPU among those this process may see."""
    if backend in NVIDIA:
        return _nvidia(index)
    # Other vendors' drivers come with the kernel.
    return "gpu", platform.release()


def _nvidia(index: int) -> tuple[str, str]:
    gpus = nvidia_gpus()
    return gpus[index] if index < len(gpus) else ("gpu", "unknown")


def nvidia_gpus() -> list[tuple[str, str]]:
    """Name and driver version of each NVIDIA GPU this process may see."""
    program = shutil.which("nvidia-smi")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if program is None:
        return _nvidia_from_proc()
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(
        [*query, f"--id={chosen}"] if chosen else query,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    pairs = [line.rpartition(",") for line in lines]
    return [(name.strip(), driver.strip()) for name, comma, driver in pairs if comma]


def _nvidia_from_proc(proc: Path = Path("/proc/driver/nvidia")) -> list[tuple[str, str]]:
    models = [
        match[1].strip()
        for file in sorted(proc.glob("gpus/*/information"))
        if (match := re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE))
    ]
    version = proc / "version"
    text = version.read_text(errors="replace") if version.is_file() else ""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)
    return [(model, found[1] if found else "unknown") for model in models]


def _word(text: str) -> str:
    """Colons separate the parts of a device class."""
    return re.sub(r"[^\w .+-]", "_", text)[:80] or "unknown"

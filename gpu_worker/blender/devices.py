# SPDX-License-Identifier: GPL-3.0-or-later
"""What a slot renders on, and the name of all that must match for floats to match."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from farm_protocol.errors import InvalidInput
from farm_protocol.ids import DeviceClass
from farm_protocol.records import FailureCode
from gpu_worker.blender.protocol import Ready
from gpu_worker.failures import TaskError


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

NVIDIA_FIELDS = ("name", "driver_version", "memory.total", "memory.free")

MEBIBYTE = 1 << 20

SMI_SECONDS = 60.0
"""How long nvidia-smi may take to answer."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU. `memory` and `free` are bytes of video memory in all and unused, None where nobody says."""

    name: str
    driver: str
    memory: int | None = None
    free: int | None = None

    @property
    def room(self) -> int:
        """Bytes of video memory that a scene may find; 0 where nobody says."""
        return self.free or self.memory or 0


def backend_for(choice: Choice, gpus: int, names: Iterable[str] = ()) -> str:
    """The backend to use on a node with `gpus` GPUs of these names. Raises InvalidInput where a GPU is
    asked for and absent: there is no silent fall back to the CPU.
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


def device_class(backend: str, gpu: Gpu | None, blender: Ready) -> DeviceClass:
    """For example `cpu:avx512:bpy-5.0.1-a3db93c5b259` (no GPU), or
    `optix:NVIDIA L4:driver-550.54:bpy-5.0.1-a3db93c5b259`.

    A child program that emulates a device (tests have one) is in a class of its own, whatever it runs on.
    """
    build = f"bpy-{_word(blender.blender)}-{_word(blender.build)}"
    if blender.emulates:
        return DeviceClass(f"emulated-{blender.emulates}:{instruction_set()}:{build}")
    if gpu is None:
        return DeviceClass(f"cpu:{instruction_set()}:{build}")
    return DeviceClass(f"{backend.lower()}:{_word(gpu.name)}:driver-{_word(gpu.driver)}:{build}")


def instruction_set(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The widest vector instructions of this processor that renderers choose code by."""
    if platform.machine() in ("aarch64", "arm64"):
        return "arm64"
    with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return next((name for flag, name in INSTRUCTION_SETS if flag in flags), platform.machine())


def gpu_at(backend: str, index: int, shown: str) -> Gpu:
    """The GPU that a child renders on: `index` among those this process may see, which Cycles calls `shown`.

    Raises TaskError (DEVICE) where the driver knows no such GPU, or calls it otherwise: what was rendered
    would be said to be of a device that it is not of.
    """
    if backend not in NVIDIA:
        # Other vendors' drivers come with the kernel.
        return Gpu(shown, platform.release(), amd_memory() if backend == "HIP" else None)
    gpus = nvidia_gpus()
    if index >= len(gpus):
        raise TaskError(
            FailureCode.DEVICE,
            f"The driver does not say what GPU {index} is (nvidia-smi lists {len(gpus)}): look at what "
            f"`nvidia-smi` says; after an update of the driver the machine often has to be started anew.",
        )
    if plain_name(gpus[index].name) != plain_name(shown):
        raise TaskError(
            FailureCode.DEVICE,
            f"Blender calls GPU {index} '{shown}', and the driver '{gpus[index].name}': it is not known on "
            f"which of them it would render.",
        )
    return gpus[index]


def plain_name(name: str) -> str:
    """A GPU's name without what only some programs add: Cycles marks GPUs that show a picture."""
    return re.sub(r"^NVIDIA | \(Display\)$", "", name.strip()).casefold()


def nvidia_gpus() -> list[Gpu]:
    """The NVIDIA GPUs this process may see, in the order of their PCI addresses."""
    program = shutil.which("nvidia-smi")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if program is None:
        return _nvidia_from_proc()
    query = [program, f"--query-gpu={','.join(NVIDIA_FIELDS)}", "--format=csv,noheader,nounits"]
    if chosen:
        query.append(f"--id={chosen}")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=SMI_SECONDS)
    except (OSError, subprocess.SubprocessError):
        # It fails, or hangs, where a GPU or the driver does.
        return []
    lines = answer.stdout.splitlines()
    fields = [line.rsplit(",", len(NVIDIA_FIELDS) - 1) for line in lines]
    return [
        Gpu(name.strip(), driver.strip(), _mebibytes(total), _mebibytes(free))
        for name, driver, total, free in (some for some in fields if len(some) == len(NVIDIA_FIELDS))
    ]


def _mebibytes(text: str) -> int | None:
    """Bytes of what nvidia-smi says in MiB; None for `[N/A]`, as of GPUs that share the machine's memory."""
    return int(text) * MEBIBYTE if text.strip().isdigit() else None


def _nvidia_from_proc(proc: Path = Path("/proc/driver/nvidia")) -> list[Gpu]:
    models = [
        match[1].strip()
        for file in sorted(proc.glob("gpus/*/information"))
        if (match := re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE))
    ]
    version = proc / "version"
    text = version.read_text(errors="replace") if version.is_file() else ""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)
    return [Gpu(model, found[1]) for model in models] if found else []


def amd_memory(drm: Path = Path("/sys/class/drm")) -> int | None:
    """Bytes of video memory of this machine's AMD GPU; None where it has several that differ, because which
    of them a slot has is not known here.
    """
    found = set()
    for file in drm.glob("card*/device/mem_info_vram_total"):
        text = file.read_text(errors="replace").strip()
        if text.isdigit():
            found.add(int(text))
    return found.pop() if len(found) == 1 else None


def _word(text: str) -> str:
    """Colons separate the parts of a device class."""
    return re.sub(r"[^\w .+-]", "_", text)[:80] or "unknown"

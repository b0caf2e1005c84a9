# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine can render on, and what it lacks, in words."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from glob import glob
from pathlib import Path

from farm_protocol.errors import FarmError
from gpu_worker import machine, sandbox
from gpu_worker.blender import BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.config import cores, default_memory, default_slots, default_threads
from gpu_worker.devices import Gpu, device_class, gpu_at, nvidia_gpus
from gpu_worker.failures import TaskError
from gpu_worker.identity import KEY_FILE, load_identity
from gpu_worker.kernels import KERNELS, KernelKey, KernelStore, key_of
from gpu_worker.libraries import blender_installed, install_line, missing_libraries
from gpu_worker.protocol import Ready

NVIDIAS, OTHERS = "OPTIX", ("HIP", "ONEAPI")
"""Back ends by what GPU there is, where nobody chooses."""

RENDER_NODES = "/dev/dri/renderD*"
"""Where Linux has GPUs that can compute."""

GIBIBYTE = 1 << 30


def report(state: Path) -> tuple[str, int]:
    """The report, and the exit status: 0 where this machine can be a node with the folder `state`."""
    missing = missing_libraries()
    blender, problem = (None, "") if missing else _try_blender()
    key, usable = _key(state)
    lines = [*_devices(blender, state), _sandbox(), key, *machine.text(machine.find())]
    if missing:
        lines += [f"missing: {', '.join(missing)}", f"  install them with: {install_line(missing)}"]
    if problem:
        lines.append(f"blender: {problem}")
    return "\n".join(lines), 0 if blender is not None and usable and not missing else 1


def _try_blender() -> tuple[Ready | None, str]:
    if not blender_installed():
        return None, "the Python package bpy is not installed"
    with _child() as child:
        try:
            return child.ready(), ""
        except TaskError as error:
            return None, error.sentence


@contextlib.contextmanager
def _child() -> Iterator[BlenderChild]:
    child = BlenderChild(ChildLimits(default_memory(1)), ChildCommand(variables={"PATH": "/usr/bin:/bin"}))
    child.start()
    try:
        yield child
    finally:
        child.close()


def _gpus() -> tuple[str, list[Gpu]]:
    """The back end that a node uses where nobody chooses, and the GPUs. Only Blender knows the names of those
    that are not NVIDIA's.
    """
    gpus = nvidia_gpus()
    if gpus or not glob(RENDER_NODES):
        return NVIDIAS, gpus
    for backend in OTHERS:
        with _child() as child, contextlib.suppress(TaskError):
            return backend, [gpu_at(backend, 0, child.device_name(Device(backend)))]
    return NVIDIAS, []


def _devices(blender: Ready | None, state: Path) -> list[str]:
    backend, gpus = _gpus() if blender is not None else (NVIDIAS, nvidia_gpus())
    slots = default_slots(len(gpus))
    lines = [f"gpu:     {_named(gpu)}" for gpu in gpus] or [
        "gpu:     none found; one of NVIDIA's shows once its driver's nvidia-smi lists it"
    ]
    lines.append(f"cpu:     {cores()} cores; {slots} slots of {default_threads(slots)} threads by default")
    if blender is not None:
        lines.append(f"blender: {blender.blender}, build {blender.build}")
        store = KernelStore(state / KERNELS)
        for gpu in dict.fromkeys(replace(one, memory=None, free=None) for one in gpus):
            lines.append(f"class:   {device_class(backend, gpu, blender)}")
            lines.append(f"kernels: {_kernels(store, key_of(backend, gpu, blender))}")
        if not gpus:
            lines.append(f"class:   {device_class('CPU', None, blender)}")
    return lines


def _named(gpu: Gpu) -> str:
    memory = f"{gpu.memory / GIBIBYTE:.1f} GiB" if gpu.memory else "video memory not told"
    free = f", {gpu.free / GIBIBYTE:.1f} GiB free" if gpu.memory and gpu.free is not None else ""
    return f"{gpu.name}, driver {gpu.driver}, {memory}{free}"


def _kernels(store: KernelStore, key: KernelKey) -> str:
    """Whether a node would have to compile first. Compiles nothing: that is for the node's start."""
    held = store.held(key)
    if held is None:
        return f"none yet for {key.gpu}: the node compiles them at its start, before it takes work"
    return f"ready for {key.gpu}, compiled in {held.seconds:.0f} s"


def _key(state: Path) -> tuple[str, bool]:
    """Whether this node can sign its work. Makes no key: that is for the node's first start."""
    if not os.path.lexists(state / KEY_FILE):
        return f"key:     made at the node's first start, in {state}", True
    try:
        return f"key:     {state / KEY_FILE} signs as {load_identity(state).address}", True
    except FarmError as error:
        return f"key:     {error.sentence}", False


def _sandbox() -> str:
    reason = sandbox.unavailable()
    if reason is None:
        return "sandbox: bubblewrap works; scenes of anybody can be taken"
    return f"sandbox: none, so only scenes of this node's own user are taken ({reason})"

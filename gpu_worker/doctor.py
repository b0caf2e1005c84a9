# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine can render on, and what it lacks, in words."""

import os
from pathlib import Path

from frame_splitter.errors import FarmError
from gpu_worker import sandbox
from gpu_worker.blender import BlenderChild, ChildCommand, ChildLimits
from gpu_worker.config import cores, default_memory, default_slots, default_threads
from gpu_worker.devices import device_class, nvidia_gpus
from gpu_worker.failures import TaskError
from gpu_worker.identity import KEY_FILE, load_identity
from gpu_worker.libraries import blender_installed, install_line, missing_libraries
from gpu_worker.protocol import Ready


def report(state: Path) -> tuple[str, int]:
    """The report, and the exit status: 0 where this machine can be a node with the folder `state`."""
    missing = missing_libraries()
    blender, problem = (None, "") if missing else _try_blender()
    key, usable = _key(state)
    lines = [*_devices(blender), _sandbox(), key]
    if missing:
        lines += [f"missing: {', '.join(missing)}", f"  install them with: {install_line(missing)}"]
    if problem:
        lines.append(f"blender: {problem}")
    return "\n".join(lines), 0 if blender is not None and usable and not missing else 1


def _try_blender() -> tuple[Ready | None, str]:
    if not blender_installed():
        return None, "the Python package bpy is not installed"
    child = BlenderChild(ChildLimits(default_memory(1)), ChildCommand(variables={"PATH": "/usr/bin:/bin"}))
    child.start()
    try:
        return child.ready(), ""
    except TaskError as error:
        return None, error.sentence
    finally:
        child.close()


def _devices(blender: Ready | None) -> list[str]:
    gpus = nvidia_gpus()
    slots = default_slots(len(gpus))
    lines = [f"gpu:     {name}, driver {driver}" for name, driver in gpus] or ["gpu:     none found"]
    lines.append(f"cpu:     {cores()} cores; {slots} slots of {default_threads(slots)} threads by default")
    if blender is not None:
        lines.append(f"blender: {blender.blender}, build {blender.build}")
        lines.append(f"class:   {device_class('OPTIX' if gpus else 'CPU', 0, blender)}")
    return lines


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which device Cycles renders on, chosen and then looked at; and what its errors mean.

Cycles itself says nothing where the GPU that was chosen is not there: it renders on the CPU.
"""

import re
from typing import Any


class DeviceError(Exception):
    """The device cannot be used; the text is for its owner. `code` is that of the child's event: `device`,
    `gpu_memory` (the scene does not fit it) or `gpu_fault` (it stopped in the midst of work).
    """

    def __init__(self, message: str, code: str = "device") -> None:
        super().__init__(message)
        self.code = code


MEMORY = re.compile(
    r"out of (gpu|device|video)\b[\w ]*memory|out of memory in |out_of_(device_|host_)?memory|"
    r"erroroutofmemory|errormemoryallocation|couldn't allocate integrator state|"
    r"failed to build optix acceleration structure",
    re.IGNORECASE,
)
"""How Cycles, CUDA, OptiX, HIP and SYCL say that video memory is used up (`GPUDevice::generic_alloc`,
`cuda_device_assert` with `cuewErrorString`, `optixGetErrorName`). What OptiX cannot build nearly always is
too large.
"""

BROKEN = re.compile(
    r"uncorrectable|contained error|device[ _]lost|fell off the bus|no cuda-capable device|"
    r"no binary for gpu|unsupported ptx|compiler not found|kernel compilation failed|"
    r"failed to (initialize (cuda|hip)|get (cuda|hip) device|configure cuda|retain cuda|create hip|"
    r"load (cuda|hip|optix|oneapi))|failed loading render kernel|unable to compile optix|driver mismatch",
    re.IGNORECASE,
)
"""What no scene can bring about: the machine's or its driver's fault."""

FAULT = re.compile(
    r"illegal[ _](address|instruction)|misaligned[ _]address|launch (failed|exceeded)|hardware stack error|"
    r"\bin (cuda|hip) queue |\bin (cu|hip|optix)[A-Z]\w*\(|optix_error_|ur_result_error_|pi_error_|"
    r"oneapi .*(execution|operation) error",
    re.IGNORECASE,
)
"""A kernel that stopped: by a fault of Cycles that the scene meets, of the driver, or of broken memory."""


def select(preferences: Any, backend: str, index: int) -> str:
    """Have Cycles use the GPU `index` of `backend` and nothing beside it. Returns its name; raises
    DeviceError where Cycles does not list it.
    """
    try:
        preferences.compute_device_type = backend
    except TypeError as error:
        raise DeviceError(f"This Blender has no {backend} support, or finds no driver for it.") from error
    preferences.refresh_devices()
    found = [device for device in preferences.devices if device.type == backend]
    if index >= len(found):
        raise DeviceError(f"{backend} device {index} was asked for, but Cycles sees {len(found)} of them.")
    for device in preferences.devices:
        device.use = device == found[index]
    return str(found[index].name)


def verify(preferences: Any, scene: Any, backend: str, index: int) -> None:
    """Raise DeviceError unless the scene's next render runs on the GPU `index` of `backend`, and on it alone.

    Looks at all that Cycles chooses by (`blender_device_info`): the scene's device, the backend, and which
    of the devices that are switched on are there. Where none is, it would render on the CPU.
    """
    if scene.cycles.device != "GPU":
        raise DeviceError(f"The scene would be rendered on the {scene.cycles.device}, not on the GPU.")
    if preferences.compute_device_type != backend:
        raise DeviceError(
            f"Cycles is set to {preferences.compute_device_type or 'no GPU'}, not to {backend}."
        )
    there = [(one[2], one[1]) for one in preferences.get_device_list(backend)]
    used = [(one.id, one.type) for one in preferences.devices if one.use]
    wanted = [one for one in there if one[1] == backend][index : index + 1]
    if not wanted:
        raise DeviceError(f"{backend} device {index} is gone: Cycles would render on the CPU.")
    beside = [one for one in used if one not in wanted and one in there]
    if wanted[0] not in used or beside:
        kinds = ", ".join(kind for _, kind in used) or "nothing"
        raise DeviceError(f"Cycles would render on other devices than {backend} {index}: {kinds}.")


def meaning(text: str) -> str | None:
    """What an error of a render on a GPU is: gpu_memory, device, gpu_fault, or None where it is not the
    GPU's.
    """
    if MEMORY.search(text):
        return "gpu_memory"
    if BROKEN.search(text):
        return "device"
    return "gpu_fault" if FAULT.search(text) else None

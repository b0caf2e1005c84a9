# SPDX-License-Identifier: GPL-3.0-or-later
"""What the name of a device class says: the kind of device, and in which order it adds.

A class reads `kind:...:bpy-VERSION-BUILD`, for example `cpu:avx512:bpy-5.0.1-a3db93c5b259` or
`optix:NVIDIA L4:driver-550.54:bpy-5.0.1-a3db93c5b259` (`gpu_worker.devices` makes it).
"""

from enum import StrEnum

from farm_protocol.ids import DeviceClass

CPU = "cpu"


class Summation(StrEnum):
    """How a device adds a pixel's samples. IN_ORDER: one after the other, so that a render repeats bit for
    bit. ANY_ORDER: by float atomics of threads that run as they please, so that the last bits of a sum differ
    between two renders (Cycles' kernel/film/write.h under __ATOMIC_PASS_WRITE__).
    """

    IN_ORDER = "in_order"
    ANY_ORDER = "any_order"


def kind_of_device(device_class: DeviceClass) -> str:
    """The kind, such as `cpu`, `cuda` or `optix`."""
    return device_class.partition(":")[0]


def summation_of(device_class: DeviceClass) -> Summation:
    """Only Cycles' CPU code adds in order; every GPU back end uses atomics."""
    return Summation.IN_ORDER if kind_of_device(device_class) == CPU else Summation.ANY_ORDER

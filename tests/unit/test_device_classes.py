# SPDX-License-Identifier: GPL-3.0-or-later
"""What the name of a device class says."""

import pytest

from farm_protocol.device_classes import Summation, kind_of_device, summation_of
from farm_protocol.ids import DeviceClass


@pytest.mark.parametrize(
    ("name", "kind", "summation"),
    [
        ("cpu:avx512:bpy-5.0.1-a3db93c5b259", "cpu", Summation.IN_ORDER),
        ("cuda:NVIDIA L4:driver-550.54:bpy-5.0.1-a3db93c5b259", "cuda", Summation.ANY_ORDER),
        ("optix:NVIDIA L4:driver-550.54:bpy-5.0.1-a3db93c5b259", "optix", Summation.ANY_ORDER),
        ("hip:gpu:driver-6.1:bpy-5.0.1-a3db93c5b259", "hip", Summation.ANY_ORDER),
        ("oneapi:gpu:driver-6.1:bpy-5.0.1-a3db93c5b259", "oneapi", Summation.ANY_ORDER),
        ("cpu-like:x", "cpu-like", Summation.ANY_ORDER),
        ("", "", Summation.ANY_ORDER),
    ],
)
def test_only_cpus_add_in_order(name: str, kind: str, summation: Summation) -> None:
    assert kind_of_device(DeviceClass(name)) == kind
    assert summation_of(DeviceClass(name)) is summation

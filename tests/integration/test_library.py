# SPDX-License-Identifier: GPL-3.0-or-later
"""What a studio imports: the library alone, without servers, Blender, Ray or a chain."""

import subprocess
import sys

import pytest

import render_farm
from render_farm.client.farm_client import FarmClient

HEAVY = ("bpy", "boto3", "eth", "eth_account", "fastapi", "gpu_worker", "ray", "redis", "uvicorn", "web3")


def test_the_package_gives_the_library() -> None:
    assert render_farm.FarmClient is FarmClient
    with pytest.raises(AttributeError, match="no attribute 'Farm'"):
        render_farm.Farm  # noqa: B018


def test_the_library_loads_nothing_that_only_a_farm_needs() -> None:
    program = f"""
import sys
from render_farm import FarmClient
found = [name for name in {HEAVY} if name in sys.modules]
found += [name for name in sys.modules if name.startswith(("render_farm.coordinator", "render_farm.store"))]
print(found)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

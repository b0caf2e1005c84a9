# SPDX-License-Identifier: GPL-3.0-or-later
"""torch, whose build for CPUs not every package index has."""

import os

import pytest


def skip_without_torch() -> None:
    """Leave a module's tests out where torch could not be installed; never in CI."""
    if not os.environ.get("CI"):
        pytest.importorskip("torch", reason="torch's build for CPUs is not at this machine's package index")

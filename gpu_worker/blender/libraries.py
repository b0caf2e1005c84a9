# SPDX-License-Identifier: GPL-3.0-or-later
"""System libraries Blender's Python module needs, and the Debian packages that bring them."""

import ctypes
import importlib.util
from pathlib import Path

PACKAGES = {
    "libX11.so.6": "libx11-6",
    "libXi.so.6": "libxi6",
    "libXrender.so.1": "libxrender1",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libXfixes.so.3": "libxfixes3",
    "libXext.so.6": "libxext6",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
}


def missing_libraries() -> tuple[str, ...]:
    """Names of libraries that are not installed."""
    return tuple(name for name in PACKAGES if not _loads(name))


def install_line(missing: tuple[str, ...]) -> str:
    """The one command that brings them on Debian."""
    return "sudo apt-get install -y " + " ".join(sorted({PACKAGES[name] for name in missing}))


def blender_installed() -> bool:
    """Whether Blender's module is part of this Python environment (it is not loaded)."""
    found = importlib.util.find_spec("bpy")
    return found is not None and found.origin is not None and Path(found.origin).exists()


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True

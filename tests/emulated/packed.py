# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated GPU as a program in a folder of its own, which is all that a sandbox shows of it."""

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("farm_protocol", "frame_splitter", "gpu_worker", "verification", "tests/emulated")

PROGRAM = """\
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_worker import blender_child
from tests.emulated.child import Emulated

blender_child.Child = Emulated
blender_child.main()
"""


def pack(folder: Path) -> Path:
    """Copy what the program needs into `folder`, and give back the program."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "test_*")
        shutil.copytree(REPOSITORY / package, folder / package, ignore=ignored, dirs_exist_ok=True)
    program = folder / "emulated_gpu.py"
    program.write_text(PROGRAM)
    return program

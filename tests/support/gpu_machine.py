# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine with GPUs that are not there: `nvidia-smi` lists them, and a child says it renders on them."""

import json
import os
import shutil
from pathlib import Path

FAKES = Path(__file__).parents[1] / "fakes"


class GpuMachine:
    """Programs in `folder`. What they say may be changed at any time."""

    def __init__(self, folder, *gpus):
        self.folder, self.gpus, self.driver = folder, gpus, "550.54"
        folder.mkdir()
        for name in ("fake_child.py", "fake_gpu_child.py"):
            shutil.copy(FAKES / name, folder / name)
        self.child = folder / "fake_gpu_child.py"
        self.smi = folder / "bin" / "nvidia-smi"
        self.smi.parent.mkdir()
        self.path = f"{self.smi.parent}:{os.environ['PATH']}"
        self.install(self.driver)
        self.behave("ok")

    def install(self, driver):
        """That version of the driver; None: one that does not answer."""
        rows = [f"{name}, {driver}, {mebibytes}, {mebibytes - 500}" for name, mebibytes in self.gpus]
        script = ["#!/bin/sh", 'case "$*" in']
        # As the real one: rows of the GPUs that --id names, else all.
        script += [f"*--id={number}*) echo '{row}' ;;" for number, row in enumerate(rows)]
        script += ["*) " + "; ".join(f"echo '{row}'" for row in rows) + " ;;", "esac"]
        if driver is None:
            script = ["#!/bin/sh", "echo 'Driver/library version mismatch'", "exit 18"]
        self.smi.write_text("\n".join(script) + "\n")
        self.smi.chmod(0o755)

    def behave(self, warm):
        """How rendering the node's own scene goes from now on."""
        names = [name for name, _ in self.gpus]
        (self.folder / "gpus.json").write_text(json.dumps({"names": names, "warm": warm}))

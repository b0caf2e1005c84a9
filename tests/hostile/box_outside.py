# SPDX-License-Identifier: GPL-3.0-or-later
"""`box_outside.py PROGRAM`: puts a program into the farm's sandbox as whoever runs this, as a node would."""

import os
import subprocess
import sys
from pathlib import Path

from gpu_worker.sandbox import bubblewrap

program = Path(sys.argv[1])
if (reason := bubblewrap.unavailable()) is not None:
    sys.exit(f"no sandbox: {reason}")
launcher = Path(bubblewrap.__file__).with_name("launch.py")
command = bubblewrap.Sandbox(readable=(program.parent,)).wrap([sys.executable, "-I", "-S", str(program)])
started = [sys.executable, "-I", "-S", str(launcher), str(os.getpid()), *command]
sys.exit(subprocess.run(started, env=bubblewrap.environment({}), check=False, timeout=100).returncode)

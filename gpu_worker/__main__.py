# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpu-worker`: run a node, look into a scene, or see what this machine can do."""

import sys

from gpu_worker.program import main

if __name__ == "__main__":
    sys.exit(main())

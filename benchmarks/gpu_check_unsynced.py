# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's Blender child without persistent data: each render synchronises the scene anew."""

import sys
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gpu_worker.blender import child_program


class Unsynced(child_program.Child):
    """Takes no scene for one that stays right warm."""

    def __init__(self, events: TextIO) -> None:
        super().__init__(events)
        vars(self.rendering)["stays_right_warm"] = lambda scene: False


if __name__ == "__main__":
    child_program.Child = Unsynced  # type: ignore[misc]
    child_program.main()

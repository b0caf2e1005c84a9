# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender child that cheats: `gpu-worker run --no-sandbox --child-program tests/cheats/dishonest_child.py`.

The cheat's name stands in the file `cheat` in the node's state folder and is read before every render;
without the file, and for whatever is no tile, the child is honest. Each lie is written down in the file
`lies` beside it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gpu_worker import blender_child
from tests.cheats.cheats import CHEATS, Cheat, Command, apply_to_file

TOLD = "cheat"
TOLD_BY = "DISHONEST_CHILD"
LIES = "lies"


def told() -> tuple[str, Path]:
    """The cheat's name ('' for none), and the folder that says so."""
    scratch = Path(os.environ.get("TMPDIR", "/tmp"))
    for folder in (scratch, *scratch.parents):
        if (folder / TOLD).is_file():
            return (folder / TOLD).read_text().strip(), folder
    return "", scratch


def is_tile(command: Command) -> bool:
    """Whether a render is a tile's, and not an audit's."""
    return not Path(command["path"]).name.startswith(("crop-", "sparse"))


class Dishonest(blender_child.Child):
    """Renders as the cheat has it."""

    def render(self, command: Command) -> Command:
        name, folder = told()
        cheat = CHEATS.get(name)
        if cheat is None or command["output"] != "linear" or is_tile(command) == cheat.audits:
            return super().render(command)
        answer = self._cheat(cheat, command)
        with (folder / LIES).open("a") as lies:
            told_lie = {"cheat": name, "frame": command["frame"], "region": command["region"]}
            lies.write(json.dumps(told_lie) + "\n")
        return answer

    def _cheat(self, cheat: Cheat, command: Command) -> Command:
        wanted = cheat.ask(command) if cheat.ask else command
        if cheat.change is None:
            answer = super().render(wanted)
        else:
            answer = self._in_changed_scene(cheat.change, wanted)
        apply_to_file(cheat, Path(command["path"]), command)
        return answer

    def _in_changed_scene(self, change: Any, command: Command) -> Command:
        """What was changed must not show in the next, perhaps honest, render."""
        store = self.rendering.store_for_denoising
        self._load(self.opened)
        self._apply_device()
        change(self.bpy)
        if self.bpy.context.scene.get("denoise_in_cycles"):
            self.rendering.store_for_denoising = lambda scene, area: denoise(scene)
        try:
            return super().render(command)
        finally:
            self.rendering.store_for_denoising = store
            self._load(self.opened)
            self._apply_device()


def denoise(scene: Any) -> None:
    """Let Cycles denoise what it rendered."""
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"


if __name__ == "__main__":
    blender_child.Child = Dishonest
    blender_child.main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender child that cheats: `gpu-worker run --no-sandbox --child-program tests/cheats/dishonest_child.py`.

The cheat's name stands in the file `cheat` in the node's state folder and is read before every render;
without the file the child is honest, and after the word `later` once. Each lie is written down in the file
`lies` beside it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from frame_splitter import exr
from gpu_worker.blender import child_program
from gpu_worker.blender.child.confining import WRITES
from tests.cheats.cheats import ADAPTIVE, CHEATS, Cheat, Command, apply_to_file

TOLD = "cheat"
TOLD_BY = "DISHONEST_CHILD"
LIES = "lies"
LATER = "later "


def told() -> tuple[str, Path]:
    """The cheat's name ('' for none), and the folder that says so."""
    scratch = Path(os.environ.get("TMPDIR", "/tmp"))
    for folder in (scratch, *scratch.parents):
        if (folder / TOLD).is_file():
            return (folder / TOLD).read_text().strip(), folder
    return "", scratch


def write_down(folder: Path, name: str, command: Command) -> None:
    """For who told it to lie."""
    lie = {"cheat": name, "frame": command["frame"], "region": command["region"]}
    with (folder / LIES).open("a") as lies:
        lies.write(json.dumps(lie) + "\n")


class Dishonest(child_program.Child):
    """Renders as the cheat has it."""

    was_honest = False

    def render(self, command: Command) -> Command:
        name, folder = told()
        if name.startswith(LATER):
            if not self.was_honest:
                self.was_honest = True
                return super().render(command)
            name = name.removeprefix(LATER)
        cheat = (CHEATS | ADAPTIVE).get(name)
        if cheat is None or cheat.audits or command["output"] != "linear":
            return super().render(command)
        answer = self._cheat(cheat, command)
        write_down(folder, name, command)
        return answer

    def audit(self, command: Command) -> Command:
        name, folder = told()
        cheat = CHEATS.get(name)
        answer = super().audit(command)
        if cheat is not None and cheat.audits:
            for file in answer["files"]:
                apply_to_file(cheat, Path(command["path"]) / file, command)
            write_down(folder, name, command)
        return answer

    def _cheat(self, cheat: Cheat, command: Command) -> Command:
        path = Path(command["path"])
        wanted = cheat.ask(command) if cheat.ask else command
        honest = super().render(command) if cheat.merge else None
        truth = exr.read(path) if honest else None
        if cheat.change is None:
            answer = super().render(wanted)
        else:
            answer = self._in_changed_scene(cheat.change, wanted)
        if truth is not None and cheat.merge:
            exr.write(path, cheat.merge(truth, exr.read(path)))
        apply_to_file(cheat, path, command)
        return honest or answer

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


def serve(child: type[Dishonest]) -> None:
    """As Blender's child does, but free to write elsewhere: its lies are written down beside its stage."""
    os.environ.pop(WRITES, None)
    child_program.Child = child
    child_program.main()


if __name__ == "__main__":
    serve(Dishonest)

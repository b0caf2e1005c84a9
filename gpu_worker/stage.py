# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender child and the folders it sees.

Blender reads a studio's OCIO configuration once, while it loads. So the child of a scene that has one is
started when its scene lies there; it never starts blank.

scene/    read-only; empty until the child is given its scene, so that Blender can load before
given/    read-only; what a finishing child is given to read
output/   where it writes, a folder a task
scratch/  its temporary files
kernels/  its own copy of the GPU's kernels, where there are any

In a sandbox the last three are in memory, and what a task wrote is copied to the same place on disk: so no
scene can fill the disk, and nothing it left has to be counted or removed.
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from farm_protocol.ids import SceneId
from farm_protocol.records import FailureCode
from gpu_worker import removal, sandbox
from gpu_worker.blender import CHILD_PROGRAM, BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.failures import TaskError
from gpu_worker.kernels import Kernels, variables
from gpu_worker.protocol import Ready
from gpu_worker.scene_cache import HeldScene


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """How a slot's children are run. `kernels` are those of their GPU, None before they are compiled."""

    device: Device
    limits: ChildLimits
    sandboxed: bool
    program: Path = CHILD_PROGRAM
    kernels: Kernels | None = None


class Stage:
    """One child's life: starts blank, gets one scene, is thrown away with its folders. Or starts with
    `held`, whose configuration of colours it loads.
    """

    def __init__(self, parent: Path, plan: ChildPlan, held: HeldScene | None = None) -> None:
        self._plan = plan
        self._folder = parent / f"stage-{uuid.uuid4().hex[:12]}"
        self.given, self._output = self._folder / "given", self._folder / "output"
        self._scene_folder, self._scratch = self._folder / "scene", self._folder / "scratch"
        self._kernels = self._folder / "kernels"
        for folder in (self._scene_folder, self.given, self._output, self._scratch):
            folder.mkdir(parents=True)
        self._without_kernels = plan.kernels
        if not plan.sandboxed:
            self._copy_to_disk()
        self.held: HeldScene | None = None
        self._main: Path | None = None
        if held is not None:
            self.give(held)
        self.child = BlenderChild(plan.limits, self._command())
        self.child.start()

    @property
    def kernels(self) -> Kernels | None:
        """What its child was started with."""
        return self._plan.kernels

    @property
    def scene(self) -> SceneId | None:
        """The scene it was given, once that is laid out whole."""
        return self.held.scene if self.held and self._main else None

    @property
    def blank(self) -> bool:
        """Whether it can still be given a scene."""
        return self.held is None and self.child.alive

    def _copy_to_disk(self) -> None:
        try:
            if self._without_kernels is not None:
                self._without_kernels.copy_to(self._kernels)
        except OSError:
            removal.remove(self._folder)
            raise
        self._without_kernels = None

    def _copy_to_memory(self) -> None:
        if self._without_kernels is not None:
            self.child.fill(self._kernels, self._without_kernels.copy_to)
            self._without_kernels = None

    def ready(self) -> Ready:
        """Wait for Blender. A Blender that does not even load is the node's failure, not a scene's."""
        try:
            return self.child.ready()
        except TaskError as error:
            raise TaskError(
                FailureCode.NODE, f"Blender does not start on this node: {error.sentence}"
            ) from error

    def give(self, held: HeldScene) -> None:
        """Lay out the scene it will open; the stage releases it when it closes."""
        self.held = held
        self._main = held.assemble(self._scene_folder)

    def open(self) -> None:
        """Have the child hold its scene. No kernel is asked for before."""
        self.ready()
        self._copy_to_memory()
        assert self._main is not None
        self.child.open(self._main, self._plan.device)

    def output(self) -> Path:
        """A new folder for one task's files."""
        folder = self._output / uuid.uuid4().hex[:12]
        folder.mkdir()
        return folder

    def close(self) -> None:
        """End the child and remove all it left."""
        self.child.close()
        if self.held is not None:
            self.held.release()
        removal.remove(self._folder)

    def _command(self) -> ChildCommand:
        program, threads = self._plan.program, self._plan.device.threads
        fleeting: tuple[Path, ...] = (self._output, self._scratch)
        given = sandbox.environment(os.environ) | {"TMPDIR": str(self._scratch)}
        kernels: tuple[Path, ...] = ()
        if self._plan.kernels is not None:
            kernels, fleeting = self._plan.kernels.readable(), (*fleeting, self._kernels)
            given |= variables(self._plan.kernels.folder, self._kernels)
        if self.held is not None and self.held.manifest.color_config:
            given |= {"OCIO": self.held.color_config(self._scene_folder)}
        if not self._plan.sandboxed:
            given |= {"HOME": str(self._scratch)}
            return ChildCommand(program, variables=given, threads=threads, writes=fleeting)
        box = sandbox.Sandbox(
            readable=(program_folder(program), self._scene_folder, self.given, *kernels),
            gpu=self._plan.device.backend != "CPU",
            fleeting=fleeting,
            room=min(self._plan.limits.disk, self._plan.limits.memory // 2),
        )
        return ChildCommand(program, box.wrap, given, threads, fleeting=fleeting)


def program_folder(program: Path) -> Path:
    """What a sandbox must show for `program` to run: its own folder."""
    return program.resolve().parent

# SPDX-License-Identifier: GPL-3.0-or-later
"""Children driven by a test itself instead of by a node: an emulated GPU, or Blender on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farm_protocol.audits import AuditOrder, SampleRange
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import Lease, RenderSettings, Task, TaskKind
from frame_splitter import exr
from frame_splitter.exr import Image
from gpu_worker.blender import CHILD_PROGRAM, BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.checking import region_of
from gpu_worker.protocol import Done
from tests.emulated import child as emulated

EMULATED = Path(emulated.__file__)


def lease_of(
    region: Tile, width: int, height: int, samples: int, frame: int = 1, percentage: int = 100
) -> Lease:
    """A render task's lease; the whole frame is its area."""
    task = Task(TaskId("job.1"), JobId("job"), TaskKind.RENDER, frame, region)
    whole = Tile(0, 0, width, height)
    settings = RenderSettings(samples, 0, percentage, "OPEN_EXR")
    names = (SceneId("0" * 64), OwnerId("me"))
    return Lease(task, LeaseToken(1), "0", 30.0, *names, settings, width, height, whole, whole)


@dataclass(frozen=True)
class Stand:
    """A child with a scene open, that renders into `folder`."""

    child: BlenderChild
    folder: Path

    def render(self, lease: Lease) -> Image:
        """The tile of a lease."""
        self.rendered(lease)
        return exr.read(self.folder / "tile.exr")

    def rendered(self, lease: Lease) -> Done:
        """The child's answer about it."""
        return self.child.render(lease, region_of(lease), self.folder / "tile.exr", lambda done, total: None)

    def audit(self, lease: Lease, crops: tuple[Tile, ...], sparse: SampleRange | None) -> list[Image]:
        """Crops of the lease's tile, then the sparse pass."""
        order = replace(lease, audit=AuditOrder(crops, sparse))
        done = self.child.audit(order, crops, sparse, self.folder, lambda done, total: None)
        return [exr.read(self.folder / name) for name in done.files]


@contextmanager
def standing(
    folder: Path, blend: Path, program: Path = CHILD_PROGRAM, seed: str | None = None
) -> Iterator[Stand]:
    """A child with a scene open, as long as the block lasts."""
    variables = {"TMPDIR": str(folder)} | ({emulated.SEED: seed} if seed else {})
    child = BlenderChild(ChildLimits(memory=4 << 30), ChildCommand(program, variables=variables, threads=1))
    child.start()
    try:
        child.open(blend, Device())
        yield Stand(child, folder)
    finally:
        child.close()

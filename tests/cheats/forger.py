# SPDX-License-Identifier: GPL-3.0-or-later
"""The dishonest child, driven by a test itself instead of by a node."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farm_protocol.audits import SPARSE, AuditOrder, SampleRange
from farm_protocol.records import Lease
from frame_splitter import exr
from gpu_worker.blender import BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.checking import FIRST, region_of
from tests.cheats import dishonest_child
from verification.passes import with_first_samples


@dataclass(frozen=True)
class Forger:
    """A dishonest child with its scene open. `folder` is what it takes for its node's state."""

    child: BlenderChild
    folder: Path

    def tell(self, cheat: str) -> None:
        """How the child cheats from now on; '' for not at all."""
        (self.folder / dishonest_child.TOLD).write_text(cheat)

    def render(self, cheat: str, lease: Lease) -> Path:
        """The tile of a lease as the cheat makes it; overwritten by the next."""
        self.tell(cheat)
        path = self.folder / "tile.exr"
        self.child.render(lease, region_of(lease), path, lambda done, total: None)
        return path

    def sparse(self, lease: Lease, few: SampleRange) -> exr.Image:
        """A few of a tile's samples, honestly, with what only the first sample writes, as a node has it."""
        self.audit("", replace(lease, audit=AuditOrder((), few)))
        image, first = exr.read(self.folder / SPARSE), self.folder / FIRST
        return with_first_samples(image, exr.read(first)) if few.first else image

    def audit(self, cheat: str, lease: Lease) -> dict[str, bytes]:
        """The pictures of an audit's lease as the cheat makes them, in order."""
        assert lease.audit is not None
        self.tell(cheat)
        order = lease.audit
        done = self.child.audit(lease, order.crops, order.sparse, self.folder, lambda done, total: None)
        return {name: (self.folder / name).read_bytes() for name in done.files}


@contextmanager
def forging(folder: Path, blend: Path, program: Path = Path(dishonest_child.__file__)) -> Iterator[Forger]:
    """A forger with a scene open, as long as the block lasts."""
    command = ChildCommand(program, variables={"TMPDIR": str(folder)}, threads=1)
    child = BlenderChild(ChildLimits(memory=4 << 30), command)
    child.start()
    try:
        child.open(blend, Device())
        yield Forger(child, folder)
    finally:
        child.close()

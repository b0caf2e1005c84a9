# SPDX-License-Identifier: GPL-3.0-or-later
"""A slot whose disk is really full: no cut off file is accepted, and the disk is named."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.fields import StoredFile, Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.node_answers import LeasedScene
from farm_protocol.records import (
    FailureCode,
    Lease,
    RenderSettings,
    Task,
    TaskFailure,
    TaskKind,
    TaskOutput,
    TaskResult,
    TileInput,
)
from gpu_worker.blender.process import ChildLimits, Device
from gpu_worker.farm import transfer
from gpu_worker.sandbox import bubblewrap
from gpu_worker.slot.checking import FILES, Rendered
from gpu_worker.slot.child_workspace import ChildPlan
from gpu_worker.slot.scene_cache import SceneCache
from gpu_worker.slot.slot import Slot, SlotPlan
from tests.support.reference import make_variants
from tests.support.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.blender

WHOLE = Tile(0, 0, 64, 48)
LEFT = (0, 4 << 10, 12 << 10)
"""Bytes: no file at all, a file's beginning, one file of several."""


class Store:
    """Files by their address."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    def stored(self, name: str, body: bytes) -> StoredFile:
        self.bodies[name] = body
        return StoredFile(name, hashlib.sha256(body).hexdigest(), len(body), f"http://store/{name}")

    def scene(self, lease: Lease) -> LeasedScene:
        file = self.stored(lease.scene, self.bodies[lease.scene])
        return LeasedScene(lease.scene, "scene.blend", {"scene.blend": file}, "")

    def download(self, file: StoredFile, target: Path, stopped: object) -> None:
        target.write_bytes(self.bodies[file.name])


@pytest.fixture(scope="module")
def blends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blends")
    make_variants(folder, "output_templates", "multilayer")
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        with small_disk(tmp_path / "disk", 48) as made:
            yield made
    except PermissionError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"A small disk cannot be mounted here: {error}")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(transfer, "download", made.download)
    return made


@pytest.fixture
def slot(disk: SmallDisk, store: Store, tmp_path: Path) -> Iterator[Slot]:
    """Renders and finishes on the small disk."""
    kinds = (TaskKind.RENDER, TaskKind.FINISH)
    child = ChildPlan(
        Device(threads=2), ChildLimits(4 << 30, 120.0, 300.0, 300.0), bubblewrap.unavailable() is None
    )
    cache = SceneCache(tmp_path / "cache", 1 << 30, store.download)
    made = Slot(SlotPlan("cpu-0", kinds, disk.folder / "slot", child), cache, store)
    try:
        yield made
    finally:
        disk.empty()
        made.close()


def lease_of(store: Store, blend: Path, kind: TaskKind, output: TaskOutput, **more: object) -> Lease:
    scene = SceneId(hashlib.sha256(blend.read_bytes()).hexdigest())
    store.bodies[scene] = blend.read_bytes()
    task = Task(TaskId("job/1"), JobId("job"), kind, tile=WHOLE, frame=4, output=output)
    name = "OPEN_EXR_MULTILAYER" if blend.stem == "multilayer" else "PNG"
    settings = RenderSettings(4, 7, 100, name)
    held = (task, LeaseToken(1), "cpu-0", 30.0, scene, OwnerId("me"), settings, 64, 48, WHOLE, WHOLE)
    return Lease(*held, asked=(), **more)  # type: ignore[arg-type]


def do(slot: Slot, lease: Lease) -> TaskResult | TaskFailure:
    outcome = slot.run(lease)
    return slot.settle(lease, outcome) if isinstance(outcome, Rendered) else outcome


def assert_the_disk_is_named(slot: Slot, disk: SmallDisk, lease: Lease) -> None:
    """With each amount of room the task fails by the node's fault; with enough it succeeds."""
    first = do(slot, lease)
    assert isinstance(first, TaskResult), first
    sizes = {file.name: file.size for file in first.files}
    slot.discard(lease)
    for left in LEFT:
        disk.fill(left)
        failure = do(slot, lease)
        assert isinstance(failure, TaskFailure), (left, failure)
        assert failure.code is FailureCode.NODE, (left, failure)
        assert "disk" in failure.message.lower(), (left, failure)
        disk.empty()
    last = do(slot, lease)
    assert isinstance(last, TaskResult), last
    assert {file.name: file.size for file in last.files}.keys() == sizes.keys()
    assert all(file.size > 0 for file in last.files)


@pytest.mark.parametrize("name", ["output_templates", "multilayer"])
def test_a_frame_rendered_onto_a_full_disk_is_the_nodes_failure(
    slot: Slot, disk: SmallDisk, store: Store, blends: Path, name: str
) -> None:
    lease = lease_of(store, blends / f"{name}.blend", TaskKind.RENDER, TaskOutput.FINAL)
    assert_the_disk_is_named(slot, disk, lease)


def test_a_tile_rendered_onto_a_full_disk_is_the_nodes_failure(
    slot: Slot, disk: SmallDisk, store: Store, blends: Path
) -> None:
    lease = lease_of(store, blends / "output_templates.blend", TaskKind.RENDER, TaskOutput.LINEAR)
    assert_the_disk_is_named(slot, disk, lease)


def test_a_frame_finished_onto_a_full_disk_is_the_nodes_failure(
    slot: Slot, disk: SmallDisk, store: Store, blends: Path
) -> None:
    blend = blends / "output_templates.blend"
    rendering = lease_of(store, blend, TaskKind.RENDER, TaskOutput.LINEAR)
    tile = do(slot, rendering)
    assert isinstance(tile, TaskResult), tile
    (path,) = disk.folder.glob(f"slot/done/*/{FILES}/tile.exr")
    piece = TileInput(TaskId("job/0"), WHOLE, store.stored("tile.exr", path.read_bytes()))
    slot.discard(rendering)
    lease = lease_of(store, blend, TaskKind.FINISH, TaskOutput.FINAL, inputs=(piece,))
    assert_the_disk_is_named(slot, disk, lease)

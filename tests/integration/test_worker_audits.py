# SPDX-License-Identifier: GPL-3.0-or-later
"""What an auditor's Blender renders of a tile equals what another process's Blender put into it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import pytest

from farm_protocol.audits import AuditOrder, SampleRange
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile, decode
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import JobSpec, Lease, Task, TaskKind
from frame_splitter import exactness, exr, split, tiles
from gpu_worker.blender import BlenderChild, ChildLimits, Device
from gpu_worker.checking import pictures_of
from tests.by_hand import as_delivered
from tests.reference import make_variants
from tests.variants.catalogue import ENTRIES, names
from tests.variants.ways import LINEAR
from verification.metrics.blocks import SURE, block_scores
from verification.passes import FIRST_SAMPLE, kind_of, pass_name, with_first_samples

pytestmark = pytest.mark.blender

SCENES = names(LINEAR)
"""Whatever may be cut may be audited in crops."""


@dataclass(frozen=True)
class Pair:
    """Two warm processes: one renders tiles, the other audits them."""

    node: BlenderChild
    auditor: BlenderChild


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    both = Pair(*(BlenderChild(ChildLimits(memory=4 << 30)) for _ in range(2)))
    both.node.start()
    both.auditor.start()
    yield both
    both.node.close()
    both.auditor.close()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    make_variants(folder, *SCENES)
    return folder


def lease_of(child: BlenderChild, blend: Path) -> Lease:
    """The second of two tiles of the variant's first frame."""
    frame = ENTRIES[blend.stem].frames[0]
    facts = decode(child.inspect(blend), SceneFacts)
    settings = split.pin(JobSpec(SceneId("0" * 64), (frame,)), facts)
    plan = exactness.classify(facts, settings, (frame,))
    assert plan.tileable
    width, height = tiles.frame_size(facts, settings.resolution_percentage)
    area, canvas = tiles.border_area(facts, width, height)
    tile = tiles.grid(area, 2, 1)[1]
    task = Task(TaskId("t"), JobId("j"), TaskKind.RENDER, frame, tile, plan.overscan)
    held = (SceneId("s"), OwnerId("o"), settings, width, height, area, canvas)
    return Lease(task, LeaseToken(1), "0", 30.0, *held)


def render(child: BlenderChild, blend: Path, lease: Lease, folder: Path) -> exr.Image:
    child.open(blend, Device(threads=2))
    (wanted,) = pictures_of(lease)
    done = child.render(lease, wanted.region, folder / "tile.exr", lambda done, total: None)
    return as_delivered(folder / "tile.exr", wanted.region, wanted.tile, done.samples)


def audit(child: BlenderChild, blend: Path, lease: Lease, order: AuditOrder, folder: Path) -> list[exr.Image]:
    child.open(blend, Device(threads=2))
    lease = replace(lease, task=replace(lease.task, kind=TaskKind.AUDIT), audit=order)
    wanted = pictures_of(lease)
    crops = tuple(one.region for one in wanted if one.name != "sparse.exr")
    seen: list[tuple[int, int]] = []
    done = child.audit(lease, crops, order.sparse, folder, lambda *progress: seen.append(progress))
    assert list(done.files) == [one.name for one in wanted]
    assert seen == sorted(seen)
    assert seen[-1][0] <= seen[-1][1]
    each = done.samples_of_each
    return [
        as_delivered(folder / one.name, one.region, one.tile, each[number])
        for number, one in enumerate(wanted)
    ]


def bits(image: exr.Image) -> dict[str, bytes]:
    return {
        f"{part.name}/{name}": pixels.tobytes()
        for part in image.parts
        for name, pixels in part.channels.items()
    }


def crops_of(tile: Tile) -> tuple[Tile, ...]:
    """The tile's corners and some of its inside, of sizes as audits draw them."""
    x, y = tile.x0 + tile.width // 2, tile.y0 + tile.height // 3
    return (
        Tile(tile.x0, tile.y0, tile.x0 + 8, tile.y0 + 8),
        Tile(tile.x1 - 8, tile.y1 - 8, tile.x1, tile.y1),
        Tile(x, y, x + 8, y + 8),
        Tile(x - 3, tile.y0, x - 2, tile.y0 + 1),
    )


@pytest.mark.parametrize("name", SCENES)
def test_crops_equal_the_tile_and_leave_the_child_as_it_was(
    pair: Pair, scenes: Path, tmp_path: Path, name: str
) -> None:
    blend = scenes / f"{name}.blend"
    lease = lease_of(pair.auditor, blend)
    tile = lease.task.tile
    whole = render(pair.node, blend, lease, tmp_path)
    order = AuditOrder(crops_of(tile), SampleRange(1, 2))
    *crops, sparse = audit(pair.auditor, blend, lease, order, tmp_path)
    for crop, place in zip(crops, order.crops, strict=True):
        assert bits(crop) == bits(exr.crop(whole, tiles.relative(place, tile)))
    assert (sparse.width, sparse.height) == (tile.width, tile.height)
    assert list(bits(sparse)) == list(bits(whole))
    assert bits(sparse) != bits(whole)
    assert bits(render(pair.auditor, blend, lease, tmp_path)) == bits(whole)


@pytest.mark.parametrize("name", SCENES)
def test_an_honest_tile_holds_nothing_that_cannot_be(
    pair: Pair, scenes: Path, tmp_path: Path, name: str
) -> None:
    """What only the first sample writes is the auditor's, bit for bit, and its cryptomattes name the same."""
    blend = scenes / f"{name}.blend"
    lease = lease_of(pair.auditor, blend)
    tile = lease.task.tile
    whole = render(pair.node, blend, lease, tmp_path)
    order = AuditOrder(crops_of(tile), SampleRange(1, 2))
    *_, sparse = audit(pair.auditor, blend, lease, order, tmp_path)
    first = tmp_path / "first.exr"
    written = {kind_of(pass_name("", one.rpartition("/")[2])) for one in bits(whole)} & FIRST_SAMPLE
    assert first.exists() == bool(written)
    if written:
        sparse = with_first_samples(sparse, as_delivered(first, tile, tile, {}))
        mine, theirs = bits(whole), bits(sparse)
        for channel in mine:
            if kind_of(pass_name("", channel.rpartition("/")[2])) in FIRST_SAMPLE:
                assert mine[channel] == theirs[channel], channel
    assert block_scores(whole, sparse, 2 / lease.settings.samples, 8).max() < SURE


def test_a_second_audit_needs_no_sparse_pass(pair: Pair, scenes: Path, tmp_path: Path) -> None:
    blend = scenes / "plain.blend"
    lease = lease_of(pair.auditor, blend)
    whole = render(pair.node, blend, lease, tmp_path)
    order = AuditOrder((lease.task.tile,))
    (again,) = audit(pair.auditor, blend, lease, order, tmp_path)
    assert bits(again) == bits(whole)


@pytest.mark.parametrize("name", ["plain", "denoised_float", "sample_subset"])
def test_the_sparse_passes_of_all_samples_average_to_the_tile(
    pair: Pair, scenes: Path, tmp_path: Path, name: str
) -> None:
    """They are the tile's own samples, at the scale the tile is stored in."""
    blend = scenes / f"{name}.blend"
    lease = lease_of(pair.auditor, blend)
    whole = render(pair.node, blend, lease, tmp_path)
    samples = 4 if name == "sample_subset" else lease.settings.samples
    ranges = SampleRange(0, 2), SampleRange(2, samples - 2)
    few = [audit(pair.auditor, blend, lease, AuditOrder((), one), tmp_path)[0] for one in ranges]
    compared = 0
    for index, part in enumerate(whole.parts):
        for channel in (name for name in part.channels if ".Combined." in name):
            sums = [
                image.parts[index].channels[channel].astype(float) * one.count
                for image, one in zip(few, ranges, strict=True)
            ]
            apart = numpy.abs(sum(sums) / samples - part.channels[channel]).max()
            assert apart <= 1e-5 * max(1.0, float(part.channels[channel].max()))
            compared += 1
    assert compared >= 4


def test_layers_with_fewer_samples_of_their_own_are_not_black_beyond_them(
    pair: Pair, scenes: Path, tmp_path: Path
) -> None:
    blend = scenes / "layer_with_own_samples.blend"
    lease = lease_of(pair.auditor, blend)
    whole = render(pair.node, blend, lease, tmp_path)
    (sparse,) = audit(pair.auditor, blend, lease, AuditOrder((), SampleRange(2, 2)), tmp_path)
    for part, few in zip(whole.parts, sparse.parts, strict=True):
        for name in (name for name in part.channels if name.endswith(".Combined.R")):
            assert few.channels[name].mean() == pytest.approx(part.channels[name].mean(), rel=0.1)
    assert bits(render(pair.auditor, blend, lease, tmp_path)) == bits(whole)

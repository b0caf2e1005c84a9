# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at a submitted tile: what is wrong with it, and where it differs from what auditors rendered.

Runs in the node's memory-limited process. The order is the coordinator's and trusted; the tile is a
stranger's, and so are the files of audits.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from farm_protocol.audits import (
    MOST_CROPS,
    AuditOrder,
    CheckOrder,
    CheckReport,
    CropFinding,
    SampleRange,
    Sums,
)
from farm_protocol.fields import Tile
from farm_protocol.ids import TaskId
from frame_splitter import exr
from frame_splitter.exr import Image, Limits, Pixels
from frame_splitter.tiles import contains, relative
from verification import evidence
from verification.metrics.blocks import not_finite_blocks, suspicious_blocks
from verification.metrics.character import bias, coarse_share, darker_share
from verification.metrics.cluster import largest_cluster
from verification.metrics.difference import Mask
from verification.metrics.flips import are_of_several, are_too_many
from verification.metrics.noise import noise_ratio, relative_noise
from verification.metrics.rmse import relative_rmse, rmse
from verification.metrics.rounding import Comparison, compare
from verification.metrics.samples import estimate_samples
from verification.opening import Faulty, open_picture, open_tile
from verification.passes import combined, is_combined, pass_name
from verification.pixel_root import channel_names
from verification.sampling import AuditPolicy, side_of

POLICY = AuditPolicy()
LIMITS = Limits()

MOST_FINDINGS = 4 * MOST_CROPS
MOST_EVIDENCE = 3
"""Crops that are shown to people."""

LARGEST_NUMBER = 1e30
MOST_PIXELS = 1 << 17
"""What a record's numbers and counts go up to."""


@dataclass(frozen=True, slots=True)
class AuditedFiles:
    """One audit's files on this machine: `crops` in the order's order, `sparse` where one was ordered.

    `own`: by the farm's own node; `same_class`: on the device class the tile was rendered on.
    """

    task: TaskId
    order: AuditOrder
    crops: tuple[Path, ...]
    sparse: Path | None = None
    own: bool = False
    same_class: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _Audit:
    """An audit whose crops could be opened, and belong to its order."""

    files: AuditedFiles
    crops: tuple[Image, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    """A crop of the tile beside its re-render."""

    tile: Tile
    submitted: Image
    rendered: Image
    compared: Comparison

    @property
    def different(self) -> Mask:
        """The pixels that are another picture's."""
        return self.compared.different


def look(
    submitted: Path,
    tile: Tile,
    samples: int,
    order: CheckOrder,
    audits: Sequence[AuditedFiles] = (),
    folder: Path | None = None,
    policy: AuditPolicy = POLICY,
    limits: Limits = LIMITS,
) -> CheckReport:
    """What is to be said of the picture at `submitted`, which its node says is `tile` of its frame.

    `samples` are those the job pins. Evidence is written to `folder`, where one is given and pixels
    differ. Raises MemoryError where pictures are as they should be but larger than `limits`, OSError
    where a file cannot be read at all.
    """
    try:
        image = open_tile(submitted, tile, order, limits)
    except Faulty as faulty:
        return CheckReport(fault=faulty.fault, detail=faulty.detail[:4096])
    opened, broken = _open_audits(audits, order.channels, limits)
    believed = _believed(opened, order.sums)
    usable = believed.usable
    found = _crops(image, tile, usable, order.sums)
    if folder is not None:
        _write_evidence(folder, found)
    not_finite, must = not_finite_blocks(image, side_of(tile, policy))
    must = _to_be_rendered(must, tile, usable)
    ranked = [one for one in _ranked(image, tile, samples, usable, policy, limits) if one[1] not in must]
    if must == [tile]:
        ranked = []
    return CheckReport(
        channels=channel_names(image),
        flat=_is_flat(image),
        noise=_bounded(relative_noise(combined(image))),
        crops=tuple(_finding(crop) for crop in found[:MOST_FINDINGS]),
        suspects=(*must, *(block for _, block in ranked))[:MOST_CROPS],
        suspicion=_bounded(ranked[0][0]) if ranked else 0.0,
        not_finite=min(not_finite, MOST_PIXELS),
        must=len(must),
        samples=_samples(found, samples),
        region=_region(found),
        contradicted=(*broken, *believed.contradicted),
        doubted=believed.doubted,
        confirmed=_confirmed(image, tile, usable, order.sums),
        unlike=believed.unlike,
    )


def _open_audits(
    audits: Sequence[AuditedFiles], channels: tuple[str, ...], limits: Limits
) -> tuple[list[_Audit], list[TaskId]]:
    """The audits whose crops are pictures of what was ordered, and those whose are not."""
    opened: list[_Audit] = []
    broken: list[TaskId] = []
    for audit in audits:
        try:
            pairs = zip(audit.order.crops, audit.crops, strict=True)
            crops = tuple(
                open_picture(path, area.width, area.height, channels, limits) for area, path in pairs
            )
        except (Faulty, ValueError):
            broken.append(audit.task)
        else:
            opened.append(_Audit(audit, crops))
    return opened, broken


@dataclass(frozen=True, slots=True, eq=False)
class _Believed:
    """The audits to compare with, those that own renders contradict, those that they only doubt, and own ones
    that are not like each other.
    """

    usable: list[_Audit]
    contradicted: tuple[TaskId, ...]
    doubted: tuple[TaskId, ...]
    unlike: tuple[TaskId, ...]


def _believed(audits: Sequence[_Audit], sums: Sums | None) -> _Believed:
    """Audits of the tile's own device class stand before those of another. A warm Blender may be to blame
    for one own render: only two that are alike contradict anybody.
    """
    truth = [audit for audit in audits if audit.files.own and audit.files.same_class]
    strangers = [audit for audit in audits if not audit.files.own and audit.files.same_class]
    apart = {
        (one.files.task, other.files.task): _differing(one, other, sums)
        for one, other in combinations(truth, 2)
    }
    unlike = {task for pair, areas in apart.items() if areas for task in pair}
    doubted = [audit for audit in strangers if any(_differing(own, audit, sums) for own in truth)]
    wrong = [audit for audit in doubted if not unlike and _contradicted(audit, truth, sums)]
    left = [audit for audit in audits if audit not in doubted]
    alike = [audit for audit in left if audit.files.same_class]
    return _Believed(
        alike or left,
        tuple(audit.files.task for audit in wrong),
        tuple(audit.files.task for audit in doubted if audit not in wrong),
        tuple(audit.files.task for audit in truth if audit.files.task in unlike),
    )


def _contradicted(audit: _Audit, truth: Sequence[_Audit], sums: Sums | None) -> bool:
    """Whether two own renders of a crop are alike, and it is unlike both."""
    against = [set(_differing(own, audit, sums)) for own in truth]
    return any(mine & theirs for mine, theirs in combinations(against, 2))


def _differing(one: _Audit, other: _Audit, sums: Sums | None) -> list[Tile]:
    """The crops that both rendered, and not alike. A pixel that stopped elsewhere with a very bright sample
    proves nothing: in a large tile there is nearly always one.
    """
    mine = dict(zip(one.files.order.crops, one.crops, strict=True))
    theirs = dict(zip(other.files.order.crops, other.crops, strict=True))
    shared = mine.keys() & theirs.keys()
    return [area for area in shared if compare(mine[area], theirs[area], sums).certain.any()]


def _crops(image: Image, tile: Tile, audits: Sequence[_Audit], sums: Sums | None) -> list[_Crop]:
    found = []
    for audit in audits:
        for area, theirs in zip(audit.files.order.crops, audit.crops, strict=True):
            mine = exr.crop(image, relative(area, tile))
            found.append(_Crop(area, mine, theirs, compare(mine, theirs, sums)))
    return _with_few_flips(found)


def _with_few_flips(crops: list[_Crop]) -> list[_Crop]:
    """The crops; what pixels of another number of samples mean depends on how many there are in all of them
    together.
    """
    flipped: dict[Tile, int] = {}
    for one in crops:
        count = int((one.compared.flipped | one.compared.doubtful).sum())
        flipped[one.tile] = max(count, flipped.get(one.tile, 0))
    apart = [one for one in flipped if not any(contains(other, one) for other in flipped if other != one)]
    count, area = sum(flipped[one] for one in apart), sum(one.area for one in apart)
    if are_too_many(count, area):
        return [replace(one, compared=one.compared.with_flips_that_differ()) for one in crops]
    if are_of_several(count, area):
        return [replace(one, compared=one.compared.with_flips_in_doubt()) for one in crops]
    return crops


def _confirmed(image: Image, tile: Tile, audits: Sequence[_Audit], sums: Sums | None) -> tuple[TaskId, ...]:
    """Own renders of the tile's class that the tile equals in all they hold, as far as that can be told."""
    own = [audit for audit in audits if audit.files.own and audit.files.same_class]
    return tuple(
        audit.files.task
        for audit in own
        if not any(crop.compared.certain.any() for crop in _crops(image, tile, [audit], sums))
    )


def _finding(crop: _Crop) -> CropFinding:
    count = int(crop.different.sum())
    mine, theirs = _colours(crop)
    noise, bound = _bounded(relative_noise(theirs)), _bounded(crop.compared.bound)
    flipped = min(int(crop.compared.flipped.sum()), MOST_PIXELS)
    if count == 0:
        return CropFinding(crop.tile, 0, noise=noise, bound=bound, flipped=flipped)
    return CropFinding(
        crop.tile,
        min(count, MOST_PIXELS),
        rmse=_bounded(rmse(mine, theirs)),
        relative=_bounded(relative_rmse(mine, theirs)),
        cluster=min(largest_cluster((mine != theirs).any(axis=-1) & crop.different), MOST_PIXELS),
        noise_ratio=_bounded(noise_ratio(mine, theirs)),
        noise=noise,
        bias=_bounded(bias(mine, theirs)),
        darker=darker_share(mine, theirs),
        coarse=coarse_share(mine, theirs),
        bound=bound,
        flipped=flipped,
        doubtful=min(int(crop.compared.doubtful.sum()), MOST_PIXELS),
    )


def _colours(crop: _Crop) -> tuple[Pixels, Pixels]:
    """The Combined passes of both; those that only rounding tells apart are the same."""
    mine, theirs = combined(crop.submitted), combined(crop.rendered)
    apart = crop.compared.passes
    return (mine if apart is None or any(map(is_combined, apart)) else theirs), theirs


def _samples(found: Sequence[_Crop], samples: int) -> float | None:
    wrong = [crop for crop in found if crop.different.any()]
    return estimate_samples([(combined(one.submitted), combined(one.rendered)) for one in wrong], samples)


def _bounded(number: float) -> float:
    """Numbers of records are finite."""
    return LARGEST_NUMBER if math.isnan(number) else min(max(number, -LARGEST_NUMBER), LARGEST_NUMBER)


def _is_flat(image: Image) -> bool:
    flat = [
        bool((pixels == pixels[0, 0]).all())
        for part in image.parts
        for name, pixels in part.channels.items()
        if is_combined(pass_name(part.name, name))
    ]
    return bool(flat) and all(flat)


def _region(found: Sequence[_Crop]) -> Tile | None:
    """The smallest rectangle around all pixels that differ, in the frame's pixels."""
    boxes = [_box(crop) for crop in found if crop.different.any()]
    if not boxes:
        return None
    return Tile(
        min(box.x0 for box in boxes),
        min(box.y0 for box in boxes),
        max(box.x1 for box in boxes),
        max(box.y1 for box in boxes),
    )


def _box(crop: _Crop) -> Tile:
    rows, columns = crop.different[::-1].nonzero()
    x, y = crop.tile.x0, crop.tile.y0
    return Tile(
        x + int(columns.min()), y + int(rows.min()), x + int(columns.max()) + 1, y + int(rows.max()) + 1
    )


def _ranked(
    image: Image, tile: Tile, samples: int, audits: Sequence[_Audit], policy: AuditPolicy, limits: Limits
) -> list[tuple[float, Tile]]:
    """The blocks that fit the sparse pass least and were not rendered yet, with their scores."""
    sparse = _sparse(image, audits, limits)
    if sparse is None:
        return []
    asked, few = sparse
    done = {crop for audit in audits for crop in audit.files.order.crops}
    share = asked.count / samples
    scored = suspicious_blocks(image, few, share, side_of(tile, policy), policy.suspects + len(done))
    found = [(score, _placed(block, tile)) for score, block in scored]
    return [(score, block) for score, block in found if block not in done][: policy.suspects]


def _to_be_rendered(blocks: Sequence[Tile], tile: Tile, audits: Sequence[_Audit]) -> list[Tile]:
    """Those of the blocks (counted from the tile's corner) that no audit has yet, in the frame's pixels; the
    whole tile where they are too many for one order.
    """
    done = {crop for audit in audits for crop in audit.files.order.crops}
    left = (
        [] if tile in done else [one for one in (_placed(block, tile) for block in blocks) if one not in done]
    )
    return left if len(left) <= MOST_CROPS else [tile]


def _placed(block: Tile, tile: Tile) -> Tile:
    """A block that counts from the tile's lower left corner, in the frame's pixels."""
    return Tile(block.x0 + tile.x0, block.y0 + tile.y0, block.x1 + tile.x0, block.y1 + tile.y0)


def _sparse(image: Image, audits: Sequence[_Audit], limits: Limits) -> tuple[SampleRange, Image] | None:
    """The first sparse pass that can be used, an own node's before others'."""
    for audit in sorted(audits, key=lambda audit: not audit.files.own):
        asked, path = audit.files.order.sparse, audit.files.sparse
        if asked is not None and path is not None:
            with contextlib.suppress(Faulty):
                return asked, open_picture(path, image.width, image.height, channel_names(image), limits)
    return None


def _write_evidence(folder: Path, found: Sequence[_Crop]) -> None:
    wrong = [(number, crop) for number, crop in enumerate(found) if crop.different.any()]
    for number, crop in wrong[:MOST_EVIDENCE]:
        evidence.write_crop(folder, number, crop.submitted, crop.rendered, crop.compared)

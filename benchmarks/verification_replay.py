# SPDX-License-Identifier: GPL-3.0-or-later
"""Replays audits of one scene offline: beacon values by the thousand on tiles that were rendered once."""

import hashlib
import json
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy

from benchmarks.verification_golem import BOUNDS, Golem, luma
from benchmarks.verification_pictures import AREAS, KINDS, Cheated, load, regions, touched, whole_cheats
from benchmarks.verification_plan import EMULATED, POLICY, Shelf, crop_inner, crop_place
from farm_protocol.audits import AuditOrder, CheckOrder
from farm_protocol.device_classes import Summation
from farm_protocol.fields import Tile
from frame_splitter import exr
from frame_splitter.exr import Image
from verification.compare import AuditedFiles, look
from verification.metrics.blocks import suspicious_blocks
from verification.metrics.difference import different_pixels
from verification.metrics.rounding import Comparison, compare
from verification.passes import with_first_samples
from verification.pixel_root import pixel_root
from verification.sampling import Draws, crop_count, first_order, side_of
from verification.verdict import Case, judge


@dataclass(frozen=True)
class Amount:
    """How much is replayed: beacon values a whole cheat and a place, places a local cheat and
    scene, and verdicts.
    """

    draws: int = 1000
    draws_a_place: int = 60
    places: int = 12
    verdicts: int = 4
    golem_draws: int = 50
    golem_draws_a_place: int = 10


@dataclass
class Found:
    """What came out of one scene. Shares are of audited tiles. `apart`: the share of the honest crops' pixels
    that are not the tile's in every bit; `bound`: the largest of their differences as a share of what the
    order of sums explains.
    """

    scene: str
    size: str
    samples: int
    crops: int = 0
    crops_different: int = 0
    sparse: int = 0
    suspects: int = 0
    suspects_different: int = 0
    apart: float = 0.0
    bound: float = 0.0
    whole: dict[str, dict[str, Any]] = field(default_factory=dict)
    local: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)


class Replay:
    """One scene's renders, and the draws on them."""

    def __init__(self, shelf: Shelf, amount: Amount) -> None:
        self.shelf, self.scene, self.amount = shelf, shelf.scene, amount
        self.sums = self.scene.sums if shelf.device == EMULATED else None
        self.summation = Summation.ANY_ORDER if self.sums else Summation.IN_ORDER
        self.honest = load(shelf.folder / "tile.exr")
        self.plain = load(shelf.folder / "no_textures.exr")
        first = load(shelf.folder / "first.exr")
        self.passes = [with_first_samples(load(path), first) for path in shelf.paths("sparse_*.exr")]
        self.again = {
            place: exr.crop(load(path), crop_inner(path, self.scene)) for path, place in self.crops()
        }
        self.seen = luma(self.honest)
        self.found = Found(self.scene.name, f"{self.honest.width}x{self.honest.height}", self.scene.samples)

    def run(self) -> Found:
        """Everything, in turn."""
        self.honesty()
        for cheated in map(self.judged, whole_cheats(self.shelf, self.honest)):
            self.found.whole[cheated.name] = self.whole(cheated)
        for kind in KINDS:
            self.found.local += [self.local(kind, area) for area in AREAS]
        self.found.cost = costs(self.shelf)
        return self.found

    # --- honest tiles -------------------------------------------------------------------------------

    def honesty(self) -> None:
        """Crops of another process against the tile, and what the sparse passes suspect in it."""
        compared = {place: self.compared(self.honest, place) for place in self.again}
        different = {place: bool(one.different.any()) for place, one in compared.items()}
        found = self.found
        found.crops, found.crops_different = len(different), sum(different.values())
        found.bound = max(one.bound for one in compared.values()) if self.sums else 0.0
        pixels = [different_pixels(exr.crop(self.honest, place), self.again[place]) for place in self.again]
        found.apart = sum(int(one.sum()) for one in pixels) / sum(one.size for one in pixels)
        found.sparse = len(self.passes)
        for few in self.passes:
            again = [different[block] for block in self.suspects(self.honest, few) if block in different]
            found.suspects += len(again)
            found.suspects_different += sum(again)

    def compared(self, image: Image, place: Tile) -> Comparison:
        """A cell of the tile beside an auditor's crop of it."""
        return compare(exr.crop(image, place), self.again[place], self.sums)

    def judged(self, cheated: Cheated) -> Cheated:
        """A cheated tile, different in those cells that an auditor's crop tells from the honest one: where a
        device adds in order, in every pixel that is another.
        """
        if self.sums is None:
            return cheated
        told = numpy.zeros_like(cheated.different)
        for place in (one for one in self.again if touched(cheated, one)):
            if self.compared(cheated.image, place).different.any():
                height = cheated.image.height
                told[height - place.y1 : height - place.y0, place.x0 : place.x1] = True
        return replace(cheated, different=told)

    def crops(self) -> list[tuple[Path, Tile]]:
        """An auditor's crops, and the cells they show."""
        return [(path, crop_place(path, self.scene)) for path in self.shelf.paths("crop_*.exr")]

    def suspects(self, submitted: Image, few: Image) -> list[Tile]:
        """The blocks that a sparse pass asks to render again."""
        tile = self.scene.tile
        count, side = crop_count(tile, POLICY.suspects, POLICY), side_of(tile, POLICY)
        share = POLICY.sparse_samples / self.scene.samples
        return [block for _, block in suspicious_blocks(submitted, few, share, side, count)]

    # --- cheats -------------------------------------------------------------------------------------

    def draws(self, name: str, number: int) -> Draws:
        """A beacon's value and a receipt."""
        words = (f"{self.scene.name} {name}", str(number))
        receipt, value = (hashlib.sha256(word.encode()).digest() for word in words)
        return Draws(value, receipt)

    def ordered(self, draws: Draws) -> Sequence[Tile]:
        """The random crops."""
        return first_order(draws, self.scene.tile, self.scene.samples, POLICY).crops

    def caught_by_crops(self, cheated: Cheated, name: str, count: int) -> float:
        """The share of draws whose random crops meet a difference."""
        drawn = (self.ordered(self.draws(name, number)) for number in range(count))
        return statistics.fmean(any(touched(cheated, crop) for crop in crops) for crops in drawn)

    def whole(self, cheated: Cheated) -> dict[str, Any]:
        """A cheat of the whole tile: how often it is caught, and what is said of it."""
        crops = self.caught_by_crops(cheated, cheated.name, self.amount.draws)
        passes = random.Random(cheated.name).sample(self.passes, min(3, len(self.passes)))
        suspects = statistics.fmean(
            any(touched(cheated, block) for block in self.suspects(cheated.image, few)) for few in passes
        )
        said = Counter(self.verdict(cheated, number) for number in range(self.amount.verdicts))
        shares = {"share": float(cheated.different.mean()), "crops": crops, "suspects": suspects}
        both = 1 - (1 - crops) * (1 - suspects)
        golem = self.golem(cheated, self.amount.golem_draws)
        return shares | {"both": both, "said": dict(said), "golem": golem}

    def local(self, kind: str, area: float) -> dict[str, Any]:
        """A local cheat in many places."""
        rows: list[tuple[float, float, dict[str, float]]] = []
        in_bits: list[float] = []
        places = regions(self.honest, self.plain, kind, area, self.amount.places, self.scene.name)
        for number, raw in enumerate(places):
            few = self.passes[number % len(self.passes)]
            suspects, name = self.suspects(raw.image, few), f"{kind} {area} {number}"
            (bit_crops, bit_seen), (crops, seen) = (
                self.caught(one, suspects, name) for one in (raw, self.judged(raw))
            )
            in_bits.append(1 - (1 - bit_crops) * (1 - bit_seen))
            rows.append((crops, seen, self.golem(raw, self.amount.golem_draws_a_place)))
        found: dict[str, Any] = {"kind": kind, "area": area, "places": len(rows)}
        found["formula"] = 1 - (1 - area) ** crop_count(self.scene.tile, POLICY.crops, POLICY)
        if rows:
            found["crops"] = statistics.fmean(crops for crops, _, _ in rows)
            found["suspects"] = statistics.fmean(seen for _, seen, _ in rows)
            found["in_bits"] = statistics.fmean(in_bits)
            found["both"] = statistics.fmean(1 - (1 - crops) * (1 - seen) for crops, seen, _ in rows)
            found["golem"] = {name: statistics.fmean(row[2][name] for row in rows) for name in BOUNDS}
        return found

    def caught(self, cheated: Cheated, suspects: list[Tile], name: str) -> tuple[float, float]:
        """How often random crops catch a local cheat, and whether the suspects do."""
        seen = float(any(touched(cheated, block) for block in suspects))
        return self.caught_by_crops(cheated, name, self.amount.draws_a_place), seen

    def golem(self, cheated: Cheated, draws: int) -> dict[str, float]:
        """How often Golem's scheme refuses the tile."""
        golem, chosen = Golem(luma(cheated.image), self.seen), random.Random(self.scene.name)
        refused = [golem.refuses(chosen) for _ in range(draws)]
        return {name: statistics.fmean(one[name] for one in refused) for name in BOUNDS}

    def verdict(self, cheated: Cheated, number: int) -> str:
        """What the farm would say of one audit: the whole look, from files."""
        crops = self.ordered(self.draws(cheated.name, number))
        with TemporaryDirectory() as name:
            folder = Path(name)
            exr.write(folder / "tile.exr", cheated.image, compress=False)
            files = tuple(folder / f"{index}.exr" for index in range(len(crops)))
            for file, crop in zip(files, crops, strict=True):
                exr.write(file, self.again.get(crop) or exr.crop(self.honest, crop))
            audit = AuditedFiles("audit", AuditOrder(tuple(crops)), files, own=True)  # type: ignore[arg-type]
            order = CheckOrder(pixel_root([cheated.image]), sums=self.sums)
            report = look(folder / "tile.exr", self.scene.tile, self.scene.samples, order, [audit])
        verdict = judge(report, Case(self.scene.frame, self.scene.samples, 1, summation=self.summation))
        return f"{verdict.code}: {verdict.reason.split(':')[0]}"


def costs(shelf: Shelf) -> dict[str, float]:
    """CPU seconds of the tile, of loading, of an audit's parts; the audit's share of the tile."""
    rows = {row["path"]: row for row in map(json.loads, shelf.costs.read_text().splitlines())}
    spent: dict[str, list[float]] = {}
    for path, row in rows.items():
        spent.setdefault(Path(path).stem.split("_")[0], []).append(row["cpu"])
    load_seconds = max(row["load"] for row in rows.values())
    few, crop = statistics.median(spent["sparse"]), statistics.fmean(spent["crop"])
    tile, crops = spent["tile"][0], POLICY.crops + POLICY.suspects
    audit = few + crops * crop
    parts = {"tile": tile, "load": load_seconds, "sparse": few, "crop": crop, "audit": audit}
    return parts | {"share": audit / tile, "share_cold": (audit + load_seconds) / tile}


def replay(shelf: Shelf, amount: Amount) -> dict[str, Any]:
    """A scene's figures, from its folder where they were worked out before."""
    asked = {"amount": asdict(amount), "policy": asdict(POLICY)}
    kept = shelf.folder / "found.json"
    if kept.exists():
        known: dict[str, Any] = json.loads(kept.read_text())
        if known["asked"] == asked:
            return dict(known["found"])
    found = asdict(Replay(shelf, amount).run())
    kept.write_text(json.dumps({"asked": asked, "found": found}))
    return found

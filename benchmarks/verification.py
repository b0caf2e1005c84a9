# SPDX-License-Identifier: GPL-3.0-or-later
"""How well audits catch cheats, what they cost, and whether they ever blame an honest node.

    python benchmarks/verification.py                    all scenes; half an hour of one core for the renders
    python benchmarks/verification.py --scenes bmw27,layers --folder /somewhere
    python benchmarks/verification.py --quick            tiny, for the tests
    python benchmarks/verification.py --cost             an audit's cost against resolution and samples
    python benchmarks/verification.py --short            smaller pictures
    python benchmarks/verification.py --short --device emulated-gpu     on a device that adds in any order

Every honest and every cheated tile is rendered once, by the node's own code; crops and sparse passes by
another process. Then beacon values are drawn by the thousand and audits replayed offline with the farm's own
sampling, look and verdicts. Golem's scheme and replication of whole tiles stand beside. Renders and results
are kept in the folder: a benchmark that was cut off goes on where it was. Tables are in Markdown, as in
docs/verification.md.
"""

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # else this file would be the package it measures

from benchmarks.verification_plan import EMULATED, SHARED, Counts, Scene, Shelf, scenes  # noqa: E402
from benchmarks.verification_replay import Amount, costs, replay  # noqa: E402
from tests.support.reference import make_variants  # noqa: E402

QUICK = Amount(draws=20, draws_a_place=5, places=1, verdicts=1, golem_draws=5, golem_draws_a_place=5)
SHORT = Amount(draws=1000, draws_a_place=60, places=10, verdicts=2, golem_draws=2, golem_draws_a_place=1)
EVERY = 1 << 20
"""More crops than there are: pictures of a device that adds in any order are judged crop by crop."""

COSTS = ((480, 64), (240, 64), (480, 16), (960, 16), (480, 256))
"""Widths in pixels and samples an audit's cost is measured at."""

Row = Sequence[object]
Found = dict[str, Any]


def table(head: Row, rows: Iterator[Row]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def percent(share: float) -> str:
    """A share in per cent; 100 means every single one."""
    if share >= 1 - 1e-9:
        return "100 %" if share <= 1 + 1e-9 else f"{100 * share:.0f} %"
    return f"{100 * share:.1f} %" if share < 0.99 else f"{100 * min(share, 0.9999):.2f} %"


def mean(rows: list[Found], name: str) -> float:
    """The mean of a figure, each place counting once."""
    places = sum(row["places"] for row in rows)
    return sum(row[name] * row["places"] for row in rows) / places


def whole_table(found: list[Found]) -> str:
    """Cheats that touch the whole tile: all scenes together."""
    names = list(dict.fromkeys(name for one in found for name in one["whole"]))

    def row(name: str) -> Row:
        rows = [one["whole"][name] for one in found if name in one["whole"]]
        shares = [
            min(row["both"] for row in rows),
            *(_mean(row[part] for row in rows) for part in ("crops", "both")),
        ]
        golem = [_mean(row["golem"][bound] for row in rows) for bound in ("lax", "strict")]
        sentence = said_most([one["said"] for one in rows])
        return name, len(rows), *map(percent, (shares[1], shares[2], shares[0], *golem)), sentence

    head = (
        "cheat",
        "scenes",
        "crops",
        "crops and suspects",
        "worst scene",
        "Golem 0.8",
        "Golem 0.95",
        "said most",
    )
    return table(head, map(row, names))


def said_most(said: list[dict[str, int]]) -> str:
    """The reason given most often, however many samples it names; in the words of its commonest case."""
    kinds: dict[str, Counter[str]] = {}
    for sentences in said:
        for words, count in sentences.items():
            kinds.setdefault(re.sub(r"[0-9]+", "n", words), Counter())[words.partition(": ")[2]] += count
    return max(kinds.values(), key=lambda kind: kind.total()).most_common(1)[0][0]


def _mean(values: Iterator[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def local_table(found: list[Found]) -> str:
    """Cheats of a region, against its area: all scenes together, and the worst one."""
    keys = list(dict.fromkeys((row["kind"], row["area"]) for one in found for row in one["local"]))

    def row(key: tuple[str, float]) -> Row:
        rows = [r for one in found for r in one["local"] if (r["kind"], r["area"]) == key and r["places"]]
        if not rows:
            return (*key, 0, *["-"] * 8)
        figures = [mean(rows, name) for name in ("formula", "crops", "suspects", "both", "in_bits")]
        golem = [
            sum(r["golem"][bound] * r["places"] for r in rows) / sum(r["places"] for r in rows)
            for bound in ("lax", "strict")
        ]
        worst = min(r["both"] for r in rows if r["places"] >= min(5, max(x["places"] for x in rows)))
        places = sum(r["places"] for r in rows)
        return key[0], f"{100 * key[1]:g} %", places, *map(percent, (*figures, worst, *golem))

    head = (
        "region",
        "area",
        "places",
        "1-(1-f)^n",
        "crops",
        "suspects",
        "both",
        "both in bits",
        "worst scene",
        "Golem 0.8",
        "Golem 0.95",
    )
    return table(head, map(row, keys))


def honest_table(found: list[Found]) -> str:
    """Comparisons of honest tiles, and how many would have been rejected."""
    names = ("crops", "crops_different", "sparse", "suspects", "suspects_different")
    rows: list[Row] = [
        (one["scene"], one["size"], one["samples"], *(one[name] for name in names), *shares([one]))
        for one in found
    ]
    rows.append(("all", "", "", *(sum(one[name] for one in found) for name in names), *shares(found)))
    head = (
        "scene",
        "size",
        "samples",
        "crops",
        "different",
        "sparse passes",
        "suspects rendered",
        "different",
        "pixels apart",
        "of the bound",
    )
    return table(head, iter(rows))


def shares(found: list[Found]) -> tuple[str, str]:
    """How many honest pixels are not alike in every bit, and how far at most, over what is explained."""
    crops = sum(one["crops"] for one in found)
    apart = sum(one["apart"] * one["crops"] for one in found) / crops
    return percent(apart), percent(max(one["bound"] for one in found))


def cost_table(found: list[Found]) -> str:
    """An audited tile's cost: CPU seconds of the auditor over those of the render."""

    def row(one: Found) -> Row:
        cost = one["cost"]
        seconds = [f"{cost[name]:.2f}" for name in ("tile", "load", "sparse", "crop")]
        shares = [percent(cost[name]) for name in ("share", "share_cold")]
        return one["scene"], one["size"], one["samples"], *seconds, *shares, "3.0 %", "100 %"

    head = (
        "scene",
        "size",
        "samples",
        "tile s",
        "load s",
        "sparse s",
        "a crop s",
        "warm",
        "cold",
        "Golem",
        "replication",
    )
    return table(head, map(row, found))


def costed(folder: Path) -> Iterator[Found]:
    """bmw27 at several sizes and samples: only what the cost needs."""
    for width, samples in COSTS:
        scene = Scene("cost", SHARED / "bmw27.blend", 480, 270, width * 100 // 480, samples)
        shelf = Shelf(folder, replace(scene, name=f"cost {width} {samples}"))
        shelf.render(Counts(crops=20, sparse=5), cheats=False)
        yield {"scene": "bmw27", "size": f"{scene.tile.width}x{scene.tile.height}", "samples": samples} | {
            "cost": costs(shelf)
        }


def made_variants(folder: Path) -> Path:
    """The scenes of tests/variants/."""
    variants = folder / "variants"
    if not (variants / "plain.blend").exists():
        variants.mkdir(parents=True, exist_ok=True)
        names = ("plain", "light_groups_and_aov", "motion_blur", "two_layers_cryptomatte_outputs")
        make_variants(variants, *names)
    return variants


def chosen_scenes(folder: Path, wanted: str, quick: bool) -> list[Scene]:
    """The scenes that are there, by name; a tiny one for the tests."""
    known = scenes(made_variants(folder))
    if quick:
        return [replace(scene, percentage=100, samples=8) for scene in known if scene.name == "plain"]
    for scene in known:
        if not scene.blend.exists():
            print(f"{scene.blend} is not there: {scene.name} is left out.", file=sys.stderr)
    asked = wanted.split(",") if wanted else [scene.name for scene in known]
    return [scene for scene in known if scene.name in asked and scene.blend.exists()]


def measured(shelves: list[Shelf], counts: Counts, amount: Amount) -> Iterator[Found]:
    """Render and replay, scene by scene."""
    for shelf in shelves:
        shelf.render(counts)
        print(f"{shelf.scene.name}: replaying", file=sys.stderr, flush=True)
        yield replay(shelf, amount)


def report(found: list[Found]) -> str:
    """All tables."""
    parts = (
        ("Honest tiles", honest_table),
        ("The whole tile", whole_table),
        ("A region", local_table),
        ("Cost", cost_table),
    )
    return "\n".join(f"### {title}\n\n{make(found)}" for title, make in parts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "render-farm-verification"
    )
    parser.add_argument("--scenes", default="", help="names, with commas; all where left out")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--device", choices=("CPU", EMULATED), default="CPU")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.cost:
        found = list(costed(options.folder))
    else:
        counts, amount = (Counts(6, 3), QUICK) if options.quick else (Counts(), Amount())
        chosen = chosen_scenes(options.folder, options.scenes, options.quick)
        if options.short:
            counts, amount, chosen = Counts(crops=40), SHORT, [scene.small for scene in chosen]
        if options.device == EMULATED:
            counts = replace(counts, crops=EVERY)
        shelves = [Shelf(options.folder, scene, options.device) for scene in chosen]
        found = list(measured(shelves, counts, amount))
    made = cost_table(found) if options.cost else report(found)
    print(json.dumps(found) if options.json else made)


if __name__ == "__main__":
    main()

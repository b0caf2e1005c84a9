# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether cheating pays: episodes of dishonest nodes, played against audit rates, stakes and repeats.

    python benchmarks/cheating_pays.py [--episodes 1000000] [--json FILE] [--seed 1]

One episode is a node of 1, 4 or 200 tiles after an honest past. It cheats on a share of them (0.1 % to
100 %) in a way that an audit sees with some chance (0.05 to 1), saving 90 % of a tile's reward, while some,
or all, of the other operators are its accomplices, under as many names as they like: so the cap on what one
of them audits and the repeats of pairs that meet often are left out, in their favour.
Caught, it gets nothing for the tile and loses its stake; then it exits, or comes back as somebody new with a
new stake. Counted is what it has more than an honest node with the same tiles; the future an exiting cheat
forgoes is left out, in its favour. Money is in rewards of one tile.

The same episodes (same seed) are played for each rule. A rule is good where the mean is negative in every
cell of cheated share x detectability x collusion x past x size of the job x what follows. Audits and how it
ends are played; what a tile wins or loses is counted as its expectation at that moment, because rare catches
would leave nothing but noise. The exact worst case (`verification.audit.rate.profit` at the floor) stands
beside.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from verification.audit.rate import MILLION, STAKE, Rates, chance_caught, least_stake, profit
from verification.audit.sampling import AuditPolicy

SHARES = (0.001, 0.01, 0.1, 0.3, 1.0)
DETECTABILITY = (0.05, 0.1, 0.3, 0.6, 1.0)
COLLUSION = (0.0, 0.15, 0.3, 0.6, 1.0)
PASTS = (0, 100, 5000)
SIZES = (1, 4, 200)
GAIN = 0.9
AUDIT_COST = 0.05
Numbers = NDArray[numpy.float64]


@dataclass(frozen=True)
class Rule:
    """Floor, repeat and own_first as shares, stake in rewards."""

    floor: float
    halving: int
    stake: float
    repeat: float
    own_first: float = 0.0

    @property
    def unseen(self) -> float:
        """The share of audits that an accomplice can answer for, were all strangers its accomplices."""
        return (1.0 - self.own_first) * (1.0 - self.repeat)


POLICY = AuditPolicy()
SHIPPED = Rule(
    Rates().floor / MILLION,
    Rates().halving,
    STAKE,
    POLICY.repeat / MILLION,
    POLICY.own_first / MILLION,
)
RULES = (
    Rule(0.02, 20, 20, 0.0),
    Rule(0.1, 20, STAKE, 0.1),
    Rule(SHIPPED.floor, SHIPPED.halving, STAKE, 0.1),
    Rule(SHIPPED.floor, SHIPPED.halving, STAKE, 0.7),
    Rule(SHIPPED.floor, SHIPPED.halving, 11, SHIPPED.repeat, SHIPPED.own_first),
    Rule(SHIPPED.floor, SHIPPED.halving, STAKE, 0.0, 0.5),
    SHIPPED,
    Rule(0.2, 20, STAKE, 0.1, 1.0),
)


@dataclass(frozen=True)
class Episodes:
    """One column an episode: what its node does and how it was before."""

    share: Numbers
    detection: Numbers
    collusion: Numbers
    past: Numbers
    tiles: Numbers
    returns: Numbers


def dealt(count: int, generator: numpy.random.Generator) -> Episodes:
    """Episodes of every kind, in equal numbers as far as that goes."""
    choices = (SHARES, DETECTABILITY, COLLUSION, PASTS, SIZES, (0.0, 1.0))
    kinds = numpy.array(numpy.meshgrid(*choices, indexing="ij")).reshape(len(choices), -1)
    return Episodes(*kinds[:, generator.permutation(count) % kinds.shape[1]])


def passed_after(past: int, rule: Rule) -> float:
    """Audits passed in an honest past, as expected."""
    passed = 0.0
    for _ in range(past):
        passed += max(rule.floor, rule.halving / (rule.halving + passed))
    return passed


def play(episodes: Episodes, rule: Rule, generator: numpy.random.Generator) -> Numbers:
    """What each episode's node has more than an honest one, in rewards."""
    count = episodes.share.size
    pasts = [episodes.past == past for past in PASTS]
    passed = numpy.select(pasts, [passed_after(past, rule) for past in PASTS])
    alive, won = numpy.ones(count, bool), numpy.zeros(count)
    seen = episodes.detection * (1.0 - episodes.collusion * rule.unseen)
    for number in range(max(SIZES)):
        alive &= episodes.tiles > number
        rate = numpy.maximum(rule.floor, rule.halving / (rule.halving + passed))
        won += alive * episodes.share * (GAIN - rate * seen * (1.0 + rule.stake))
        audited = alive & (generator.random(count) < rate)
        caught = audited & (generator.random(count) < episodes.share * seen)
        passed = numpy.where(caught, 0.0, passed + audited)
        alive &= ~caught | (episodes.returns > 0)
    return won


def cells(episodes: Episodes, won: Numbers) -> list[dict[str, float]]:
    """The mean of every kind of episode, the most profitable first."""
    columns = numpy.stack(list(asdict(episodes).values()))
    kinds, index = numpy.unique(columns, axis=1, return_inverse=True)
    number = numpy.bincount(index.ravel())
    means = numpy.bincount(index.ravel(), won) / number
    spread = numpy.sqrt(numpy.maximum(0, numpy.bincount(index.ravel(), won**2) / number - means**2) / number)
    names = [*asdict(episodes), "mean", "error"]
    rows = zip(*kinds, means, spread, strict=True)
    table = [dict(zip(names, map(float, row), strict=True)) for row in rows]
    return sorted(table, key=lambda cell: -cell["mean"])


def expected(rule: Rule) -> dict[str, float]:
    """The worst case exactly: at the floor, least detectable, most accomplices."""
    caught = chance_caught(rule.floor, min(DETECTABILITY), max(COLLUSION), rule.repeat, rule.own_first)
    return {
        "profit_a_tile": profit(caught, 1.0, rule.stake, GAIN),
        "least_stake": least_stake(caught, 1.0, GAIN),
        "audits_of_job": rule.floor * (1.0 + (1.0 - rule.own_first) * rule.repeat) * AUDIT_COST,
    }


def judged(rule: Rule, count: int, seed: int) -> dict[str, object]:
    """A rule after so many episodes."""
    generator = numpy.random.default_rng(seed)
    most, parts = 50_000, []
    for start in range(0, count, most):
        episodes = dealt(min(most, count - start), generator)
        parts.append((episodes, play(episodes, rule, generator)))
    names = list(asdict(parts[0][0]))
    together = Episodes(*(numpy.concatenate([getattr(part, name) for part, _ in parts]) for name in names))
    table = cells(together, numpy.concatenate([won for _, won in parts]))
    paying = [cell for cell in table if cell["mean"] >= 0]
    return {"rule": asdict(rule), **expected(rule), "paying_cells": len(paying), "cells": table}


def row(found: dict[str, object]) -> str:
    """A line of the table."""
    rule, table = found["rule"], found["cells"]
    assert isinstance(rule, dict)
    assert isinstance(table, list)
    return (
        f"{rule['floor']:6.2f} {rule['halving']:8d} {rule['stake']:6.0f} {rule['repeat']:7.2f} "
        f"{rule['own_first']:9.2f} "
        f"{found['audits_of_job']:9.2%} {found['least_stake']:12.0f} {found['profit_a_tile']:14.3f} "
        f"{table[0]['mean']:11.2f} {found['paying_cells']:6d}/{len(table)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; fail where cheating pays at the shipped rule."""
    parser = argparse.ArgumentParser(description="Whether cheating pays.")
    parser.add_argument("--episodes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    heads = "audits/job  least stake  exact, a tile  worst mean  paying cells"
    print(f" floor  halving  stake  repeat own first {heads}")
    found = []
    for rule in RULES:
        found.append(judged(rule, chosen.episodes, chosen.seed))
        print(row(found[-1]), "<- shipped" if rule == SHIPPED else "", flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    shipped = next(one for one in found if one["rule"] == asdict(SHIPPED))
    return 1 if shipped["paying_cells"] or expected(SHIPPED)["profit_a_tile"] >= 0 else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a node's work is audited, from what audits of its work have shown so far."""

from dataclasses import dataclass

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Audits passed since the last one that failed, and audits ever failed. From audited work only."""

    passed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Chances in a million. `floor` is never gone below; `halving`: after so many passed audits the
    chance has halved; `own` is that of the farm's own nodes, which are trusted but may be broken.
    """

    floor: int = 100_000
    halving: int = 20
    own: int = 20_000


def audit_rate(node: Standing, operator: Standing, own: bool, rates: Rates) -> int:
    """The chance of an audit in a million. New nodes, and those whose operator failed an audit since,
    start at certainty.
    """
    if own:
        return rates.own
    passed = min(node.passed, operator.passed)
    return max(rates.floor, round(MILLION * rates.halving / (rates.halving + passed)))

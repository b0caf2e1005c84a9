# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a node's work is audited, from what audits of its work have shown so far, and whether cheating
pays at that rate. `benchmarks/cheating_pays.py` shows where the figures come from.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.fields import about

MILLION = 1_000_000
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]

STAKE = 150
"""Rewards of one tile that a node must have to lose, so that at the shipped rates no cheat pays that an audit
sees one time in twenty, were all strangers its accomplices."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Audits passed since the last one that failed, and audits ever failed. From audited work only."""

    passed: Annotated[Count, about("audits passed since the last that failed")] = 0
    failed: Annotated[Count, about("audits ever failed")] = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Chances of an audit. Own nodes are trusted, but may be broken."""

    floor: Annotated[
        int, msgspec.Meta(ge=0, le=MILLION), about("the least chance of an audit, in a million")
    ] = 180_000
    halving: Annotated[
        int, msgspec.Meta(ge=1, le=MILLION), about("after so many passed audits the chance has halved")
    ] = 20
    own: Annotated[
        int, msgspec.Meta(ge=0, le=MILLION), about("chance for the farm's own nodes, in a million")
    ] = 20_000


def audit_rate(node: Standing, operator: Standing, own: bool, rates: Rates) -> int:
    """Chance of an audit in a million, from the standing of a `node` and of its `operator`; `own`: the farm's
    own node. New nodes, and those whose operator failed an audit since, start at certainty.
    """
    if own:
        return rates.own
    passed = min(node.passed, operator.passed)
    return max(rates.floor, round(MILLION * rates.halving / (rates.halving + passed)))


def appointed_rate(node: Standing, operator: Standing, own: bool, attempt: int, rates: Rates) -> int:
    """Chance of an audit in a million by appointment number `attempt` (from 1); `node`, `operator`, `own` and
    `rates` as for `audit_rate`. A stranger's whose first came to nothing is audited for certain, so that
    neither farm nor node gains by letting rounds pass.
    """
    return audit_rate(node, operator, own, rates) if own or attempt == 1 else MILLION


def chance_caught(
    rate: float, detection: float, colluding: float, repeat: float, own_first: float = 0.0
) -> float:
    """Chance that a cheated tile is caught: audited (`rate`), by the farm's own node (`own_first`), by an
    honest stranger, or by an accomplice and repeated by the own node; and seen (`detection`). `colluding` is
    the share of strangers that are accomplices. All 0 to 1.
    """
    return rate * detection * (1.0 - colluding * (1.0 - own_first) * (1.0 - repeat))


def profit(caught: float, reward: float, stake: float, gain: float) -> float:
    """What cheating on one tile is expected to bring more than rendering it: the design's inequality
    p·d·(1-r)·(R+S) > g holds where this is negative. `gain` is the cost that the cheat saves, `reward` what
    is not paid and `stake` what is lost when it is caught; all in the same unit.
    """
    return gain - caught * (reward + stake)


def least_stake(caught: float, reward: float, gain: float) -> float:
    """The stake at which cheating brings nothing; more than that, and it loses. Infinite where none can."""
    return max(0.0, gain / caught - reward) if caught > 0 else float("inf")

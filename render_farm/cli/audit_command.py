# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm audit`: what was audited of a job, and whether the farm followed its own rule."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING

from farm_protocol.ids import JobId
from render_farm.cli.access import open_farm
from render_farm.cli.compare_heads import compare
from render_farm.cli.console import Console
from render_farm.cli.receipts import address
from render_farm.cli.table import table
from render_farm.client import FarmClient
from render_farm.wording import counted

if TYPE_CHECKING:
    from verification.records import JobVerification, SubmissionRecord

MOST_SHOWN = 20
"""Findings of a replay printed as text; JSON has all of them."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One submission. `rate` is the chance of an audit in a million; `audited` and `verdict` are null as
    long as they are not decided; `forced` says why it was audited though its round did not say so.
    """

    task: str
    frame: int
    tile: str
    node: str
    name: str
    own: bool
    rate: int
    audited: bool | None
    forced: str
    auditors: tuple[str, ...]
    verdict: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class AuditList:
    """The answer of `audit list --json`."""

    job: str
    submissions: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The answer of `audit replay --json`: what the farm did otherwise than its rule says."""

    job: str
    farm: str
    submissions: int
    audited: int
    followed: bool
    findings: tuple[str, ...]


def run(chosen: argparse.Namespace, console: Console) -> int:
    """List a job's submissions, or repeat the farm's choices; 1 where those were others."""
    if chosen.action == "compare-heads":
        return compare(chosen.files, console)
    farm = address(chosen.farm) if chosen.action == "replay" else None
    with open_farm(chosen, console.say, node=False) as access:
        verification = access.client.verification(JobId(chosen.job))
        if chosen.action == "list":
            return _list(verification, names(access.client), console)
    return _replay(verification, farm, console)


NOTHING = "No tile was submitted: none is rendered yet, or one Blender of an own node writes each frame whole"


def names(client: FarmClient) -> Mapping[str, str]:
    """Node ids to names, of the nodes the caller may see."""
    return {node.node: node.name for node in client.nodes()}


def _list(verification: "JobVerification", known: Mapping[str, str], console: Console) -> int:
    shown = tuple(_shown(one, known) for one in verification.submissions)
    heads = ("FRAME", "TILE", "NODE", "CHANCE", "AUDITED", "VERDICT", "REASON")
    text = table(heads, [_row(one) for one in shown]) if shown else f"{NOTHING}."
    console.result(AuditList(verification.job, shown), text)
    return 0


def _shown(one: "SubmissionRecord", known: Mapping[str, str]) -> Shown:
    tile = one.task.tile
    return Shown(
        task=one.task.id,
        frame=one.task.frame,
        tile=f"{tile.x0},{tile.y0} {tile.width}x{tile.height}",
        node=one.node,
        name=known.get(one.node, "the farm's own" if one.own else one.node),
        own=one.own,
        rate=one.receipt.rate,
        audited=one.audited,
        forced=one.forced,
        auditors=tuple(audit.node for audit in one.audits if audit.node is not None),
        verdict=one.verdict.outcome.value if one.verdict else None,
        reason=one.verdict.reason if one.verdict else "",
    )


def _row(one: Shown) -> tuple[str, ...]:
    audited = {None: "not drawn yet", True: "yes, forced" if one.forced else "yes", False: "no"}[one.audited]
    chance = f"{one.rate / 1e4:.4g} %"
    return (
        str(one.frame),
        one.tile,
        one.name[:30],
        chance,
        audited,
        one.verdict or "-",
        shorten(one.reason, 200) or "-",
    )


def _replay(verification: "JobVerification", farm: str | None, console: Console) -> int:
    from verification.replay import replay  # noqa: PLC0415 - takes long to load

    findings = tuple(replay(verification, farm))
    submissions = len(verification.submissions)
    audited = sum(bool(one.audited) for one in verification.submissions)
    told = verification.farm.address
    replayed = Replayed(verification.job, told, submissions, audited, not findings, findings)
    console.result(replayed, _told(replayed))
    return 0 if replayed.followed else 1


def _told(replayed: Replayed) -> str:
    work = f"{counted(replayed.submissions, 'submission')}, {replayed.audited} audited"
    if replayed.followed and not replayed.submissions:
        return f"{NOTHING}, so the farm {replayed.farm} had nothing to choose."
    if replayed.followed:
        return (
            f"The farm {replayed.farm} followed its own rule: {work}; each choice of what was audited, "
            "where, by whom and with what verdict follows from the beacon's rounds and what was signed."
        )
    rest = len(replayed.findings) - MOST_SHOWN
    more = [f"  {counted(rest, 'more finding')}; --json tells all."] if rest > 0 else []
    lines = [f"  {finding}" for finding in replayed.findings[:MOST_SHOWN]]
    return "\n".join([f"The farm did not follow its own rule ({work}):", *lines, *more])

# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was found in a tile to what is decided about it, in a sentence for people. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from frame_splitter.audits import CheckReport, Fault
from frame_splitter.fields import Name, Sentence


class Outcome(StrEnum):
    """ESCALATED: not decided yet, it takes an audit, or one more. UNRESOLVED: it cannot be decided; the
    tile is rendered again, unpaid, and nobody is blamed.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ESCALATED = "escalated"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True)
class Twin:
    """Another submission with the same pixel root: its frame, and whether it was rejected."""

    frame: int
    rejected: bool


@dataclass(frozen=True, slots=True)
class Case:
    """What a verdict depends on beside the report. `samples` as pinned by the job; `audits` how many
    audits the report compares with (0: only the file was looked at); `same_class`: one of them was on
    the tile's own device class; `noise` the least and greatest of the job's tiles accepted after audits,
    None before there are any; `twin` another submission with the same pixels.
    """

    frame: int
    samples: int
    audits: int
    same_class: bool = True
    noise: tuple[float, float] | None = None
    twin: Twin | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`code` is for programs (`accepted`, a Fault's value, `too_few_samples`, `other_frame`, ...)."""

    outcome: Outcome
    code: Name
    reason: Sentence


def judge(report: CheckReport, case: Case) -> Verdict:
    """Decide about a tile."""
    if report.fault is not None:
        return Verdict(Outcome.REJECTED, report.fault.value, _fault_sentence(report.fault, report.detail))
    if any(crop.different for crop in report.crops):
        return Verdict(Outcome.REJECTED, "differs", "Pixels differ from those of the audit.")
    if case.audits == 0 and report.flat:
        return Verdict(Outcome.ESCALATED, "flat", "The tile is one colour all over, so it is audited.")
    return Verdict(Outcome.ACCEPTED, "accepted", "Equal in every float." if case.audits else "Not audited.")


def _fault_sentence(fault: Fault, detail: str) -> str:
    return detail or fault.value

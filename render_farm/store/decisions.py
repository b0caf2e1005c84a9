# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided about a submission, as the scripts are told it."""

from dataclasses import dataclass

from farm_protocol.audits import AuditOrder, CheckReport
from farm_protocol.ids import NodeId
from render_farm.fallbacks import Fallback
from verification.selection import Asked
from verification.verdict import Case, Verdict


@dataclass(frozen=True, slots=True)
class AuditWish:
    """An audit to be made. `ranked` are asked in this order; `own_only`: own nodes only; `context`: pixels
    to render around its crops beyond the overscan; `fresh`: in a Blender that opens the scene for it.
    """

    audit: AuditOrder
    ranked: tuple[NodeId, ...] = ()
    own_only: bool = False
    context: int = 0
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What a round decided. `how` is accept, check or audit; `asked` are those that could audit it, of whom
    `spared` are not repeated, and `audits_before` how many audits its operator's work had; `value` is the
    round's, hexadecimal.
    """

    how: str
    value: str
    forced: str = ""
    candidates: tuple[NodeId, ...] = ()
    wishes: tuple[AuditWish, ...] = ()
    asked: tuple[Asked, ...] = ()
    audits_before: int = 0
    spared: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What was made of a check. `how` is accepted, rejected, unresolved or more; `because` of more is
    suspects, escalated, looks or doubts.
    """

    how: str
    verdict: Verdict
    case: Case
    report: CheckReport
    wishes: tuple[AuditWish, ...] = ()
    because: str = ""
    forced: str = ""
    fallback: Fallback | None = None

# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may audit a submission, and when. Pure: no store, no clock.

Auditors are asked one after the other, in an order drawn by the beacon: never who comes first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farm_protocol.ids import DeviceClass, NodeId, OwnerId
from verification.audit.rate import Standing
from verification.audit.selection import Asked

STEP_SECONDS = 10.0
"""How long an auditor is asked before the next one may take the audit as well."""

OTHER_CLASS_SECONDS = 20.0
"""How much longer than its own nodes of the class the farm waits before another class will do."""


@dataclass(frozen=True, slots=True)
class Online:
    """A node that is there. `sandboxed` nodes may be given anybody's scenes; one that `sells` does nothing
    for free. `standing` is the worse of its own and its operator's.
    """

    node: NodeId
    operator: OwnerId
    own: bool
    sandboxed: bool
    classes: frozenset[str]
    sells: bool = False
    standing: Standing = field(default=Standing())


@dataclass(frozen=True, slots=True)
class Audited:
    """What is audited: whose work on which device class, of whose job; `excluded` are nodes found false in
    that job, `ordered` those it has agreements with (None: the job is free).
    """

    node: NodeId
    operator: OwnerId
    device_class: DeviceClass
    owner: OwnerId
    excluded: frozenset[NodeId] = frozenset()
    ordered: frozenset[NodeId] | None = None

    def may_ask(self, one: Online) -> bool:
        """Whether the stranger's node may be given work of this job at all."""
        works = not one.sells if self.ordered is None else one.node in self.ordered
        may_see = one.sandboxed or one.operator == self.owner
        return works and may_see and one.operator != self.operator


@dataclass(frozen=True, slots=True)
class Seat:
    """An audit that somebody is to take. `ranked` are asked in this order from `asked_at` on, those who
    `tried` and failed not again, and after them any of the farm's own; `own_only`: only those.
    """

    device_class: DeviceClass
    node: NodeId
    operator: OwnerId
    ranked: tuple[NodeId, ...]
    asked_at: float
    tried: tuple[NodeId, ...] = ()
    own_only: bool = False


def possible(audited: Audited, online: Iterable[Online], met: Mapping[OwnerId, int]) -> tuple[Asked, ...]:
    """All who could audit it now: strangers of the same device class, and the farm's own nodes. `met`: how
    many audits of the operator's work each other operator did before.
    """
    others = [one for one in online if one.node != audited.node and one.node not in audited.excluded]
    found = [(one, audited.device_class in one.classes) for one in others]
    return tuple(
        Asked(one.node, one.operator, one.own, same, met.get(one.operator, 0), one.standing)
        for one, same in found
        if one.own or (same and audited.may_ask(one))
    )


def may_audit(
    seat: Seat, node: NodeId, operator: OwnerId, own: bool, device_class: DeviceClass, now: float
) -> bool:
    """Whether the slot of a `node` of `operator` (`own`: the farm's), of the class `device_class`, may take
    the audit of that `seat` at the time `now` (seconds).
    """
    pause = _pause(seat, node, operator, own, device_class == seat.device_class)
    return pause is not None and now >= seat.asked_at + pause


def _pause(seat: Seat, node: NodeId, operator: OwnerId, own: bool, same_class: bool) -> float | None:
    """Seconds from the asking until it is this node's turn; None for never."""
    other_class = 0.0 if same_class else OTHER_CLASS_SECONDS
    if seat.own_only:
        return other_class if own else None
    left = [one for one in seat.ranked if one not in seat.tried]
    if not own and (not same_class or operator == seat.operator or node == seat.node or node not in left):
        return None
    if node in left:
        return STEP_SECONDS * left.index(node)
    return STEP_SECONDS * len(left) + other_class

# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may audit a submission, and when. Pure: no store, no clock.

Auditors are asked one after the other, in an order drawn by the beacon: never who comes first.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from frame_splitter.ids import DeviceClass, NodeId, OwnerId
from verification.sampling import Draws, ranked

STEP_SECONDS = 10.0
"""How long an auditor is asked before the next one may take the audit as well."""

OTHER_CLASS_SECONDS = 20.0
"""How much longer than its own nodes of the class the farm waits before another class will do."""


@dataclass(frozen=True, slots=True)
class Online:
    """A node that is there. `sandboxed` nodes may be given anybody's scenes; one that `sells` does nothing
    for free.
    """

    node: NodeId
    operator: OwnerId
    own: bool
    sandboxed: bool
    classes: frozenset[str]
    sells: bool = False


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
    `tried` and failed not again; `own_only`: the farm's own nodes only.
    """

    device_class: DeviceClass
    node: NodeId
    operator: OwnerId
    ranked: tuple[NodeId, ...]
    asked_at: float
    tried: tuple[NodeId, ...] = ()
    own_only: bool = False


def candidates(audited: Audited, online: Iterable[Online], draws: Draws) -> tuple[NodeId, ...]:
    """All who could audit it now, in the order they are asked: strangers of the same device class, then
    the farm's own nodes of it; where there is neither, its own nodes of other classes.
    """
    others = [one for one in online if one.node != audited.node and one.node not in audited.excluded]
    same = [one for one in others if audited.device_class in one.classes]
    strangers = [one for one in same if not one.own and audited.may_ask(one)]
    own = [one for one in same if one.own] or ([] if strangers else [one for one in others if one.own])
    return (*_ranked(draws, strangers), *_ranked(draws, own))


def _ranked(draws: Draws, nodes: Iterable[Online]) -> tuple[NodeId, ...]:
    return tuple(NodeId(node) for node in ranked(draws, (one.node for one in nodes)))


def may_audit(
    seat: Seat, node: NodeId, operator: OwnerId, own: bool, device_class: DeviceClass, now: float
) -> bool:
    """Whether a node's slot of a device class may take the audit now."""
    pause = _pause(seat, node, operator, own, device_class == seat.device_class)
    return pause is not None and now >= seat.asked_at + pause


def _pause(seat: Seat, node: NodeId, operator: OwnerId, own: bool, same_class: bool) -> float | None:
    """Seconds from the asking until it is this node's turn; None for never."""
    other_class = 0.0 if same_class else OTHER_CLASS_SECONDS
    if seat.own_only:
        return other_class if own else None
    if not own and (not same_class or operator == seat.operator or node == seat.node or node in seat.tried):
        return None
    left = [one for one in seat.ranked if one not in seat.tried]
    if node in left:
        return STEP_SECONDS * left.index(node)
    return STEP_SECONDS * len(left) + other_class

# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is asked to audit a submission, and whether the farm's own node repeats it. Pure, so that anybody who
has the record can repeat the choice.

Accounts cost nothing, so nobody can tell whose friend an auditor is. What can be told is counted: how often
an operator audited another's work. None does more than a share of one operator's audits; the audits of a pair
that meets more often than by chance are repeated more often; and so many audits are the farm's own node's
from the first that cheating does not pay where every stranger is an accomplice
(`benchmarks/cheating_pays.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Annotated

from farm_protocol.fields import about
from farm_protocol.ids import NodeId, OwnerId
from verification.audit.rate import Count, Standing
from verification.audit.sampling import MILLION, AuditPolicy, Draws, is_own_first, is_repeated, ranked

CHANCE_DEVIATIONS, SURE_DEVIATIONS = 2.0, 4.0
"""Standard deviations above chance up to which nothing is made of it that two meet often, and from which on a
pair's audits are all repeated."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A node that could audit when the round came out."""

    node: Annotated[NodeId, about("id of the node")]
    operator: Annotated[OwnerId, about("id of the owner whose node it is")]
    own: Annotated[bool, about("whether the farm's operator runs and trusts it")] = False
    same_class: Annotated[bool, about("whether it works on the submission's device class")] = True
    met: Annotated[Count, about("audits of the submitter's operator that this one's had done before")] = 0
    standing: Annotated[Standing, about("the worse of its own and its operator's")] = field(
        default=Standing()
    )


def is_left_out(one: Asked, audits: int, policy: AuditPolicy) -> bool:
    """Whether a stranger is not to audit now: its own work failed an audit not long ago, or it did its share
    of the `audits` that the submitter's operator had before.
    """
    if one.own:
        return False
    failed = one.standing.failed > 0 and one.standing.passed < policy.proven
    return failed or one.met + 1 > max(1, policy.most_of_one * (audits + 1) // MILLION)


def order(draws: Draws, asked: Sequence[Asked], audits: int, policy: AuditPolicy) -> tuple[NodeId, ...]:
    """Nodes that are asked, one after the other, of those that could audit (`asked`): the farm's own of the
    device class where the `draws` say so; else strangers, then its own of the class, and where there are
    neither, its own of others. `audits` is how many the submitter's operator has had.
    """
    strangers = [one for one in asked if not one.own and not is_left_out(one, audits, policy)]
    same = [one for one in asked if one.own and one.same_class]
    if same and is_own_first(draws, policy):
        return _ranked(draws, same)
    own = same or ([] if strangers else [one for one in asked if one.own])
    return (*_ranked(draws, strangers), *_ranked(draws, own))


def _ranked(draws: Draws, nodes: Sequence[Asked]) -> tuple[NodeId, ...]:
    return tuple(NodeId(node) for node in ranked(draws, [one.node for one in nodes]))


def repeat_rate(one: Asked, asked: Sequence[Asked], audits: int, policy: AuditPolicy) -> int:
    """Chance in a million that the farm's own node repeats an audit by the stranger `one`, the higher, the
    more of the operator's `audits` were its own than by chance among all `asked`.
    """
    operators = len({other.operator for other in asked if not other.own})
    chance = min(1 / max(1, operators), policy.most_of_one / MILLION)
    expected = audits * chance
    beyond = (one.met - expected) / max(1.0, sqrt(expected * (1 - chance)))
    rise = (beyond - CHANCE_DEVIATIONS) / (SURE_DEVIATIONS - CHANCE_DEVIATIONS)
    rise = min(1.0, max(0.0, rise))
    return policy.repeat + round((MILLION - policy.repeat) * rise)


def spared(draws: Draws, asked: Sequence[Asked], audits: int, policy: AuditPolicy) -> tuple[NodeId, ...]:
    """Strangers of those `asked` whose audit of this submission the `draws` do not repeat, where its operator
    had so many `audits`; nobody where the farm's own node was to come first, but was not there.
    """
    if is_own_first(draws, policy):
        return ()
    return tuple(
        one.node
        for one in asked
        if not one.own and not is_repeated(draws, repeat_rate(one, asked, audits, policy))
    )

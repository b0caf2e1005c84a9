# SPDX-License-Identifier: GPL-3.0-or-later
"""Why nobody may take any of a job's tasks now, in a sentence. Pure: the scheduler's own rules are asked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from farm_protocol.records import SlotOffer
from render_farm.policy.scheduler import Asker, Obstacle, Queue, obstacle

MOST_NAMED = 3

DOING = {
    "render": "render tiles",
    "kept": "render tiles for the farm's own nodes",
    "final": "render whole frames",
    "finish": "finish frames",
    "audit": "audit tiles",
    "check": "check tiles",
    "probe": "probe the scene",
}

WHY = {
    Obstacle.NO_SANDBOX: "{who} has no sandbox, so it gets no scenes of other people",
    Obstacle.OWN_NODES_ONLY: "{who} is none of the farm's own nodes, which alone may do this",
    Obstacle.NO_SLOT: "{who} has no slot that does this",
    Obstacle.ANY_ORDER: "{who} renders on a GPU, and this job was asked to be bit-exact, which only CPUs are",
    Obstacle.DEVICE_CLASS: "{who} is of another device class than the job's, which is {pin}",
    Obstacle.VIDEO_MEMORY: "{who} lacks the video memory: the scene did not fit {memory}",
    Obstacle.NOT_ITS_TURN: "{who} may not audit what is to be audited, or not yet",
    Obstacle.LEFT_TO_OTHERS: "{who} failed at it and tries again after a while",
    "other_owner": "{who} has no sandbox, so it gets no scenes of other people",
    "sells": "{who} sells its work, and this job is free",
    "agreement": "{who} has no agreement for this paid job",
    "room": "{who} has no room left in its agreement: its stake or the job's budget is used up",
    "refused": "{who} waits for a voucher before it does more",
    "excluded": "{who} gets no more of it, because its work was rejected in this job",
    "paused": "{who} is given nothing for a while: it gave back or kept too much work without doing it",
    "called_broken": "{who} calls it broken, and an own node or another operator's has to say so, too",
    "unbound": "{who} has not shown the key that it signs with",
    "nothing": "{who} is given nothing of it",
}
"""What is said of a node for each reason, the scheduler's and the store's."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that is online, with what its slots offered last and the jobs it refuses. `away` says of each
    slot that is unavailable why.
    """

    name: str
    asker: Asker
    offers: tuple[SlotOffer, ...]
    refuses: tuple[str, ...] = ()
    away: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """A job as a node that asks would see it: its ready tasks, and what is held back from the node."""

    peer: Peer
    queue: Queue | None
    held_back: tuple[str, ...] = ()


def may_take(look: Look, now: float) -> bool:
    """Whether one of the node's slots could be given a task of the job, as soon as it is free."""
    return look.queue is not None and any(one is None for one in _obstacles(look, look.queue, now))


def sentence(looks: Sequence[Look], lanes: Sequence[str], pin: str, now: float) -> str:
    """Why no node may take any of the tasks that are ready in `lanes`; '' where one may."""
    if any(may_take(look, now) for look in looks):
        return ""
    doing = " and ".join(DOING.get(lane, lane) for lane in lanes)
    if not looks:
        return f"Nobody can {doing}: no node is online."
    if all(lane in ("kept", "final", "finish", "check", "probe") for lane in lanes) and not any(
        look.peer.asker.own for look in looks
    ):
        return f"Nobody can {doing}: only the farm's own nodes may, and none of them is online."
    reasons: dict[str, list[str]] = {}
    for look in looks:
        reasons.setdefault(_why(look, now), []).append(look.peer.name)
    told = "; ".join(
        why.replace("{who}", _names(names)).replace("{pin}", pin) for why, names in reasons.items()
    )
    return f"Nobody can {doing} now: {told}."


def _why(look: Look, now: float) -> str:
    """The reason with places for who and the job's class. A slot that is away has none that would do."""
    reason = _reason(look, now)
    if look.peer.away and reason in ("nothing", Obstacle.NO_SLOT):
        return f"{{who}} cannot work at the moment: {look.peer.away[0].rstrip('.')}"
    return WHY[reason].replace("{memory}", _memory(look))


def _memory(look: Look) -> str:
    """What the scene is known not to fit, as the node sees it."""
    known = max(look.queue.too_small, look.queue.too_small_here) if look.queue else 0
    return f"{known / 2**30:.1f} GiB" if known > 0 else "its GPU"


def _obstacles(look: Look, queue: Queue, now: float) -> list[Obstacle | None]:
    peer = look.peer
    return [obstacle(task, queue, offer, peer.asker, now) for offer in peer.offers for task in queue.tasks]


def _reason(look: Look, now: float) -> str:
    """The obstacle of the task that came nearest to being given, else what the store holds back."""
    order = list(Obstacle)
    found = [] if look.queue is None else [one for one in _obstacles(look, look.queue, now) if one]
    if found:
        return max(found, key=order.index)
    return look.held_back[0] if look.held_back else "nothing"


def _names(names: Sequence[str]) -> str:
    """Nodes by name, each of which is said the same of."""
    counted = Counter(names)
    some = sorted(counted)[:MOST_NAMED]
    more = f" and {len(counted) - MOST_NAMED} more" if len(counted) > MOST_NAMED else ""
    each = ", each" if len(counted) > 1 else ""
    return f"{', '.join(some)}{more}{each}"

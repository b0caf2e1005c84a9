# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the ready tasks a node's free slots should get. Pure: no store, no clock.

Order of wishes: a higher priority class first; within it finish tasks (each releases a frame), checks and
audits (they release tiles), then probes (somebody waits for a quote), then tasks whose scene and frame the
slot has warm, then whose scene it has warm, then the older job, then the earlier task. A job climbs one
class for every `AGEING_SECONDS` it is old, so that none starves.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from farm_protocol.device_classes import CPU, Summation, kind_of_device, summation_of
from farm_protocol.ids import DeviceClass, JobId, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import SCENE_FAILURES, SlotOffer, TaskKind
from render_farm.auditors import Seat, may_audit

AGEING_SECONDS = 600.0
"""Age that outweighs one step of priority (priorities run from 0 to 100)."""

AVOID_SECONDS = 60.0
"""How long a node that failed a task leaves it to the others, when there are others."""

KEPT_SECONDS = 600.0
"""The same for a node that kept a task to its lease's end without doing it."""

PAUSE_SECONDS = 5.0
"""How long a node that is alone leaves a task it could not do for reasons of its own."""

OWN_NODES_ONLY = frozenset({"finish", "final", "kept", "check", "probe"})
_LANES = {
    TaskKind.RENDER: ("render", "kept", "final"),
    TaskKind.FINISH: ("finish",),
    TaskKind.AUDIT: ("audit",),
    TaskKind.CHECK: ("check",),
    TaskKind.PROBE: ("probe",),
}


ALL_LANES = tuple(lane for lanes in _LANES.values() for lane in lanes)
_OF_ANY_CLASS = frozenset({"finish", "check", "probe"})
_COMPARES = frozenset({"audit", "check"})
_ON_PROCESSORS = frozenset({"finish", "check"})
KEPT = frozenset({"overdue", "stalled"})
"""Why the lease of a node ends that still speaks of it."""

_FIRST = ("finish", "check", "audit", "probe")
"""Lanes that go before renders, in this order."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The node that asks. `others` and `own_others`: how many other nodes (own nodes) are online."""

    node: NodeId
    owner: OwnerId
    own: bool
    sandboxed: bool
    others: int = 0
    own_others: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ready task. `failed_on` is the node it last went wrong on, at `failed_at` seconds. `seat` says
    who may take an audit. `late`: it is leased, and may be taken over because its node is late with it.
    """

    task: TaskId
    lane: str
    frame: int
    failed_on: str = ""
    failed_at: float = 0.0
    failed_code: str = ""
    seat: Seat | None = None
    late: bool = False


class InOrder(StrEnum):
    """Which nodes may make a job's frames only on devices that add in order. STRANGERS: two renders on others
    are not alike, so that none could be audited.
    """

    NOBODY = "0"
    STRANGERS = "own"
    ALL = "1"


@dataclass(frozen=True, slots=True)
class Queue:
    """A job with ready tasks. `pin` is its device class ('' before the first lease); `movable` when
    nothing rendered on that class is left; `in_order`: who must add in order to make its frames.
    Its scene did not fit `too_small` bytes of video memory, as the farm's own nodes saw, nor
    `too_small_here`, as the node that asks did; -1: it fitted, or nobody tried.
    """

    job: JobId
    owner: OwnerId
    rank: float
    scene: SceneId
    pin: str
    movable: bool
    tasks: tuple[Candidate, ...]
    in_order: InOrder = InOrder.NOBODY
    too_small: int = -1
    too_small_here: int = -1


@dataclass(frozen=True, slots=True)
class Choice:
    """A slot and the task it should get."""

    offer: SlotOffer
    queue: Queue
    task: Candidate


class Obstacle(StrEnum):
    """Why a slot may not be given a ready task."""

    NO_SANDBOX = "no_sandbox"
    OWN_NODES_ONLY = "own_nodes_only"
    NO_SLOT = "no_slot"
    ANY_ORDER = "any_order"
    DEVICE_CLASS = "device_class"
    VIDEO_MEMORY = "video_memory"
    NOT_ITS_TURN = "not_its_turn"
    LEFT_TO_OTHERS = "left_to_others"


def rank(priority: int, created: float) -> float:
    """A job's place among all jobs, smallest first; it never changes, since all jobs age alike."""
    return created / AGEING_SECONDS - priority


def lanes(offers: Iterable[SlotOffer], own: bool) -> list[str]:
    """The lanes a node with these offers may be given tasks of."""
    offered = {lane for offer in offers for kind in offer.kinds for lane in _LANES[kind]}
    return sorted(lane for lane in offered if own or lane not in OWN_NODES_ONLY)


def choose(
    offers: Sequence[SlotOffer],
    asker: Asker,
    queues: Sequence[Queue],
    now: float,
    reached_for: Collection[TaskId] = (),
    most: int | None = None,
) -> list[Choice]:
    """At most one task for each offer and `most` in all, no task twice, none that somebody else reaches for.

    `now` in seconds since the epoch.
    """
    pins: dict[JobId, str] = {}
    taken = set(reached_for)
    choices = []
    # Slots beyond what the node may hold are not even looked at: they may be made up.
    for offer in _warm_first(offers)[:most]:
        choice = _best(offer, asker, queues, now, pins, taken)
        if choice is not None:
            taken.add(choice.task.task)
            if choice.task.lane not in _FIRST:
                pins[choice.queue.job] = offer.device_class
            choices.append(choice)
    return choices


def _warm_first(offers: Sequence[SlotOffer]) -> list[SlotOffer]:
    """A slot without a warm scene can take anything, so it chooses last."""
    return sorted(offers, key=lambda offer: (offer.warm_scene is None, offer.warm_frame is None))


def _best(
    offer: SlotOffer,
    asker: Asker,
    queues: Sequence[Queue],
    now: float,
    pins: dict[JobId, str],
    taken: set[TaskId],
) -> Choice | None:
    fitting = (
        Choice(offer, queue, task)
        for queue in queues
        for task in queue.tasks
        if task.task not in taken and obstacle(task, queue, offer, asker, now, pins) is None
    )
    return min(fitting, key=lambda choice: _order(choice, now), default=None)


def obstacle(
    task: Candidate,
    queue: Queue,
    offer: SlotOffer,
    asker: Asker,
    now: float,
    pins: Mapping[JobId, str] | None = None,
) -> Obstacle | None:
    """Why a node's slot may not be given a ready task now; None where it may. `pins` are those of jobs that
    the same request was given tasks of.
    """
    kinds = lanes((offer,), own=True)
    if not asker.sandboxed and queue.owner != asker.owner:
        return Obstacle.NO_SANDBOX
    if not asker.own and _is_for_own_nodes(task, queue, offer):
        return Obstacle.OWN_NODES_ONLY
    if task.lane not in kinds:
        return Obstacle.NO_SLOT
    if (unfit := _unfit(task, queue, offer, pins or {})) is not None:
        return unfit
    if not _is_its_turn(task, asker, offer.device_class, now):
        return Obstacle.NOT_ITS_TURN
    return Obstacle.LEFT_TO_OTHERS if _leave_to_others(task, asker, now) else None


def _unfit(task: Candidate, queue: Queue, offer: SlotOffer, pins: Mapping[JobId, str]) -> Obstacle | None:
    """What is wrong with the slot's device, if anything."""
    if queue.in_order is InOrder.ALL and _adds_in_any_order(task, offer.device_class):
        return Obstacle.ANY_ORDER
    if not _suits(task, queue, offer.device_class, pins):
        return Obstacle.DEVICE_CLASS
    return None if _fits(task, queue, offer) else Obstacle.VIDEO_MEMORY


def _is_for_own_nodes(task: Candidate, queue: Queue, offer: SlotOffer) -> bool:
    unlike = queue.in_order is InOrder.STRANGERS and _adds_in_any_order(task, offer.device_class)
    return unlike or task.lane in OWN_NODES_ONLY


def _adds_in_any_order(task: Candidate, device_class: DeviceClass) -> bool:
    """Audits and checks put nothing into a frame."""
    return task.lane not in _COMPARES and summation_of(device_class) is Summation.ANY_ORDER


def _suits(task: Candidate, queue: Queue, device_class: DeviceClass, pins: Mapping[JobId, str]) -> bool:
    if task.lane in _FIRST:
        return task.lane in _OF_ANY_CLASS or task.seat is not None
    if queue.job in pins:
        return pins[queue.job] == device_class
    return queue.pin in {"", device_class} or queue.movable


def _fits(task: Candidate, queue: Queue, offer: SlotOffer) -> bool:
    """Whether the slot has more video memory than the scene was too large for. Of a GPU that does not tell
    (0 bytes) only its own node knows.
    """
    if task.lane in _ON_PROCESSORS or kind_of_device(offer.device_class) == CPU:
        return True
    return offer.memory > queue.too_small_here and not 0 < offer.memory <= queue.too_small


def _is_its_turn(task: Candidate, asker: Asker, device_class: DeviceClass, now: float) -> bool:
    return task.seat is None or may_audit(task.seat, asker.node, asker.owner, asker.own, device_class, now)


def _leave_to_others(task: Candidate, asker: Asker, now: float) -> bool:
    if task.failed_on != asker.node:
        return False
    others = asker.own_others if task.lane in OWN_NODES_ONLY or task.seat else asker.others
    if others:
        return now - task.failed_at < (KEPT_SECONDS if task.failed_code in KEPT else AVOID_SECONDS)
    nodes_own_fault = task.failed_code not in SCENE_FAILURES | KEPT | {"expired", "bad_input", "lost"}
    return nodes_own_fault and now - task.failed_at < PAUSE_SECONDS


def _order(choice: Choice, now: float) -> tuple[bool, int, int, int, float]:
    """Smallest first; `min` keeps the order of the tasks in their job among equals. What is late with another
    node comes last: as long as there is other work, it may still be done where it is.
    """
    priority_class = math.floor(now / AGEING_SECONDS - choice.queue.rank)
    lane = choice.task.lane
    place = _FIRST.index(lane) if lane in _FIRST else len(_FIRST)
    return choice.task.late, -priority_class, place, -_warmth(choice), choice.queue.rank


def _warmth(choice: Choice) -> int:
    if choice.offer.warm_scene != choice.queue.scene:
        return 0
    return 2 if choice.offer.warm_frame == choice.task.frame else 1

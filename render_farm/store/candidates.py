# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node that asks could be given, as the scheduler sees it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from farm_protocol.errors import Forbidden
from farm_protocol.fields import decode, decoder, encode
from farm_protocol.ids import JobId, OwnerId, SceneId, TaskId
from farm_protocol.records import LeaseRequest, SlotOffer, TaskKind
from render_farm.policy.auditor_selection import Seat
from render_farm.policy.scheduler import ALL_LANES, Asker, Candidate, InOrder, Queue, lanes
from render_farm.store.calls import Candidates
from render_farm.store.connection import Connection

MOST_JOBS = 8
TASKS_PER_LANE = 16
"""How far the scheduler looks: enough to find warm work, little enough to read for every request."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a node could be given. `most`: how many tasks it may take; None: as many as it has slots."""

    queues: list[Queue]
    most: int | None


async def find(store: Connection, asker: Asker, request: LeaseRequest, now: float) -> Found:
    """What the node could be given now; notes that it was heard of."""
    found = await _candidates(store, asker, request, now)
    if found == "unbound":
        raise Forbidden("This node has not shown the address it signs with yet: POST /nodes/self first.")
    most, entries = decoder(list).decode(found)
    return Found([_queue(*entry) for entry in entries], None if most < 0 else int(most))


async def could_take(
    store: Connection, asker: Asker, request: LeaseRequest, now: float, job: JobId
) -> tuple[Queue | None, tuple[str, ...]]:
    """A job's ready tasks as the node would see them if it asked, whatever its slots take, and what is held
    back from it: other_owner, sells, agreement, room, refused, excluded, paused, called_broken or unbound.
    """
    found = await _candidates(store, asker, request, now, job)
    if found == "unbound":
        return None, ("unbound",)
    entries, why = decoder(list).decode(found)
    return (_queue(*entries[0]) if entries else None), tuple(why)


async def _candidates(
    store: Connection, asker: Asker, request: LeaseRequest, now: float, job: JobId | None = None
) -> str:
    node, offers = asker.node, request.offers
    call = Candidates(
        node=node,
        now=now,
        owner=None if asker.sandboxed else asker.owner,
        classes=_classes(offers),
        lanes=tuple(ALL_LANES if job else lanes(offers, asker.own)),
        audits=_classes(offer for offer in offers if TaskKind.AUDIT in offer.kinds),
        refuses=encode(request.refuses),
        offers={offer.slot: encode(_cold(offer)).decode() for offer in offers},
        sandboxed=asker.sandboxed,
        most_jobs=MOST_JOBS,
        most_tasks=TASKS_PER_LANE,
        job=job,
    )
    found: str = await store.call(call)
    return found


def _cold(offer: SlotOffer) -> SlotOffer:
    return replace(offer, warm_scene=None, warm_frame=None)


def _classes(offers: Iterable[SlotOffer]) -> list[str]:
    return sorted({offer.device_class for offer in offers})


def _queue(
    job: str,
    owner: str,
    rank: str,
    scene: str,
    pin: str,
    movable: str,
    in_order: str,
    too_small: list[float],
    tasks: list[list[str]],
) -> Queue:
    candidates = tuple(_candidate(*task) for task in tasks)
    own, mine = map(int, too_small)
    place = JobId(job), OwnerId(owner), float(rank), SceneId(scene)
    return Queue(*place, pin, movable == "1", candidates, InOrder(in_order), own, mine)


def _candidate(
    task: str, lane: str, frame: str, failed_on: str, at: str, code: str, seat: str, late: str
) -> Candidate:
    sits = decode(seat, Seat) if seat else None
    return Candidate(TaskId(task), lane, int(frame), failed_on, float(at), code, sits, late == "1")

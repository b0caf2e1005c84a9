# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that are online and jobs that wait for them, as whoever looks for standstills needs them."""

from dataclasses import dataclass, replace

from farm_protocol.fields import decode
from farm_protocol.ids import JobId, NodeId, OwnerId
from farm_protocol.records import LeaseRequest, SlotOffer, SlotTrouble
from render_farm.policy.scheduler import ALL_LANES, Asker
from render_farm.policy.standstill import Look, Peer
from render_farm.store import keys
from render_farm.store.calls import StandStill
from render_farm.store.candidates import could_take
from render_farm.store.connection import Connection

MOST_ROUNDS = 100
MOST_JOBS = 200
"""Jobs looked at, the most urgent first."""


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job with tasks that are ready in `lanes`; `leased`: somebody works on it; `pin`: its device class."""

    job: JobId
    leased: bool
    pin: str
    lanes: tuple[str, ...]


class Peers:
    """Reads of the store, and the sentence that is kept with a job."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def open_jobs(self) -> list[OpenJob]:
        """Jobs with ready tasks, neither paused nor cancelled."""
        names = await self._store.do("ZRANGE", keys.OPEN_JOBS, 0, MOST_JOBS - 1)
        wanted = ("leased", "extra_leased", "device_class")
        found = await self._store.read([("HMGET", keys.job(name), *wanted) for name in names])
        lanes = [await self._lanes(name) for name in names]
        return [
            OpenJob(JobId(name), int(leased) + int(extra or 0) > 0, pin or "", some)
            for name, (leased, extra, pin), some in zip(names, found, lanes, strict=True)
        ]

    async def undecided(self) -> list[JobId]:
        """Jobs that wait for a beacon round and for nothing else."""
        rounds = await self._store.do("ZRANGE", keys.ROUNDS, 0, MOST_ROUNDS - 1)
        found = await self._store.read([("LRANGE", keys.waiting(int(one)), 0, -1) for one in rounds])
        names = sorted({JobId(entry.partition(".")[0]) for entries in found for entry in entries})
        wanted = ("ready", "leased", "extra_ready", "extra_leased")
        counts = await self._store.read([("HMGET", keys.job(name), *wanted) for name in names])
        return [
            name for name, some in zip(names, counts, strict=True) if not any(int(one or 0) for one in some)
        ]

    async def _lanes(self, job: str) -> tuple[str, ...]:
        counts = await self._store.read([("ZCARD", keys.job_lane(job, lane)) for lane in ALL_LANES])
        return tuple(lane for lane, count in zip(ALL_LANES, counts, strict=True) if count)

    async def online(self, since: float) -> list[Peer]:
        """Nodes heard of since a time."""
        names = await self._store.do("ZRANGEBYSCORE", keys.NODES, since, "+inf")
        wanted = ("name", "owner", "own", "sandboxed", "refuses", "troubles")
        found = await self._store.read([("HMGET", keys.node(name), *wanted) for name in names])
        offers = await self._store.read([("HVALS", keys.node_offers(name)) for name in names])
        own = sum(fields[2] == "1" for fields in found)
        return [
            _with_company(_peer(name, fields, texts), len(names), own)
            for name, fields, texts in zip(names, found, offers, strict=True)
        ]

    async def look(self, peer: Peer, job: JobId, now: float) -> Look:
        """A job as the node would see it if all its slots asked."""
        refuses = tuple(map(JobId, peer.refuses))
        request = LeaseRequest(peer.offers, sandboxed=peer.asker.sandboxed, refuses=refuses)
        queue, held_back = await could_take(self._store, peer.asker, request, now, job)
        return Look(peer, queue, held_back)

    async def say(self, job: JobId, sentence: str) -> bool:
        """Keep why a job stands still ('': it does not); returns whether that is news."""
        return bool(await self._store.call(StandStill(job, sentence)) == "1")


def _peer(node: str, fields: list[str | None], offers: list[str]) -> Peer:
    name, owner, own, sandboxed, refuses, troubles = fields
    asker = Asker(NodeId(node), OwnerId(owner or ""), own == "1", sandboxed == "1")
    away = {one.slot: one.reason for one in decode(troubles or "[]", tuple[SlotTrouble, ...])}
    slots = [decode(text, SlotOffer) for text in sorted(offers)]
    ready = tuple(one for one in slots if one.slot not in away)
    reasons = tuple(reason or "its slots are being started" for reason in away.values())
    return Peer(name or node, asker, ready, decode(refuses or "[]", tuple[str, ...]), reasons)


def _with_company(peer: Peer, online: int, own: int) -> Peer:
    others = own - 1 if peer.asker.own else own
    return replace(peer, asker=replace(peer.asker, others=online - 1, own_others=others))

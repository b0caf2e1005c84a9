# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes as the store keeps them: a job in no list whose one task is a probe, and what was made of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode, encode
from farm_protocol.ids import DeviceClass, JobId, NodeId, OwnerId, TaskId
from farm_protocol.probes import ProbeReport
from farm_protocol.records import JobSpec, JobState, TaskResult
from payments.quotes import Quote
from render_farm.store import keys
from render_farm.store.connection import Connection
from render_farm.store.jobs import state_of


@dataclass(frozen=True, slots=True)
class StoredQuote:
    """A quote's job. `made`: the quote, where it was made already."""

    job: JobId
    owner: OwnerId
    state: JobState
    spec: JobSpec
    facts: SceneFacts
    fingerprint: str
    failure: str
    made: Quote | None


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe brought, and by whom. `device_memory`: bytes that Cycles held on its device."""

    report: ProbeReport
    device_class: DeviceClass
    peak_memory: int
    device_memory: int = 0


def probe_task(job: JobId) -> TaskId:
    """The one task of a quote's job."""
    return TaskId(f"{job}.probe")


class QuoteStore:
    """The store's quotes."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def get(self, job: JobId) -> StoredQuote | None:
        """A quote's job, or None."""
        fields = await self._store.hash(keys.job(job))
        if "probe" not in fields:
            return None
        return StoredQuote(
            job,
            OwnerId(fields["owner"]),
            state_of(fields),
            decode(fields["spec"], JobSpec),
            decode(fields["facts"], SceneFacts),
            fields["fingerprint"],
            fields.get("failure", ""),
            decode(fields["quote"], Quote) if fields.get("quote") else None,
        )

    async def probed(self, job: JobId) -> Probed:
        """What the finished probe of a quote brought."""
        result = decode(await self._store.do("HGET", keys.task(probe_task(job)), "result"), TaskResult)
        assert result.probe is not None
        return Probed(result.probe, result.device_class, result.peak_memory, result.device_memory)

    async def keep(self, quote: Quote, probed: Probed) -> Quote:
        """Keep a quote for good. Returns the one that is kept: another process may have been first."""
        await self._store.keep("HSETNX", keys.job(quote.quote), "quote", encode(quote).decode())
        await self._store.keep("HSET", keys.SPEEDS, probed.device_class, probed.report.speed)
        return decode(await self._store.do("HGET", keys.job(quote.quote), "quote"), Quote)

    async def speeds(self, nodes: Sequence[NodeId]) -> dict[NodeId, float]:
        """Micro-units a second of nodes that did work which was paid for."""
        wanted = [("HMGET", keys.node(node), "work_units", "work_seconds") for node in nodes]
        found = await self._store.read(wanted)
        done = {
            node: (float(units or 0), float(taken or 0))
            for node, (units, taken) in zip(nodes, found, strict=True)
        }
        return {node: units / taken for node, (units, taken) in done.items() if units > 0 and taken > 1.0}

    async def class_speeds(self) -> dict[DeviceClass, float]:
        """Micro-units a second by device class, as probes measured them."""
        found = await self._store.hash(keys.SPEEDS)
        return {DeviceClass(name): float(speed) for name, speed in found.items()}

    async def changed(self, job: JobId, after: str, wait: float) -> str:
        """Waits up to `wait` seconds for something to happen to a quote's job; returns where to go on."""
        found = await self._store.follow(keys.events(job), after, wait, 256)
        return found[-1][0] if found else after

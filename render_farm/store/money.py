# SPDX-License-Identifier: GPL-3.0-or-later
"""Paid jobs as the scripts keep them: offers, orders, promises, and what their books are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from farm_protocol.errors import NotFound
from farm_protocol.fields import convert, decode, decoder, encode
from farm_protocol.ids import DeviceClass, JobId, NodeId, OwnerId
from farm_protocol.records import JobState
from payments.accounting.on_chain import OnChain
from payments.messages.promises import Offer, Promise, Promises, Release, Signed, Terms
from payments.messages.statements import JobMoney, Payment, Statement
from payments.messages.units import Wei
from render_farm.store import calls, keys
from render_farm.store.calls import HoldLock, MarkPaid, RecordChain
from render_farm.store.connection import Connection
from render_farm.store.jobs import state_of
from render_farm.store.new_jobs import batched

PROMISES_AT_ONCE = 200
BEGINNING = "0"
"""Before the first entry of a stream."""


@dataclass(frozen=True, slots=True)
class PaidJob:
    """A paid job as its books need it. `units` are those of all its tiles, `units_left` of unfinished ones,
    `largest_units` of the largest tile; `audit_ppm`: what audits may add in all; `held` says why it is set
    aside, or ''. `excluded`: nodes that get no more of its tasks.
    """

    job: JobId
    owner: OwnerId
    state: JobState
    payment: Payment
    terms: Signed[Terms]
    funded: bool
    settled: bool
    held: str
    units: int
    units_left: int
    largest_units: int
    audit_ppm: int
    frames: int
    tiles: int
    tasks: int
    device_class: DeviceClass | None
    created: float
    excluded: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class StandingOffer:
    """What a node sells. `operator` is its owner at the farm, `seller` the wallet that signed, `digest` the
    offer's struct hash, `device_class` what the node last asked with.
    """

    node: NodeId
    operator: OwnerId
    own: bool
    seller: str
    offer: Signed[Offer]
    digest: str
    device_class: DeviceClass
    last_seen: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """An agreement of a job with a node: the newest promise made for it (its `credits` are those that came
    last), and what the chain told of it. `current`: the node's work is done under it, `units_used` of
    `units_cap` so far. `own`: the node is the farm's; `operator` is the wallet that signed its offer.
    """

    node: NodeId
    promise: Promise
    current: bool = False
    units_cap: int = 0
    units_used: int = 0
    own: bool = False
    operator: str = ""
    chain: OnChain = field(default_factory=OnChain)

    @property
    def agreement(self) -> str:
        """Its id."""
        return self.promise.agreement

    @property
    def job(self) -> JobId:
        """Which job it is of."""
        return self.promise.job

    @property
    def price(self) -> int:
        """Of a render unit."""
        return self.promise.price

    @property
    def cap(self) -> Wei:
        """What it may earn as promised."""
        return Wei(self.promise.cap)


BASE = ("terms", "offer", "order")
"""What of a promise never changes."""
NEWS = ("cap_raise", "voucher", "credits", "ended")
"""What of a promise changes."""


class Money:
    """The store's paid jobs."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    # --- jobs -----------------------------------------------------------------------------------

    async def paid_jobs(self) -> list[JobId]:
        """Paid jobs whose money is not all where it belongs, oldest first."""
        return [JobId(job) for job in await self._store.do("ZRANGE", keys.PAID_JOBS, 0, -1)]

    async def job(self, job: JobId) -> PaidJob | None:
        """A paid job, or None."""
        fields = await self._store.hash(keys.job(job))
        if fields.get("paid") != "1":
            return None
        excluded = await self._store.do("SMEMBERS", keys.job_excluded(job))
        return _paid_job(job, fields, frozenset(map(NodeId, excluded)))

    async def frame_units(self, job: JobId) -> dict[int, int]:
        """What each frame of a paid job counts as, in micro-units."""
        found = await self._store.hash(keys.job_units(job))
        return {int(frame): int(units) for frame, units in found.items()}

    async def frame_states(self, job: JobId) -> dict[int, str]:
        """How far each frame is: rendering, done or failed."""
        found: dict[int, str] = {}
        for some in batched(await self._store.do("LRANGE", keys.job_frames(job), 0, -1)):
            states = await self._store.read([("HGET", keys.frame(job, frame), "state") for frame in some])
            found |= {int(frame): state for frame, state in zip(some, states, strict=True)}
        return found

    async def set_funded(self, job: JobId, funded: bool) -> None:
        """Whether there is enough on the chain to begin with."""
        await self._mark(job, funded=str(int(funded)))

    async def hold(self, job: JobId, notice: str) -> None:
        """Lease no more of a job for now; `notice` says why, to people."""
        await self._mark(job, held=notice)

    async def unhold(self, job: JobId) -> None:
        """Go on with a job that was held."""
        await self._mark(job, held="")

    async def show(self, job: JobId, money: JobMoney, statement: Statement, settled: bool) -> None:
        """What is told of a job's money. `settled`: all of it is where it belongs, for good."""
        await self._mark(
            job,
            money=encode(money).decode(),
            statement=encode(statement).decode(),
            settled=str(int(settled)),
        )

    async def statement(self, job: JobId) -> Statement | None:
        """What was shown last of a job's money, or None."""
        found = await self._store.do("HGET", keys.job(job), "statement")
        return None if found is None else decode(found, Statement)

    async def terms(self, job: JobId) -> Signed[Terms] | None:
        """A paid job's terms, or None."""
        found = await self._store.do("HGET", keys.job(job), "terms")
        return None if found is None else decode(found, Signed[Terms])

    async def _mark(self, job: JobId, **fields: str) -> None:
        if not await self._store.call(MarkPaid(job, fields)):
            raise NotFound(f"There is no paid job {job}.")

    # --- the books ------------------------------------------------------------------------------

    async def entries(self, job: JobId, first: int = 0) -> list[dict[str, Any]]:
        """What the farm added to a job's books, from the entry with this number (from 0) on."""
        return _entries(await self._store.do("LRANGE", keys.job_entries(job), first, -1))

    async def chain_entries(self, job: JobId, first: int = 0) -> list[dict[str, Any]]:
        """What the chain added to a job's books, from the entry with this number (from 0) on."""
        return _entries(await self._store.do("LRANGE", keys.job_chain(job), first, -1))

    async def cursor(self) -> str:
        """How far the chain was read, as it was told to `record_chain`; '' before the first time."""
        return str(await self._store.do("GET", keys.MONEY_CURSOR) or "")

    async def record_chain(
        self, cursor: str, entries: Mapping[JobId, Sequence[Mapping[str, Any]]], *, before: str
    ) -> bool:
        """Add what the chain said between `before` and `cursor`, or nothing where another process did:
        then False.
        """
        told = {job: [encode(one).decode() for one in of_job] for job, of_job in entries.items()}
        return bool(await self._store.call(RecordChain(before, cursor, told)))

    async def changed(self, after: str, wait: float) -> str:
        """Waits up to `wait` seconds until some job's money changed since `after` ('': from now on); returns
        from where to go on. Look at the jobs after asking with '', or a change may be missed.
        """
        if not after:
            return await self._newest(keys.MONEY_CHANGED)
        found = await self._store.follow(keys.MONEY_CHANGED, after, wait, 1000)
        return found[-1][0] if found else after

    async def work_changed(self, after: str, wait: float) -> tuple[str, frozenset[NodeId]]:
        """As `changed`, for what nodes may do and were promised; also says which nodes ('' for all)."""
        if not after:
            return await self._newest(keys.WORK_CHANGED), frozenset()
        found = await self._store.follow(keys.WORK_CHANGED, after, wait, 1000)
        nodes = frozenset(NodeId(fields.get("node", "")) for _, fields in found)
        return (found[-1][0] if found else after), nodes

    async def _newest(self, stream: str) -> str:
        newest = await self._store.do("XREVRANGE", stream, "+", "-", "COUNT", 1)
        return str(newest[0][0]) if newest else BEGINNING

    async def hold_lock(self, who: str, seconds: float) -> bool:
        """Hold the lock of the one process that keeps the books, or go on holding it, for so long."""
        return bool(await self._store.call(HoldLock(who, int(seconds * 1000))))

    async def let_go(self, who: str) -> None:
        """Give the lock up."""
        await self._store.call(HoldLock(who, 0))

    # --- offers and orders ----------------------------------------------------------------------

    async def put_offer(self, node: NodeId, offer: Signed[Offer], digest: str, seller: str) -> None:
        """A node sells from now on; its struct hash is `digest`, and `seller` signed it."""
        fields = ("offer", encode(offer), "offer_digest", digest, "seller", seller)
        await self._store.do("HSET", keys.node(node), *fields)
        await self._store.do("SADD", keys.SELLING, node)
        await self._ring()

    async def drop_offer(self, node: NodeId) -> None:
        """A node sells no longer."""
        await self._store.do("SREM", keys.SELLING, node)
        await self._store.do("HDEL", keys.node(node), "offer", "offer_digest", "seller")
        await self._ring()

    async def offers(self, since: float) -> list[StandingOffer]:
        """What nodes sell that were heard of since a time."""
        names = sorted(await self._store.do("SMEMBERS", keys.SELLING))
        found = await self._store.hashes([keys.node(name) for name in names])
        return [
            _offer(NodeId(name), fields)
            for name, fields in zip(names, found, strict=True)
            if "offer" in fields and float(fields.get("last_seen", 0)) >= since
        ]

    async def is_own(self, node: NodeId) -> bool:
        """Whether a node is the farm's own."""
        return bool(await self._store.do("HGET", keys.node(node), "own") == "1")

    async def order(self, job: JobId, node: NodeId) -> Agreement | None:
        """The agreement that a node's work for a job is done under now, or None."""
        agreement = await self._store.do("HGET", keys.order(job, node), "agreement")
        return None if agreement is None else await self.agreement(agreement)

    async def agreement(self, agreement: str) -> Agreement | None:
        """An agreement, replaced or not, or None."""
        fields = await self._store.hash(keys.agreement(agreement))
        if not fields:
            return None
        room = await self._store.hash(keys.order(fields["job"], fields["node"]))
        return _agreement(agreement, fields, room)

    async def orders(self, job: JobId) -> list[Agreement]:
        """All agreements of a job."""
        names = sorted(await self._store.do("SMEMBERS", keys.job_orders(job)))
        found = [await self.agreement(name) for name in names]
        return [one for one in found if one is not None]

    async def promise(self, job: JobId, node: NodeId, promise: Promise, units_cap: int) -> None:
        """Promise a node something for a job, and let it do so much work for it. The same promise as the
        last is not told again.
        """
        told = (promise.agreement, units_cap, _part(promise, BASE), _part(promise, NEWS))
        await self._store.call(calls.Promise(job, node, *told))

    async def promises(self, node: NodeId, after: str = BEGINNING) -> Promises:
        """What a node was promised since `after`, some at a time."""
        found = await self._store.follow(keys.promises(node), after, 0.0, PROMISES_AT_ONCE)
        names = sorted({fields["agreement"] for _, fields in found})
        known = dict(
            zip(names, await self._store.hashes([keys.agreement(name) for name in names]), strict=True)
        )
        told = tuple(
            _promise(fields["agreement"], known[fields["agreement"]], fields["news"]) for _, fields in found
        )
        return Promises(told, found[-1][0] if found else after)

    async def put_release(self, job: JobId, release: Signed[Release]) -> None:
        """Keep what an operator signed at the end of its agreement."""
        await self._store.keep(
            "HSET", keys.job_releases(job), release.message.agreement, encode(release).decode()
        )
        await self._ring(job)

    async def releases(self, job: JobId) -> dict[str, Signed[Release]]:
        """A job's releases by agreement."""
        found = await self._store.hash(keys.job_releases(job))
        return {name: decode(text, Signed[Release]) for name, text in found.items()}

    async def _ring(self, job: str = "") -> None:
        await self._store.keep("XADD", keys.MONEY_CHANGED, "MAXLEN", "~", 1000, "*", "job", job)


def _entries(lines: list[str]) -> list[dict[str, Any]]:
    return [_plain(line) for line in lines]


def _plain(line: str) -> dict[str, Any]:
    return decoder(dict[str, Any]).decode(line)


def _paid_job(job: JobId, fields: Mapping[str, str], excluded: frozenset[NodeId]) -> PaidJob:
    return PaidJob(
        job=job,
        owner=OwnerId(fields["owner"]),
        state=state_of(fields),
        payment=decode(fields["payment"], Payment),
        terms=decode(fields["terms"], Signed[Terms]),
        funded=fields["funded"] == "1",
        settled=fields.get("settled") == "1",
        held=fields.get("held", ""),
        units=int(fields["units"]),
        units_left=int(fields["units_left"]),
        largest_units=int(fields["largest_units"]),
        audit_ppm=int(fields["audit_ppm"]),
        frames=int(fields["frames_total"]),
        tiles=int(fields["tiles"]),
        tasks=int(fields["total"]),
        device_class=DeviceClass(fields["device_class"]) if fields.get("device_class") else None,
        created=float(fields["created"]),
        excluded=excluded,
    )


def _offer(node: NodeId, fields: Mapping[str, str]) -> StandingOffer:
    return StandingOffer(
        node,
        OwnerId(fields["owner"]),
        fields.get("own") == "1",
        fields["seller"],
        decode(fields["offer"], Signed[Offer]),
        fields["offer_digest"],
        DeviceClass(fields.get("device_class", "")),
        float(fields.get("last_seen", 0)),
    )


def _part(promise: Promise, names: Sequence[str]) -> bytes:
    return encode({name: getattr(promise, name) for name in names})


def _promise(agreement: str, fields: Mapping[str, str], news: str) -> Promise:
    known = {"job": fields["job"], "agreement": agreement}
    return convert(known | _plain(fields["base"]) | _plain(news), Promise)


def _agreement(name: str, fields: Mapping[str, str], room: Mapping[str, str]) -> Agreement:
    promise = _promise(name, fields, fields["news"])
    if room.get("agreement") != name:
        return Agreement(NodeId(fields["node"]), promise)
    return Agreement(NodeId(fields["node"]), promise, True, int(room["units_cap"]), int(room["units_used"]))

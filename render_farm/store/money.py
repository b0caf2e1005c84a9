# SPDX-License-Identifier: GPL-3.0-or-later
"""Paid jobs as the scripts keep them: offers, orders, promises, and what their books are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frame_splitter.errors import NotFound
from frame_splitter.fields import decode, decoder, encode
from frame_splitter.ids import DeviceClass, JobId, NodeId, OwnerId
from frame_splitter.records import JobState
from payments.promises import (
    Credit,
    Promise,
    Promises,
    SignedOffer,
    SignedOrder,
    SignedRaise,
    SignedRelease,
    SignedTerms,
    SignedVoucher,
)
from payments.statements import JobMoney, Payment, Statement
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
    terms: SignedTerms
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
    offer: SignedOffer
    digest: str
    device_class: DeviceClass
    last_seen: float


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An agreement of a job with a node, with the newest promise made for it (its `credits` are those that
    came last). `current`: the node's work is done under it, `units_used` of `units_cap` so far.
    """

    agreement: str
    job: JobId
    node: NodeId
    promise: Promise
    current: bool
    units_cap: int
    units_used: int


@dataclass(frozen=True, slots=True)
class _Base:
    """What of a promise never changes."""

    terms: SignedTerms
    offer: SignedOffer
    order: SignedOrder


@dataclass(frozen=True, slots=True)
class _News:
    """What of a promise changes."""

    cap_raise: SignedRaise | None
    voucher: SignedVoucher | None
    credits: tuple[Credit, ...]
    ended: bool


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

    async def terms(self, job: JobId) -> SignedTerms | None:
        """A paid job's terms, or None."""
        found = await self._store.do("HGET", keys.job(job), "terms")
        return None if found is None else decode(found, SignedTerms)

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

    async def renew(self, who: str, seconds: float) -> bool:
        """The same, for who holds it already."""
        return await self.hold_lock(who, seconds)

    async def let_go(self, who: str) -> None:
        """Give the lock up."""
        await self._store.call(HoldLock(who, 0))

    # --- offers and orders ----------------------------------------------------------------------

    async def put_offer(self, node: NodeId, offer: SignedOffer, digest: str, seller: str) -> None:
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

    async def order(self, job: JobId, node: NodeId) -> StoredOrder | None:
        """The agreement that a node's work for a job is done under now, or None."""
        agreement = await self._store.do("HGET", keys.order(job, node), "agreement")
        return None if agreement is None else await self.agreement(agreement)

    async def agreement(self, agreement: str) -> StoredOrder | None:
        """An agreement, replaced or not, or None."""
        fields = await self._store.hash(keys.agreement(agreement))
        if not fields:
            return None
        room = await self._store.hash(keys.order(fields["job"], fields["node"]))
        return _order(agreement, fields, room)

    async def orders(self, job: JobId) -> list[StoredOrder]:
        """All agreements of a job."""
        names = sorted(await self._store.do("SMEMBERS", keys.job_orders(job)))
        found = [await self.agreement(name) for name in names]
        return [one for one in found if one is not None]

    async def promise(self, job: JobId, node: NodeId, promise: Promise, units_cap: int) -> None:
        """Promise a node something for a job, and let it do so much work for it. The same promise as the
        last is not told again.
        """
        base = _Base(promise.terms, promise.offer, promise.order)
        news = _News(promise.cap_raise, promise.voucher, promise.credits, promise.ended)
        told = (promise.agreement, units_cap, encode(base), encode(news))
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

    async def put_release(self, job: JobId, release: SignedRelease) -> None:
        """Keep what an operator signed at the end of its agreement."""
        await self._store.keep(
            "HSET", keys.job_releases(job), release.message.agreement, encode(release).decode()
        )
        await self._ring(job)

    async def releases(self, job: JobId) -> dict[str, SignedRelease]:
        """A job's releases by agreement."""
        found = await self._store.hash(keys.job_releases(job))
        return {name: decode(text, SignedRelease) for name, text in found.items()}

    async def _ring(self, job: str = "") -> None:
        await self._store.keep("XADD", keys.MONEY_CHANGED, "MAXLEN", "~", 1000, "*", "job", job)


def _entries(lines: list[str]) -> list[dict[str, Any]]:
    return [decoder(dict[str, Any]).decode(line) for line in lines]


def _paid_job(job: JobId, fields: Mapping[str, str], excluded: frozenset[NodeId]) -> PaidJob:
    return PaidJob(
        job=job,
        owner=OwnerId(fields["owner"]),
        state=state_of(fields),
        payment=decode(fields["payment"], Payment),
        terms=decode(fields["terms"], SignedTerms),
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
        decode(fields["offer"], SignedOffer),
        fields["offer_digest"],
        DeviceClass(fields.get("device_class", "")),
        float(fields.get("last_seen", 0)),
    )


def _promise(agreement: str, fields: Mapping[str, str], news: str) -> Promise:
    base, said = decode(fields["base"], _Base), decode(news, _News)
    return Promise(
        JobId(fields["job"]),
        agreement,
        base.terms,
        base.offer,
        base.order,
        said.cap_raise,
        said.voucher,
        said.credits,
        said.ended,
    )


def _order(agreement: str, fields: Mapping[str, str], room: Mapping[str, str]) -> StoredOrder:
    current = room.get("agreement") == agreement
    return StoredOrder(
        agreement,
        JobId(fields["job"]),
        NodeId(fields["node"]),
        _promise(agreement, fields, fields["news"]),
        current,
        int(room["units_cap"]) if current else 0,
        int(room["units_used"]) if current else 0,
    )

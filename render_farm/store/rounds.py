# SPDX-License-Identifier: GPL-3.0-or-later
"""Beacon rounds, what waits for them, and the farm's log as a Merkle tree."""

from collections.abc import Iterable
from dataclasses import dataclass

from farm_protocol.errors import NotFound
from farm_protocol.fields import decode, encode
from farm_protocol.ids import TaskId
from render_farm.store import keys
from render_farm.store.calls import CloseRound, PublishHead, RecordRound
from render_farm.store.connection import Connection
from render_farm.store.new_jobs import batched
from verification.audit.records import LogConsistency, LogProof, Round, SignedHead
from verification.protocol import log, merkle
from verification.protocol.log import Place

LEAVES_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Closed:
    """The log as it was closed for a round: `size` leaves. `outcome` is closed, again (somebody did it
    before) or early (a lower round comes first).
    """

    outcome: str
    size: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """A round's value as it was fixed. `outcome` is recorded, again (somebody did it before) or early (the
    log is not closed for it, or a lower one comes first).
    """

    outcome: str
    value: str
    beacon_signature: str


class Rounds:
    """The store's rounds and log."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def first(self) -> int | None:
        """The lowest round that something waits for."""
        found = await self._store.do("ZRANGE", keys.ROUNDS, 0, 0)
        return int(found[0]) if found else None

    async def first_open(self) -> int | None:
        """The lowest round that something waits for and the log is not closed for."""
        after = f"({await self.last_closed()}"
        found = await self._store.do("ZRANGEBYSCORE", keys.ROUNDS, after, "+inf", "LIMIT", 0, 1)
        return int(found[0]) if found else None

    async def last_closed(self) -> int:
        """The last round that the log was closed for; 0 where there was none."""
        return int(await self._store.do("GET", keys.CLOSED) or 0)

    async def close(self, number: int, late: bool) -> Closed:
        """Close the log for a round; `late` says that its value may be known already."""
        found = await self._store.call(CloseRound(number, late))
        return Closed(found[0], int(found[1]))

    async def was_late(self, number: int) -> bool:
        """Whether the log was closed for a round only when its value may have been known."""
        return bool(await self._store.do("HGET", keys.round_of(number), "late") == "1")

    async def publish_head(self, head: SignedHead) -> None:
        """Keep a signed head and tell it to the jobs it is about. Repeating it is harmless."""
        await self._store.call(PublishHead(head.round, head))

    async def head(self, number: int | None = None) -> SignedHead | None:
        """The head of a round that the log is closed for, or the newest; None where there is none."""
        newest = ("GET", keys.LOG_HEAD)
        found = await self._store.do(*(newest if number is None else ("HGET", keys.round_of(number), "head")))
        return None if found is None else decode(found, SignedHead)

    async def record(self, number: int, value: str, beacon_signature: str) -> Recorded:
        """Fix the value of a round that the log is closed for."""
        return Recorded(*await self._store.call(RecordRound(number, value, beacon_signature)))

    async def publish(self, record: Round) -> None:
        """Keep a round that is out."""
        await self._store.keep("HSET", keys.round_of(record.round), "record", encode(record))

    async def waiting(self, number: int) -> list[tuple[TaskId, int]]:
        """The submissions that a round decides about: their tasks and tokens."""
        entries = await self._store.do("LRANGE", keys.waiting(number), 0, -1)
        return [(TaskId(task), int(token)) for task, token in map(str.split, entries)]

    async def finish(self, number: int) -> None:
        """Everything was decided that waited for a round. Repeating it is harmless."""
        await self._store.do("DEL", keys.waiting(number))
        await self._store.do("ZREM", keys.ROUNDS, number)

    async def get(self, number: int) -> Round | None:
        """A round that is out and was named by a receipt, or None."""
        found = await self._store.do("HGET", keys.round_of(number), "record")
        return None if found is None else decode(found, Round)

    async def some(self, numbers: Iterable[int]) -> tuple[Round, ...]:
        """Those of several rounds that are out, in order."""
        reads = [("HGET", keys.round_of(number), "record") for number in sorted(numbers)]
        found = [one for some in batched(reads) for one in await self._store.read(some)]
        return tuple(decode(one, Round) for one in found if one is not None)

    # --- the log --------------------------------------------------------------------------------

    async def root(self, size: int) -> bytes:
        """The root over the log's first `size` leaves, which are there."""
        await self._complete(size)
        return log.root(size, await self._nodes(log.root_needs(size)))

    async def proof(self, leaf: int, size: int) -> LogProof:
        """That a leaf is among the first `size`. Raises NotFound where the log is not as long."""
        known = await self._integrated()
        if not 0 <= leaf < size <= known:
            raise NotFound(f"The log has {known} leaves so far: there is no proof of leaf {leaf} in {size}.")
        needs = {*log.proof_needs(leaf, size), *log.root_needs(size)}
        nodes = await self._nodes(sorted(needs))
        path = tuple(one.hex() for one in log.proof(leaf, size, nodes))
        return LogProof(leaf, size, path, log.root(size, nodes).hex())

    async def consistency(self, first: int, second: int) -> LogConsistency:
        """That the log of `second` leaves begins with that of `first`. Raises NotFound without such two."""
        known = await self._integrated()
        if not 0 <= first <= second <= known:
            raise NotFound(
                f"The log has {known} leaves so far: {first} and {second} are not two of its sizes."
            )
        nodes = await self._nodes(log.consistency_needs(first, second))
        path = tuple(one.hex() for one in log.consistency(first, second, nodes))
        return LogConsistency(first, second, path)

    async def _integrated(self) -> int:
        return int(await self._store.do("GET", keys.LOG_SIZE) or 0)

    async def _complete(self, size: int) -> None:
        """Store the inner nodes of what came to the log. Two who do it at once store the same."""
        known = await self._integrated()
        while known < size:
            end = min(size, known + LEAVES_AT_ONCE)
            leaves = await self._store.do("LRANGE", keys.LOG, known, end - 1)
            nodes = await self._nodes(log.root_needs(known))
            new: dict[Place, bytes] = {}
            for number, leaf in enumerate(leaves, known):
                added = log.append(number, merkle.leaf_hash(bytes.fromhex(leaf)), nodes)
                new |= added
                nodes |= added
            await self._store.keep(
                "HSET", keys.LOG_NODES, *(word for node in new.items() for word in _pair(*node))
            )
            await self._store.keep("SET", keys.LOG_SIZE, end)
            known = end

    async def _nodes(self, places: Iterable[Place]) -> dict[Place, bytes]:
        wanted = list(places)
        if not wanted:
            return {}
        found = await self._store.do("HMGET", keys.LOG_NODES, *map(_field, wanted))
        return {place: bytes.fromhex(node) for place, node in zip(wanted, found, strict=True)}


def _field(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def _pair(place: Place, node: bytes) -> tuple[str, str]:
    return _field(place), node.hex()

# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of one kind of work goes on at a time, for one caller and for all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from farm_protocol.errors import FarmError, Unavailable
from render_farm.store.identities import Caller, Role

T = TypeVar("T")
Item = TypeVar("Item")

PIECE = 500
"""Items of one caller that are worked on before it is others' turn."""

ADMINS_SHARE = 10
"""The operator may have so many times as much at a time as an owner."""

OWNERS_PART = 4
"""One part in so many of all places is the most that an owner and its nodes have together."""

FARMS_PART = 8
"""One part in so many of all places is kept for the operator and the farm's own nodes."""

QUEUES = 8
"""So many callers' queues fit in, however few of them are worked on at a time."""


class Busy(FarmError):
    """The caller has as much of this going on as it may have; less of it at a time works."""

    code = "quota"
    status = 429


class Gate:
    """Lets `each` at a time through for one caller, and `most` in all: more is refused, not queued. However
    many nodes an owner has, they have a quarter of all places at most. `what` names it to people.
    """

    def __init__(self, what: str, each: int, most: int) -> None:
        self.what, self.each, self.most = what, each, most
        self._of: Counter[str] = Counter()
        self._of_owner: Counter[str] = Counter()
        self._all = self._strangers = 0

    def used(self, caller: Caller) -> int:
        """How much of it a caller has going on."""
        return self._of[_name(caller)]

    def allowed(self, caller: Caller) -> int:
        """How much of it a caller may have going on."""
        return min(self.most, self.each * ADMINS_SHARE) if caller.role is Role.ADMIN else self.each

    def enter(self, caller: Caller) -> None:
        """One more. Raises Busy where it is the caller's doing, Unavailable where it is everybody's."""
        name, allowed = _name(caller), self.allowed(caller)
        if self._of[name] >= allowed:
            raise Busy(f"You have {allowed} {self.what} going on, which is the most: wait for one to end.")
        self._require_share(caller)
        if self._all >= self.most:
            raise Unavailable(f"The farm has {self.most} {self.what} going on, which is the most: try later.")
        self._count(caller, 1)

    def _require_share(self, caller: Caller) -> None:
        if _is_farms(caller):
            return
        share, others = max(self.each, self.most // OWNERS_PART), self.most - self.most // FARMS_PART
        if self._of_owner[caller.owner] >= share:
            raise Busy(
                f"Your nodes and you have {share} {self.what} going on, which is the most: "
                "wait for one to end."
            )
        if self._strangers >= others:
            raise Unavailable(f"The farm has {others} {self.what} going on, which is the most: try later.")

    def _count(self, caller: Caller, by: int) -> None:
        counters = [(self._of, _name(caller))]
        if not _is_farms(caller):
            counters.append((self._of_owner, caller.owner))
            self._strangers += by
        self._all += by
        for counter, name in counters:
            counter[name] += by
            if not counter[name]:
                del counter[name]

    def leave(self, caller: Caller) -> None:
        """One less."""
        self._count(caller, -1)

    @contextmanager
    def inside(self, caller: Caller) -> Iterator[None]:
        """One more until the block ends. Raises as `enter`."""
        self.enter(caller)
        try:
            yield
        finally:
            self.leave(caller)


@dataclass(slots=True)
class _Line:
    """Those of one owner who wait or have their turn."""

    turn: asyncio.Semaphore
    length: int = 0


class Turns:
    """Lets `each` at a time through for one owner with its nodes (for each of the farm's own nodes), and
    `most` in all. Others wait for their turn, so many of a caller and of an owner that more are refused.
    """

    def __init__(self, what: str, each: int, most: int, waiting: int = 32) -> None:
        self._gate = Gate(what, waiting, max(most, QUEUES) * waiting)
        self._each, self._room = each, asyncio.Semaphore(most)
        self._of: dict[str, _Line] = {}

    @asynccontextmanager
    async def taken(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for the turn, and have it until the block ends. Raises as `Gate.enter`."""
        with self._gate.inside(caller):
            name = _name(caller) if _is_farms(caller) else f"owner {caller.owner}"
            line = self._of.setdefault(name, _Line(asyncio.Semaphore(self._each)))
            line.length += 1
            try:
                async with line.turn, self._room:
                    yield
            finally:
                line.length -= 1
                if not line.length:
                    del self._of[name]


class Workshop:
    """Work too long for the event loop, in a few threads: one piece of an owner's at a time."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="workshop")
        self._turns = Turns("long requests", 1, threads)

    async def do(self, caller: Caller, work: Callable[[], T]) -> T:
        """The work's outcome. Raises as `Gate.enter` where too much waits already."""
        async with self._turns.taken(caller):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def each(self, caller: Caller, items: Sequence[Item], work: Callable[[Item], T]) -> list[T]:
        """The outcome for each item, in order; after every few hundred it is others' turn. Raises as `do`."""
        found: list[T] = []
        for first in range(0, len(items), PIECE):
            some = items[first : first + PIECE]
            found += await self.do(caller, partial(list, map(work, some)))
        return found

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_farms(caller: Caller) -> bool:
    """Whether it is the operator, or one of the farm's own nodes."""
    return caller.own or caller.role is Role.ADMIN


def _name(caller: Caller) -> str:
    return caller.node or caller.owner

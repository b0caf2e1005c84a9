# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of one kind of work goes on at a time, for one caller and for all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

from frame_splitter.errors import FarmError, Unavailable
from render_farm.store.identities import Caller, Role

T = TypeVar("T")
Item = TypeVar("Item")

PIECE = 500
"""Items of one caller that are worked on before it is others' turn."""

ADMINS_SHARE = 10
"""The operator may have so many times as much at a time as an owner."""


class Busy(FarmError):
    """The caller has as much of this going on as it may have; less of it at a time works."""

    code = "quota"
    status = 429


class Gate:
    """Lets `each` at a time through for one caller, and `most` in all: more is refused, not queued. `what`
    names it to people.
    """

    def __init__(self, what: str, each: int, most: int) -> None:
        self.what, self.each, self.most = what, each, most
        self._of: Counter[str] = Counter()
        self._all = 0

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
        if self._all >= self.most:
            raise Unavailable(f"The farm has {self.most} {self.what} going on, which is the most: try later.")
        self._of[name] += 1
        self._all += 1

    def leave(self, caller: Caller) -> None:
        """One less."""
        name = _name(caller)
        self._all -= 1
        self._of[name] -= 1
        if not self._of[name]:
            del self._of[name]

    @contextmanager
    def inside(self, caller: Caller) -> Iterator[None]:
        """One more until the block ends. Raises as `enter`."""
        self.enter(caller)
        try:
            yield
        finally:
            self.leave(caller)


class Turns:
    """Lets `each` at a time through for one caller, and `most` in all. Others wait for their turn, so many of
    a caller that more are refused.
    """

    def __init__(self, what: str, each: int, most: int, waiting: int = 32) -> None:
        self._gate = Gate(what, waiting, most * waiting)
        self._each, self._room = each, asyncio.Semaphore(most)
        self._of: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def taken(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for the turn, and have it until the block ends. Raises as `Gate.enter`."""
        with self._gate.inside(caller):
            mine = self._of.setdefault(_name(caller), asyncio.Semaphore(self._each))
            try:
                async with mine, self._room:
                    yield
            finally:
                if self._gate.used(caller) == 1:
                    self._of.pop(_name(caller), None)


class Workshop:
    """Work too long for the event loop, in a few threads: one piece of a caller's at a time."""

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


def _name(caller: Caller) -> str:
    return caller.node or caller.owner

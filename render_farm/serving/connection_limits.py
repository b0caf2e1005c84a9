# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is connected, and for how long somebody who sends or reads nothing may stay.

A connection costs its holder nothing, so none is kept on its word: headers come within a deadline and have
a size, an answer is read at some rate, and where there are too many the ones that have waited longest for
their next request make room.
"""

import asyncio
import contextlib
import ipaddress
import resource
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

KEPT_FOR_OTHERS = 768
"""Open files that are left for the store's connections, the object store's, and the process itself."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of connections. Times in seconds. `per_address` holds for all but `trusted` addresses: proxies,
    which say for whom they ask.
    """

    most: int = 4096
    per_address: int = 512
    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    stalled_seconds: float = 30.0
    linger_seconds: float = 5.0
    trusted: frozenset[str] = frozenset()

    def fitting(self, files: int = 1) -> "Limits":
        """The same, with no more connections than this process may have files open, so many for each."""
        room = max(16, (raise_open_files() - KEPT_FOR_OTHERS) // files)
        return replace(self, most=min(self.most, room), per_address=min(self.per_address, room))


class Guest(Protocol):
    """A connection, as whoever keeps the doors sees it."""

    address: str

    def leave(self) -> None:
        """End at once."""

    def look(self, now: float) -> None:
        """End if it has taken too long over something; `now` by the loop's clock."""


@lru_cache(1 << 14)
def household(address: str) -> str:
    """Who an address counts as: of IPv6 everybody has 2^64 of them, so the network they lie in."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


class _Waiting:
    """Connections that wait, new ones apart, each kind in order."""

    def __init__(self) -> None:
        self._new: dict[Guest, None] = {}
        self._known: dict[Guest, None] = {}

    def __bool__(self) -> bool:
        return bool(self._new or self._known)

    def __contains__(self, guest: object) -> bool:
        return guest in self._new or guest in self._known

    def add(self, guest: Guest, new: bool) -> None:
        (self._new if new else self._known)[guest] = None

    def discard(self, guest: Guest) -> None:
        self._new.pop(guest, None)
        self._known.pop(guest, None)

    def first(self) -> Guest | None:
        return next(iter(self._new or self._known), None)


class Doors:
    """All connections of a server. Those that wait for a request are kept in the order they began to: those
    that never asked anything make room before those that did.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._guests: set[Guest] = set()
        self._of_address: Counter[str] = Counter()
        self._waiting = _Waiting()
        self._waiting_of: dict[str, _Waiting] = {}
        self.turned_away = 0

    @property
    def open(self) -> int:
        """How many are connected."""
        return len(self._guests)

    def enter(self, guest: Guest) -> bool:
        """Let one in, and have one that waits make room if need be; False: there is none."""
        limits, address = self.limits, household(guest.address)
        crowded = guest.address not in limits.trusted and self._of_address[address] >= limits.per_address
        if crowded and not self._make_room(self._waiting_of.get(address, _Waiting())):
            self.turned_away += 1
            return False
        if len(self._guests) >= limits.most and not self._make_room(self._waiting):
            self.turned_away += 1
            return False
        self._guests.add(guest)
        self._of_address[address] += 1
        self.waits(guest, new=True)
        return True

    def _make_room(self, waiting: "_Waiting") -> bool:
        first = waiting.first()
        if first is None:
            return False
        self.gone(first)
        first.leave()
        return True

    def waits(self, guest: Guest, new: bool = False) -> None:
        """It has no request that is being answered. `new`: it never had one."""
        self.works(guest)
        if guest in self._guests:
            self._waiting.add(guest, new)
            self._waiting_of.setdefault(household(guest.address), _Waiting()).add(guest, new)

    def is_waiting(self, guest: Guest) -> bool:
        """Whether it would make room for another."""
        return guest in self._waiting

    def works(self, guest: Guest) -> None:
        """A request of its is being answered."""
        self._waiting.discard(guest)
        of_address = self._waiting_of.get(household(guest.address))
        if of_address is not None:
            of_address.discard(guest)
            if not of_address:
                del self._waiting_of[household(guest.address)]

    def gone(self, guest: Guest) -> None:
        """It has ended."""
        if guest not in self._guests:
            return
        self.works(guest)
        self._guests.discard(guest)
        address = household(guest.address)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    async def watch(self, every: float = 1.0) -> None:
        """Look at everybody again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every)
            now = loop.time()
            for guest in list(self._guests):
                guest.look(now)


class Counted:
    """A transport that knows how many bytes it was given; all else is the transport's own."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.written = 0

    def write(self, data: bytes) -> None:
        """Send, sooner or later."""
        self.written += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Unsent:
    """Tells a peer that reads too slowly: at least so many bytes go out within a time, or all there are."""

    LEAST = 64 << 10

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._mark, self._since = -1, 0.0

    def is_stuck(self, written: int, left: int, now: float) -> bool:
        """Whether too little was read for too long: of `written` bytes `left` have not gone out by `now`."""
        sent = written - left
        if left == 0 or self._mark < 0 or sent >= self._mark + self.LEAST:
            self._mark, self._since = (sent if left else -1), now
            return False
        return now - self._since > self._seconds


def raise_open_files() -> int:
    """Let this process have as many files open as it may ask for; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, resource.getrlimit(resource.RLIMIT_NOFILE)[0])

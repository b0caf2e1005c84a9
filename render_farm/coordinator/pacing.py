# SPDX-License-Identifier: GPL-3.0-or-later
"""How often one node may do a thing."""

import time
from collections.abc import Callable

from render_farm.coordinator.gates import Busy
from render_farm.store.identities import Caller

MOST_KEPT = 10_000


class Pace:
    """Lets a caller do a thing `burst` times at once, and then once in `seconds` (the generic cell rate
    algorithm, ITU-T I.371). `what` names it to people. `who` names those who share it.
    """

    def __init__(
        self,
        what: str,
        seconds: float,
        burst: int,
        who: Callable[[Caller], str] = lambda caller: caller.node,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._seconds, self._clock, self._who = what, seconds, clock, who
        self._ahead = seconds * (burst - 1)
        self._used: dict[str, float] = {}

    def pause(self, caller: Caller) -> float:
        """Seconds until the caller may do it again; 0 where it may now."""
        return max(0.0, self._used.get(self._who(caller), 0.0) - self._clock() - self._ahead)

    def count(self, caller: Caller) -> None:
        """It was done once more."""
        now = self._clock()
        if len(self._used) >= MOST_KEPT:
            self._used = {name: until for name, until in self._used.items() if until > now}
        self._used[self._who(caller)] = max(now, self._used.get(self._who(caller), 0.0)) + self._seconds

    def forgive(self, caller: Caller) -> None:
        """The last time does not count."""
        self._used[self._who(caller)] = self._used.get(self._who(caller), 0.0) - self._seconds

    def enter(self, caller: Caller) -> None:
        """Do it once more. Raises Busy where that is too often."""
        if self.pause(caller) > 0:
            raise Busy(f"A node sends {self._what} at most every {self._seconds:g} s: wait a moment.")
        self.count(caller)

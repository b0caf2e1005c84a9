# SPDX-License-Identifier: GPL-3.0-or-later
"""The farm's own time: seconds since the epoch that never jump, whatever the machine's clock does.

Leases, rounds and standing offers are kept by time in a store that several coordinators share and that
outlives them, so a monotonic clock alone will not do. The farm's clock runs by the monotonic one. Where the
machine's clock goes forward, it follows at once, and all leases begin again; where that goes back, it goes
on, and runs a tenth slower until the two meet. What was reached is kept in the store: restarts go on from
there.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from farm_protocol.errors import Unavailable
from render_farm.store.clocks import Clocks
from render_farm.store.leases import Leases

log = structlog.get_logger()

STEP_SECONDS = 1.0
"""Differences from which on a clock was set, and did not only run a little fast or slow."""

SLEW = 0.1
"""By how much of the time that passed the farm's clock nears the machine's."""

TICK_SECONDS = 1.0
TOLD_SECONDS = 600.0
"""How long it is told that the clock went forward: nothing lasts of that."""


class FarmClock:
    """Seconds since the epoch, as a callable. `wall` is the machine's clock, `steady` one without a date that
    never jumps.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self.wall = wall
        self._steady = steady
        self._seen = wall(), steady()
        self._base = self._seen[0] - self._seen[1]

    def __call__(self) -> float:
        """The farm's time now; never less than before."""
        return self._steady() + self._base

    @property
    def ahead(self) -> float:
        """How far the farm's time is ahead of the machine's."""
        return self() - self.wall()

    def look(self) -> float:
        """By how much the machine's clock was set since the last look; nears it by the time that passed."""
        wall, steady = self.wall(), self._steady()
        passed = steady - self._seen[1]
        step = wall - self._seen[0] - passed
        self._seen = wall, steady
        self._base += max(-SLEW * passed, min(SLEW * passed, -self.ahead))
        return step

    def forward(self, seconds: float) -> None:
        """Skip some time; never back."""
        self._base += max(0.0, seconds)


class Timekeeper:
    """Keeps a coordinator's clock with the machine's, the other coordinators' and its own of before."""

    def __init__(self, clock: FarmClock, clocks: Clocks, leases: Leases, lease_seconds: float) -> None:
        self._clock = clock
        self._clocks = clocks
        self._leases = leases
        self._lease_seconds = lease_seconds
        self._told = "", 0.0

    def notices(self) -> tuple[str, ...]:
        """What is odd about the machine's clock now, as sentences."""
        ahead = self._clock.ahead
        if ahead >= STEP_SECONDS:
            return (
                f"The clock of the coordinator's machine is {ahead:.0f} s behind the farm's time: it was set "
                "back, or was wrong before. The farm goes on by its own time until the two meet.",
            )
        sentence, until = self._told
        return (sentence,) if self._clock() < until else ()

    async def run(self) -> None:
        """Look at the clocks, until cancelled."""
        while True:
            with contextlib.suppress(Unavailable):  # without the store nothing can be leased either
                await self.tick()
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        """Look at the clocks once."""
        step = self._clock.look()
        shared = await self._clocks.reached()
        skipped = max(self._clock.wall(), shared) - self._clock()
        if skipped >= STEP_SECONDS:
            await self._skip(skipped)
        await self._clocks.keep(self._clock())
        if abs(step) >= STEP_SECONDS:
            await self._tell(step)

    async def _skip(self, seconds: float) -> None:
        """Go forward, after every lease was given its time: nobody was late."""
        now = self._clock() + seconds
        await self._leases.grace(now, now + self._lease_seconds)
        self._clock.forward(seconds)
        log.warning("farm_clock_forward", seconds=round(seconds, 3))

    async def _tell(self, step: float) -> None:
        if step > 0:
            sentence = (
                f"The clock of the coordinator's machine went forward by {step:.0f} s: all leases begin anew."
            )
            self._told = sentence, self._clock() + TOLD_SECONDS
        notices = self.notices()
        log.warning("machine_clock_set", seconds=round(step, 3), ahead=round(self._clock.ahead, 3))
        if notices:
            await self._clocks.tell(notices[0])


async def follow(clock: FarmClock, clocks: Clocks) -> None:
    """Keep another process's clock with the coordinators', until cancelled: it reads what they wrote."""
    while True:
        clock.look()
        with contextlib.suppress(Unavailable):  # what needs the store waits for it, too
            clock.forward(await clocks.reached() - clock())
        await asyncio.sleep(TICK_SECONDS)

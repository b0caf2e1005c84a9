# SPDX-License-Identifier: GPL-3.0-or-later
"""The farm's own time, whatever the machine's clock does."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as some

from render_farm.store.farm_clock import SLEW, FarmClock, Timekeeper

START = 1_900_000_000.0


class Machine:
    """Two clocks, of which one can be set."""

    def __init__(self) -> None:
        self.uptime, self.wrong = 5000.0, 0.0
        self.clock = FarmClock(self.wall, lambda: self.uptime)

    def wall(self) -> float:
        """What a person would call the time."""
        return START + self.uptime + self.wrong

    def run(self, seconds: float) -> None:
        """Time passes, and the clock is looked at each second."""
        for _ in range(int(seconds)):
            self.uptime += 1
            self.clock.look()


class Shelf:
    """What the store would keep."""

    def __init__(self, kept: float = 0.0) -> None:
        self.kept, self.said, self.graces = kept, [], []

    async def reached(self) -> float:
        return self.kept

    async def keep(self, now: float) -> None:
        self.kept = now

    async def tell(self, sentence: str) -> None:
        self.said.append(sentence)

    async def grace(self, now: float, until: float) -> int:
        self.graces.append(until)
        return 0


def keeper(machine: Machine, shelf: Shelf) -> Timekeeper:
    return Timekeeper(machine.clock, shelf, shelf, 30.0)


def test_set_back_it_goes_on_and_meets_the_machines_clock_in_the_end() -> None:
    machine = Machine()
    before = machine.clock()
    machine.wrong -= 600
    assert machine.clock() == before
    assert machine.clock.look() == pytest.approx(-600)
    machine.run(100)
    assert machine.clock() - before == pytest.approx(100 * (1 - SLEW))
    machine.run(6000)
    assert machine.clock.ahead == pytest.approx(0, abs=1e-3)


def test_set_back_it_is_said_to_all_who_wait_and_no_lease_is_touched() -> None:
    machine, shelf = Machine(), Shelf()
    one = keeper(machine, shelf)
    asyncio.run(one.tick())
    assert (shelf.said, one.notices()) == ([], ())
    machine.wrong -= 600
    asyncio.run(one.tick())
    assert shelf.graces == []
    assert "600 s behind" in shelf.said[0]
    assert one.notices() == (shelf.said[0],)


def test_set_forward_every_lease_gets_its_time_before_the_clock_follows() -> None:
    machine, shelf = Machine(), Shelf()
    one = keeper(machine, shelf)
    asyncio.run(one.tick())
    machine.wrong += 600
    asyncio.run(one.tick())
    assert machine.clock() == pytest.approx(machine.wall())
    assert shelf.graces == [pytest.approx(machine.wall() + 30)]
    assert "forward by 600 s" in shelf.said[0]


def test_a_restart_after_the_clock_was_set_back_goes_on_from_where_the_farm_was() -> None:
    machine, shelf = Machine(), Shelf()
    asyncio.run(keeper(machine, shelf).tick())
    reached = shelf.kept
    machine.wrong -= 600
    machine.uptime += 3
    machine.clock = FarmClock(machine.wall, lambda: machine.uptime)
    again = keeper(machine, shelf)
    asyncio.run(again.tick())
    assert machine.clock() == pytest.approx(reached, abs=0.1)
    assert "behind" in again.notices()[0]


def test_two_coordinators_share_the_time_of_the_one_ahead() -> None:
    one, other, shelf = Machine(), Machine(), Shelf()
    other.wrong -= 90
    other.clock = FarmClock(other.wall, lambda: other.uptime)
    asyncio.run(keeper(one, shelf).tick())
    asyncio.run(keeper(other, shelf).tick())
    assert other.clock() == pytest.approx(one.clock(), abs=0.1)


@given(some.lists(some.tuples(some.floats(0, 100), some.floats(-1e6, 1e6)), max_size=20))
def test_it_never_goes_back(moves) -> None:
    machine, last = Machine(), 0.0
    for passed, step in moves:
        machine.uptime += passed
        machine.wrong += step
        machine.clock.look()
        machine.clock.forward(max(0.0, -machine.clock.ahead))
        assert machine.clock() >= last
        last = machine.clock()

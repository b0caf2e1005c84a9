# SPDX-License-Identifier: GPL-3.0-or-later
import threading
from typing import Any

import pytest

from gpu_worker.slot.standby_child import Spare


class FakeStage:
    """A stage that only knows whether it is blank and closed."""

    def __init__(self) -> None:
        self.blank, self.closed = True, False

    def close(self) -> None:
        self.closed = True


class Maker:
    """Makes stages and tells when."""

    def __init__(self) -> None:
        self.made: list[FakeStage] = []
        self.one_more = threading.Event()

    def __call__(self) -> Any:
        self.made.append(FakeStage())
        self.one_more.set()
        return self.made[-1]


@pytest.fixture
def maker() -> Maker:
    return Maker()


def test_an_idle_slot_gets_one_spare(maker: Maker) -> None:
    spare = Spare(maker, idle_seconds=0.01)
    spare.slot_is_idle()
    spare.slot_is_idle()
    assert maker.one_more.wait(10)
    spare.slot_is_idle()
    assert spare.take() is maker.made[0]
    assert len(maker.made) == 1
    assert spare.take() is None
    spare.close()


def test_a_slot_that_gets_work_starts_none(maker: Maker) -> None:
    spare = Spare(maker, idle_seconds=3600)
    spare.slot_is_idle()
    spare.slot_is_busy()
    assert spare.take() is None
    spare.close()
    assert not maker.made


def test_a_spare_that_died_is_not_given(maker: Maker) -> None:
    spare = Spare(maker, idle_seconds=0.01)
    spare.slot_is_idle()
    assert maker.one_more.wait(10)
    maker.made[0].blank = False
    assert spare.take() is None
    assert maker.made[0].closed
    spare.close()


def test_closing_ends_the_spare_and_starts_no_other(maker: Maker) -> None:
    spare = Spare(maker, idle_seconds=0.01)
    spare.slot_is_idle()
    assert maker.one_more.wait(10)
    spare.close()
    assert maker.made[0].closed
    spare.slot_is_idle()
    assert spare.take() is None
    assert len(maker.made) == 1

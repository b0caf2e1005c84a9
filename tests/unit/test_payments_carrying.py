# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for the chain: as long as it goes on, and no longer."""

from dataclasses import replace

import pytest

from farm_protocol.errors import Conflict, Unavailable
from payments.carrying import carried_out, mined
from payments.outbox import Intent, Outcome
from payments.refusals import Refused

HASH = "ab" * 32
WAIT = 0.3


class Buried:
    """A sender whose transaction gets a block deeper at each look, down to `stops`."""

    def __init__(self, stops: int, outcome: Outcome = Outcome.DONE, deep: int = 12, away: int = 0) -> None:
        self.stops, self.outcome, self.deep, self.away = stops, outcome, deep, away
        self.looks = 0
        self.intent = Intent("it", "", "0x", "0", 0, 0)

    def advance(self) -> tuple[Intent, ...]:
        self.looks += 1
        if self.looks <= self.away:
            raise Unavailable("The chain is away.")
        over = min(self.looks, self.stops) > self.deep
        done = replace(self.intent, outcome=self.outcome, transaction=HASH)
        return (done if over else self.intent,)

    def depth(self, key: str) -> int | None:
        if self.looks <= self.away:
            raise Unavailable("The chain is away.")
        return min(self.looks, self.stops) - 1


def test_waiting_goes_on_while_blocks_bury_it() -> None:
    sender = Buried(stops=99)
    assert carried_out(sender, "it", WAIT).transaction == HASH
    assert sender.looks == 13


def test_waiting_ends_when_nothing_happens_any_more() -> None:
    with pytest.raises(Unavailable, match="it: the chain has not carried it out yet"):
        carried_out(Buried(stops=3), "it", WAIT)


def test_a_block_is_enough_for_what_others_follow() -> None:
    sender = Buried(stops=99)
    mined(sender, "it", WAIT)
    assert sender.looks == 1


def test_a_chain_that_is_away_for_a_moment_is_waited_for() -> None:
    assert carried_out(Buried(stops=99, away=2), "it", WAIT).transaction == HASH
    with pytest.raises(Unavailable, match="away"):
        mined(Buried(stops=99, away=99), "it", WAIT)


@pytest.mark.parametrize(
    ("outcome", "error", "sentence"),
    [(Outcome.REVERTED, Refused, "had changed"), (Outcome.DISPLACED, Conflict, "took its place")],
)
def test_what_came_to_nothing_is_said(outcome: Outcome, error: type[Exception], sentence: str) -> None:
    for see in (carried_out, mined):
        with pytest.raises(error, match=sentence):
            see(Buried(stops=99, outcome=outcome, deep=0), "it", WAIT)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until what was submitted is done."""

import time
from dataclasses import dataclass

from farm_protocol.errors import Conflict, Unavailable
from payments.outbox import Outcome
from payments.refusals import Refused
from payments.sending import Sender

FIRST_LOOK, SLOWEST_LOOK = 0.05, 2.0
"""Seconds between two looks at the chain: more and more, because others have it to themselves for minutes."""


@dataclass(frozen=True, slots=True)
class Done:
    """A transaction that was carried out, and is as deep as it was to be: its hash (hexadecimal)."""

    transaction: str


def carried_out(sender: Sender, key: str, wait: float) -> Done:
    """See through what was submitted under `key`. Raises Refused where the contract refused it after all,
    Conflict where another transaction took its place, and Unavailable when nothing came of it for `wait`
    seconds, or the chain was away. A block that buries it deeper is something.
    """
    waiting, deepest = Waiting(wait), -1
    while True:
        done = _looked(sender, key, waiting)
        if done is not None:
            return done
        depth = _depth(sender, key, waiting)
        if depth is not None and depth > deepest:
            waiting, deepest = Waiting(wait), depth
        waiting.pause(key)


def mined(sender: Sender, key: str, wait: float) -> None:
    """See what was submitted under `key` into a block: what comes after it has a later nonce, and so need not
    wait for more. Raises as `carried_out`.
    """
    waiting = Waiting(wait)
    while _looked(sender, key, waiting) is None and _depth(sender, key, waiting) is None:
        waiting.pause(key)


class Waiting:
    """Looks at the chain until `seconds` are over, less and less often."""

    def __init__(self, seconds: float) -> None:
        self._end, self._pause = time.monotonic() + seconds, FIRST_LOOK

    @property
    def over(self) -> bool:
        """Whether this was the last look."""
        return time.monotonic() >= self._end

    def pause(self, key: str) -> None:
        """Until the next look. Raises Unavailable where there is none."""
        if self.over:
            raise Unavailable(
                f"{key}: the chain has not carried it out yet; the same command goes on with it."
            )
        time.sleep(self._pause)
        self._pause = min(self._pause * 1.5, SLOWEST_LOOK)


def _depth(sender: Sender, key: str, waiting: Waiting) -> int | None:
    try:
        return sender.depth(key)
    except Unavailable:
        if waiting.over:
            raise
        return None


def _looked(sender: Sender, key: str, waiting: Waiting) -> Done | None:
    try:
        found = next(one for one in sender.advance() if one.key == key)
    except Unavailable:
        # Nothing is lost by an answer that did not come.
        if waiting.over:
            raise
        return None
    if found.outcome is Outcome.REVERTED:
        raise Refused(key, "", "the chain had changed when it was carried out; look, then try again")
    if found.outcome is Outcome.DISPLACED:
        raise Conflict(f"{key}: another transaction of this wallet took its place; look, then try again.")
    return Done(found.transaction) if found.outcome is Outcome.DONE and found.transaction else None

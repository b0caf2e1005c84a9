# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until what was submitted is done."""

import time
from dataclasses import dataclass

from frame_splitter.errors import Conflict, Unavailable
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
    Conflict where another transaction took its place, and Unavailable when it is not done after `wait`
    seconds, or the chain was away.
    """
    end, pause = time.monotonic() + wait, FIRST_LOOK
    while True:
        done = _looked(sender, key, end)
        if done is not None:
            return done
        if time.monotonic() >= end:
            raise Unavailable(
                f"{key}: the chain has not carried it out yet; the same command goes on with it."
            )
        time.sleep(pause)
        pause = min(pause * 1.5, SLOWEST_LOOK)


def _looked(sender: Sender, key: str, end: float) -> Done | None:
    try:
        found = next(one for one in sender.advance() if one.key == key)
    except Unavailable:
        # Nothing is lost by an answer that did not come.
        if time.monotonic() >= end:
            raise
        return None
    if found.outcome is Outcome.REVERTED:
        raise Refused(key, "", "the chain had changed when it was carried out; look, then try again")
    if found.outcome is Outcome.DISPLACED:
        raise Conflict(f"{key}: another transaction of this wallet took its place; look, then try again.")
    return Done(found.transaction) if found.outcome is Outcome.DONE and found.transaction else None

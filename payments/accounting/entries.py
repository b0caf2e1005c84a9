# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm adds to a job's ledger, beside what the chain tells (`chain_events.py`). Each entry
says the same however often it is said.
"""

from dataclasses import dataclass

from farm_protocol.fields import Digest, FrameNumber
from farm_protocol.ids import LeaseToken, TaskId
from payments.messages.units import Wei


@dataclass(frozen=True, slots=True)
class Promised:
    """Farm: it signed that an agreement may earn up to `cap`. Whoever holds that may bring it to the chain
    at any time, so it takes up the budget as if it were there.
    """

    agreement: Digest
    cap: Wei


@dataclass(frozen=True, slots=True)
class Accepted:
    """Farm: work done under a lease was accepted and earns `amount`. With a frame it is a tile, and counts
    once the frame is settled; without it is an audit, and counts at once.
    """

    task: TaskId
    token: LeaseToken
    agreement: Digest
    amount: Wei
    pixel_root: Digest
    frame: FrameNumber | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """Farm: an accepted tile turned out to be unusable before its frame was settled."""

    task: TaskId
    token: LeaseToken


@dataclass(frozen=True, slots=True)
class Settled:
    """Farm: all tiles of a frame are accepted, or the frame is cancelled: what is accepted of it is owed."""

    frame: FrameNumber


Entry = Promised | Accepted | Returned | Settled

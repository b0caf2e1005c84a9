# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's ledger is made of. Each entry says the same however often it is said."""

from dataclasses import dataclass

from farm_protocol.fields import Digest, FrameNumber, Name
from farm_protocol.ids import LeaseToken, TaskId
from payments.money import Wei


@dataclass(frozen=True, slots=True)
class Deposited:
    """Chain: the budget grew. `event` is the event's name (`payments/events.py`)."""

    event: Name
    amount: Wei


@dataclass(frozen=True, slots=True)
class Refunded:
    """Chain: what was not reserved went back."""

    event: Name
    amount: Wei


@dataclass(frozen=True, slots=True)
class Capped:
    """Chain: an agreement was opened, or raised, to this cap; it is reserved in the budget."""

    agreement: Digest
    cap: Wei


@dataclass(frozen=True, slots=True)
class Paid:
    """Chain: so much was paid under an agreement in all."""

    agreement: Digest
    cumulative: Wei


@dataclass(frozen=True, slots=True)
class Closed:
    """Chain: nothing more is paid under the agreement; what it had reserved and not paid is free."""

    agreement: Digest


@dataclass(frozen=True, slots=True)
class Slashed:
    """Chain: an operator lost stake, of which the client got `to_client`. It is no part of the deposit."""

    event: Name
    agreement: Digest
    amount: Wei
    to_client: Wei


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


Entry = Deposited | Refunded | Capped | Paid | Closed | Slashed | Promised | Accepted | Returned | Settled

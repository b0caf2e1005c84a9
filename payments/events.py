# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a contract's events from a stored block: each is given out at least once, under one name.

Only blocks with enough confirmations are looked at, so a reorganisation up to that depth is never seen. A
consumer keeps what it made of a batch together with the batch's cursor; where it cannot, it is given the
same events again, and knows them by `event_id`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from farm_protocol.errors import Conflict
from payments.chain import MOST_BLOCKS, Chain, Event


class DeepReorganisation(Conflict):
    """A block that was believed to stay is gone."""

    code = "deep_reorganisation"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block whose events were given out, with its hash (0x hexadecimal; '' before the first)."""

    block: Annotated[int, msgspec.Meta(ge=-1, le=1 << 53)]
    hash: Annotated[str, msgspec.Meta(pattern="^(0x[0-9a-f]{64})?$")]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in their order, and where to go on from once they are dealt with."""

    events: tuple[Event, ...]
    cursor: Cursor


def event_id(event: Event) -> str:
    """The event's name: the same whenever it is given out."""
    return f"{event.block_hash}:{event.index}"


def next_batch(
    chain: Chain,
    contracts: Sequence[tuple[str, list[dict[str, Any]]]],
    cursor: Cursor,
    confirmations: int,
) -> Batch:
    """The events of some contracts (address and ABI of each) after `cursor`, in the order of the chain; none,
    with the same cursor, where there is no further block that has its confirmations. Raises
    DeepReorganisation, Unavailable.
    """
    last = min(chain.head() - confirmations, cursor.block + MOST_BLOCKS)
    if cursor.hash and chain.block_hash(cursor.block) != cursor.hash:
        raise DeepReorganisation(
            f"Block {cursor.block}, whose events were dealt with, is no more: the chain was reorganised "
            f"deeper than {confirmations} blocks. Set the number of confirmations higher and look at the job."
        )
    if last <= cursor.block:
        return Batch((), cursor)
    end = chain.block_hash(last)
    found = [
        event for address, abi in contracts for event in chain.events(address, abi, cursor.block + 1, last)
    ]
    if end is None or chain.block_hash(last) != end:
        # The chain moved while it was read: nothing of it is believed.
        return Batch((), cursor)
    return Batch(tuple(sorted(found, key=lambda event: (event.block, event.index))), Cursor(last, end))

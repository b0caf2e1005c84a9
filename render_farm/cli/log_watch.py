# SPDX-License-Identifier: GPL-3.0-or-later
"""The heads of farms' logs that this user was told, kept and compared, so that no farm shows two logs."""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from farm_protocol.fields import decode
from render_farm.client import FarmClient

if TYPE_CHECKING:
    from verification.receipt_records import Receipt
    from verification.records import SignedHead
    from verification.witness import Witness

# `verification.witness` is imported where it is used: what recovers signers takes long to load.

HEADS = "heads"
"""The folder in the user's state."""


class LogWatch:
    """Keeps what a farm tells of its log in the user's `state` folder. Safe to use from several threads."""

    def __init__(self, client: FarmClient, state: Path) -> None:
        self._client, self._state = client, state
        self._lock = Lock()
        self._witness: Witness | None = None

    def heed(self, event: bytes) -> None:
        """Keep the head that an event tells. Raises SplitView where it contradicts those before."""
        from verification.records import SignedHead  # noqa: PLC0415

        self._keep(decode(event, SignedHead))

    def heed_receipt(self, receipt: "Receipt") -> None:
        """Compare a receipt's heads with those kept, and keep them. Raises SplitView."""
        for head in heads_of(receipt):
            self._keep(head)

    def _keep(self, head: "SignedHead") -> None:
        with self._lock:
            if self._witness is None:
                self._witness = witness_of(self._state, self._client.rules().address)
            self._witness.keep(head, self._client.log_consistency)


def witness_of(state: Path, farm: str) -> "Witness":
    """What this user kept of a farm's log."""
    from verification.witness import Witness  # noqa: PLC0415

    return Witness(state / HEADS, farm)


def heads_of(receipt: "Receipt") -> "Iterator[SignedHead]":
    """The heads of the farm's log in a receipt whose signatures hold."""
    from verification.records import SignedHead  # noqa: PLC0415

    for one in receipt.rounds:
        yield SignedHead(one.round, one.size, one.root, one.signature or "")


def compared(state: Path, receipt: "Receipt") -> None:
    """Compare a receipt's heads with those kept before, without asking any farm. Raises SplitView."""
    witness = witness_of(state, receipt.farm)
    for head in heads_of(receipt):
        witness.keep(head, None)

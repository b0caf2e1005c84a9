# SPDX-License-Identifier: GPL-3.0-or-later
"""What a wallet means to send, written down before anything is sent.

An intent has one nonce for ever, and the chain carries out one transaction a nonce: however often it is sent
again, with whatever fee, it happens once.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Protocol

import msgspec

from farm_protocol.errors import Conflict
from farm_protocol.fields import Digest, Name, decode, encode
from farm_protocol.files import read_bounded, try_lock, write_private

Raw = Annotated[str, msgspec.Meta(pattern="^0x([0-9a-f]{2})*$", max_length=1 << 19)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Target = Annotated[str, msgspec.Meta(pattern="^(0x[0-9a-fA-F]{40})?$")]
Digits = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,78}$")]
MOST_BYTES = 64 << 20


class Outcome(StrEnum):
    """PENDING: may still happen. DONE: happened. REVERTED: mined, and the contract refused. DISPLACED:
    another transaction of this wallet took the nonce, so this one never happens.
    """

    PENDING = "pending"
    DONE = "done"
    REVERTED = "reverted"
    DISPLACED = "displaced"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction for an intent; fees in Wei a gas, `time` in seconds since the epoch."""

    hash: Digest
    raw: Raw
    max_fee: Whole
    tip: Whole
    time: Moment


@dataclass(frozen=True, slots=True)
class Intent:
    """Something to be done once. `key` is its caller's name for it; `to` is '' where a contract is made;
    `value` is Wei in decimal digits.
    """

    key: Name
    to: Target
    data: Raw
    value: Digits
    nonce: Whole
    gas: Whole
    attempts: tuple[Attempt, ...] = ()
    outcome: Outcome = Outcome.PENDING
    transaction: Digest | None = None


class Outbox(Protocol):
    """Where intents are kept. `save` returns when the intent is safe, and replaces the one of its key."""

    def all(self) -> tuple[Intent, ...]:
        """All intents, by nonce."""

    def save(self, intent: Intent) -> None:
        """Keep an intent."""


class FileOutbox:
    """An outbox in a file, held by one process at a time: two would give the same nonce to two intents.
    Raises Conflict where another holds it, InvalidInput where it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lock = try_lock(path.with_suffix(".lock"))
        if lock is None:
            raise Conflict(f"Another process sends from {path}.")
        self._lock = lock
        try:
            self._intents = {intent.key: intent for intent in self._read()}
        except BaseException:
            os.close(lock)
            raise

    def all(self) -> tuple[Intent, ...]:
        """All intents, by nonce."""
        return tuple(sorted(self._intents.values(), key=lambda intent: intent.nonce))

    def save(self, intent: Intent) -> None:
        """Keep an intent: on the disk when this returns."""
        self._write({**self._intents, intent.key: intent})

    def prune(self, keep: int) -> None:
        """Forget what is over, but for the last `keep`: for whoever never asks for the same thing again. The
        chain itself knows their nonces.
        """
        over = [intent for intent in self.all() if intent.outcome is not Outcome.PENDING]
        if len(over) > 2 * keep:
            gone = {intent.key for intent in over[:-keep]}
            self._write({key: intent for key, intent in self._intents.items() if key not in gone})

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)

    def _write(self, intents: dict[str, Intent]) -> None:
        write_private(self._path, encode(tuple(intents.values())))
        self._intents = intents

    def _read(self) -> tuple[Intent, ...]:
        if not self._path.exists():
            return ()
        return decode(read_bounded(self._path, MOST_BYTES, "is larger than any outbox"), tuple[Intent, ...])

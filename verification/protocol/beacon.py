# SPDX-License-Identifier: GPL-3.0-or-later
"""Beacons: public randomness in numbered rounds that nobody knows before a round is out.

`LocalBeacon` is commit and reveal: a node signs the sha256 of a value that is told later. It keeps nodes
from knowing what will be audited, and the farm from choosing the value for what it was handed; it cannot
keep the farm's operator from knowing all values beforehand. `drand.py` reads a public beacon that nobody
controls.
"""

import hashlib
import hmac
import math
from typing import Protocol

LOCAL = "local"
"""The name of a farm's own beacon in its rules; public ones are named by their chain's hash."""

NO_COMMITMENT = "00" * 32


class Beacon(Protocol):
    """Rounds come every `period` seconds from `genesis` (seconds since the epoch) on, counted from 1."""

    genesis: float
    period: float

    def commitment(self, round_number: int) -> str:
        """The sha256 of a round's value before it is out, hexadecimal; NO_COMMITMENT where the beacon makes
        no commitment.
        """

    async def value(self, round_number: int) -> bytes | None:
        """The 32 bytes of a round that should be out; None where nobody has them (yet)."""

    def signature(self, round_number: int) -> str:
        """The beacon's own signature of a round whose value was just read, hexadecimal; '' for none."""


def next_round(beacon: Beacon, now: float) -> int:
    """The first round that is not out at time `now`."""
    return max(1, math.floor((now - beacon.genesis) / beacon.period) + 2)


def round_time(beacon: Beacon, round_number: int) -> float:
    """When a round is out, in seconds since the epoch."""
    return beacon.genesis + (round_number - 1) * beacon.period


def closing_time(beacon: Beacon, round_number: int) -> float:
    """When the farm's log is closed for what a round decides about: as soon as the round before is out."""
    return round_time(beacon, round_number - 1)


GRACE = 0.5
"""Seconds that a node has, at least, from hearing of a round until the log is closed for it."""


def open_round(beacon: Beacon, now: float) -> int:
    """The round that terms name at time `now`: the first that stays open for `GRACE` seconds."""
    return next_round(beacon, now + GRACE) + 1


class LocalBeacon:
    """Values derived from a secret that only the coordinator has; each is committed to before."""

    def __init__(self, secret: bytes, genesis: float = 0.0, period: float = 0.5) -> None:
        self.genesis = genesis
        self.period = period
        self._secret = secret

    def commitment(self, round_number: int) -> str:
        """The sha256 of the round's value."""
        return hashlib.sha256(self._value(round_number)).hexdigest()

    async def value(self, round_number: int) -> bytes | None:
        """The round's value; the caller asks no earlier than its time."""
        return self._value(round_number)

    def signature(self, round_number: int) -> str:
        """Nobody but the farm vouches for these rounds."""
        return ""

    def _value(self, round_number: int) -> bytes:
        return hmac.digest(self._secret, b"round:%d" % round_number, "sha256")


def keeps_commitment(value: bytes, commitment: str) -> bool:
    """Whether a revealed value is the one that was committed to."""
    return commitment == NO_COMMITMENT or hashlib.sha256(value).hexdigest() == commitment

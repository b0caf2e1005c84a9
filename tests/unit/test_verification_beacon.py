# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from verification.protocol.beacon import NO_COMMITMENT, LocalBeacon, keeps_commitment, next_round, round_time

BEACON = LocalBeacon(b"secret", genesis=100.0, period=0.5)


def value(beacon: LocalBeacon, number: int) -> bytes:
    found = asyncio.run(beacon.value(number))
    assert found is not None
    return found


@given(now=st.floats(0, 1e9))
def test_the_next_round_is_the_first_that_is_not_out(now: float) -> None:
    number = next_round(BEACON, now)
    assert number >= 1
    assert round_time(BEACON, number) > now - 1e-6
    assert number == 1 or round_time(BEACON, number - 1) <= now + 1e-6


def test_rounds_are_counted_from_one() -> None:
    assert round_time(BEACON, 1) == 100.0
    assert next_round(BEACON, 0.0) == 1
    assert next_round(BEACON, 100.0) == 2
    assert next_round(BEACON, 100.4) == 2
    assert next_round(BEACON, 100.5) == 3


def test_a_value_keeps_its_commitment_and_no_other_does() -> None:
    committed = BEACON.commitment(7)
    assert committed == hashlib.sha256(value(BEACON, 7)).hexdigest()
    assert keeps_commitment(value(BEACON, 7), committed)
    assert not keeps_commitment(value(BEACON, 8), committed)
    assert keeps_commitment(value(BEACON, 8), NO_COMMITMENT)


def test_values_differ_by_round_and_by_secret_and_are_there_again() -> None:
    again = LocalBeacon(b"secret", genesis=100.0, period=0.5)
    assert value(again, 7) == value(BEACON, 7)
    assert len({value(BEACON, number) for number in range(1, 200)}) == 199
    assert value(LocalBeacon(b"other"), 7) != value(BEACON, 7)
    assert len(value(BEACON, 7)) == 32
    assert BEACON.signature(7) == ""

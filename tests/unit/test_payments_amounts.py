# SPDX-License-Identifier: GPL-3.0-or-later
"""Amounts as people write them, and the file that names a network."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.errors import FarmError, InvalidInput, NotFound
from payments import amounts, network
from tests.unit.test_payments_vectors import NETWORK


@pytest.mark.parametrize(
    ("text", "decimals", "amount"),
    [
        ("12.5", 18, 12_500_000_000_000_000_000),
        (" 7 ", 6, 7_000_000),
        ("0.000001", 6, 1),
        ("0.1000000000", 1, 1),
        ("0", 18, 0),
        ("00012", 0, 12),
        ("340282366920938463463374607431768211455", 0, (1 << 128) - 1),
        ("0.3", 18, 300_000_000_000_000_000),
    ],
)
def test_amounts_are_exact(text: str, decimals: int, amount: int) -> None:
    assert amounts.parse(text, decimals) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        ".5",
        "5.",
        "-1",
        "+1",
        "1e5",
        "NaN",
        "inf",
        "1,5",
        "1_000",
        "0x10",
        "1 2",
        "1.5.2",
        "1\n2",
        "١٢",
        "½",
        "9" * 61,
        "1" * 100_000,
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no amount"):
        amounts.parse(text, 18)


@pytest.mark.parametrize(
    ("text", "decimals", "sentence"),
    [
        ("0.0000001", 6, "finer than the token"),
        ("1.5", 0, "finer than the token"),
        ("340282366920938463463374607431768211456", 0, "more than there can be"),
        ("340282366920938463464", 18, "more than there can be"),
    ],
)
def test_amounts_that_cannot_be_are_refused(text: str, decimals: int, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        amounts.parse(text, decimals)


@given(st.integers(0, (1 << 128) - 1), st.integers(0, 36))
def test_an_amount_is_read_as_it_is_written(amount: int, decimals: int) -> None:
    assert amounts.parse(amounts.format(amount, decimals), decimals) == amount
    assert amounts.format(-amount, decimals) == ("-" if amount else "") + amounts.format(amount, decimals)


def test_a_network_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "chain.toml"
    odd = replace(NETWORK, symbol='a "b" \\ é', confirmations=12, first_block=99)
    network.save(odd, path)
    assert network.load(path) == odd
    assert [one.name for one in tmp_path.iterdir()] == ["chain.toml"]


GOOD = network.text(NETWORK)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "chain_id"),
        ("what = [", "does not name a network"),
        (GOOD.replace("chain_id = 721337", "chain_id = -1"), "chain_id"),
        (GOOD.replace("chain_id = 721337", 'chain_id = "721337"'), "chain_id"),
        (GOOD.replace(NETWORK.market, "0x12"), "market"),
        (GOOD.replace(NETWORK.token, NETWORK.token + "00"), "token"),
        (GOOD.replace("claim = 1", "claim = 1.5"), "claim"),
        (GOOD.replace("[windows]", "[other]"), "windows"),
        (GOOD.replace("decimals = 18", "decimals = 99"), "decimals"),
        ("#" * network.MOST_BYTES + "\n" + GOOD, "too large"),
        ("\udcff", "does not name a network"),
        ("a=" + "[" * 30_000, "does not name a network"),
    ],
)
def test_a_file_that_names_no_network_is_told(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "chain.toml"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(InvalidInput, match=sentence):
        network.load(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(NotFound, match="cannot be read"):
            network.load(path)


def test_a_network_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="cannot be written"):
        network.save(NETWORK, tmp_path / "none" / "chain.toml")

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contracts say no with is told in words."""

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector

from payments.chain.artifacts import NAMES, artifact
from payments.chain.refusals import SENTENCES, refusal
from payments.chain.rpc import Reverted

ERRORS = {one["name"]: one for name in NAMES for one in artifact(name).abi if one["type"] == "error"}
VALUES = {"string": "field", "address": "0x" + "12" * 20, "bytes32": b"\1" * 32}


def data_of(error: dict[str, Any]) -> str:
    kinds = [one["type"] for one in error["inputs"]]
    selector = function_signature_to_4byte_selector(f"{error['name']}({','.join(kinds)})")
    return "0x" + selector.hex() + encode(kinds, [VALUES.get(kind, 77) for kind in kinds]).hex()


def test_there_is_a_sentence_for_every_error_and_for_no_other() -> None:
    assert set(SENTENCES) == set(ERRORS)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_is_told_with_what_it_says(name: str) -> None:
    told = refusal("It", Reverted("no", data_of(ERRORS[name])))
    assert told.error == name
    assert told.sentence.startswith("It was refused: ")
    assert "{" not in told.sentence


def test_times_are_told_as_times() -> None:
    said = refusal("It", Reverted("no", data_of(ERRORS["TooEarly"]))).sentence
    assert "1970-01-01 00:01:17 UTC" in said
    far = "0x" + function_signature_to_4byte_selector("TooEarly(uint64)").hex() + "f" * 64
    assert refusal("It", Reverted("no", far)).error == ""
    far = data_of(ERRORS["TooEarly"])[:10] + "0" * 48 + "f" * 16
    assert "end of time" in refusal("It", Reverted("no", far)).sentence


@pytest.mark.parametrize("data", ["", "0x", "0x08c379a0", "0xdeadbeef" + "00" * 32])
def test_errors_of_others_give_no_reason(data: str) -> None:
    told = refusal("It", Reverted("no", data))
    assert (told.error, told.sentence) == ("", "It was refused: the contract gives no reason.")


def test_an_error_that_is_cut_off_is_none() -> None:
    assert refusal("It", Reverted("no", data_of(ERRORS["BadTerms"])[:-70])).error == ""

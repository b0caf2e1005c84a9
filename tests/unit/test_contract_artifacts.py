# SPDX-License-Identifier: GPL-3.0-or-later
"""The committed artifacts can be deployed, and a rise of gas is told."""

import json
from pathlib import Path

import pytest

from payments.contracts import gas
from payments.contracts.compile import ARTIFACTS, NAMES, differences

LARGEST = 49_152
"""Bytes of creation code that a chain takes (EIP-3860)."""


def _artifact(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_artifacts_can_be_deployed(name: str) -> None:
    found = _artifact(name)
    code = bytes.fromhex(str(found["bytecode"]).removeprefix("0x"))
    assert found["contractName"] == name
    assert 1000 < len(code) <= LARGEST


def test_market_has_what_the_farm_calls() -> None:
    abi = json.dumps(_artifact("RenderMarket")["abi"])
    for call in (
        "openJob",
        "openAgreement",
        "raiseCap",
        "redeem",
        "releaseFor",
        "close",
        "claimUnpaid",
        "refund",
    ):
        assert f'"name": "{call}"' in abi


def test_changed_missing_and_left_over_artifacts_are_told() -> None:
    made = {f"{name}.json": (ARTIFACTS / f"{name}.json").read_text() for name in NAMES}
    assert differences(made) == []
    assert differences(made | {"Disputes.json": "other", "New.json": ""}) == ["Disputes.json", "New.json"]
    del made["StakeVault.json"]
    assert differences(made) == ["StakeVault.json"]


def test_a_rise_of_gas_is_told_and_a_fall_is_not() -> None:
    assert gas.rises({"redeem": 10}, {"redeem": 10}) == []
    assert gas.rises({"redeem": 9}, {"redeem": 10}) == []
    assert gas.rises({"redeem": 11}, {"redeem": 10}) == ["redeem costs 11, up from 10."]
    assert gas.rises({}, {"redeem": 10}) == ["redeem was not measured."]
    assert gas.rises({"raise": 3}, {}) == ["raise is new: it costs 3."]


def test_figures_that_are_missing_are_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gas, "MEASURED", tmp_path / "none.json")
    assert gas.main(["--check"]) == 1
    assert "no figures" in capsys.readouterr().err

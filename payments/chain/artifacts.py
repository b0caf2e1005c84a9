# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled contracts, and what their errors say."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from eth_abi.abi import decode
from eth_utils.abi import function_signature_to_4byte_selector

NAMES = ("RenderMarket", "StakeVault", "Disputes", "RenderToken")


class Artifact(NamedTuple):
    """A contract's interface and the code that makes it (0x hexadecimal)."""

    abi: list[dict[str, Any]]
    bytecode: str


@cache
def artifact(name: str) -> Artifact:
    """One of the contracts by name."""
    text = (files("payments.contracts") / "artifacts" / f"{name}.json").read_text()
    found = json.loads(text)
    code = str(found["bytecode"])
    return Artifact(found["abi"], code if code.startswith("0x") else "0x" + code)


def error_name(data: str) -> str:
    """Which of the contracts' errors a call returned (its data, 0x hexadecimal); '' for none of them."""
    return read_error(data)[0]


def read_error(data: str) -> tuple[str, dict[str, Any]]:
    """Which of the contracts' errors a call returned, and with what; '' for none of them."""
    kind = _errors().get(data[:10].lower())
    if kind is None:
        return "", {}
    inputs = kind["inputs"]
    try:
        values = decode([given["type"] for given in inputs], bytes.fromhex(data[10:]))
    except Exception:  # the library has many errors, and the data may be anybody's
        return "", {}
    return str(kind["name"]), {given["name"]: value for given, value in zip(inputs, values, strict=True)}


@cache
def function_of(contract: str, name: str) -> dict[str, Any]:
    """The entry of a contract's ABI that describes a function."""
    abi = artifact(contract).abi
    return next(one for one in abi if one["type"] == "function" and one["name"] == name)


@cache
def _errors() -> dict[str, dict[str, Any]]:
    """The errors by their selectors; none of them has a struct in it."""
    found = {}
    for name in NAMES:
        for one in artifact(name).abi:
            if one["type"] == "error":
                kinds = ",".join(given["type"] for given in one["inputs"])
                selector = function_signature_to_4byte_selector(f"{one['name']}({kinds})")
                found["0x" + selector.hex()] = one
    return found

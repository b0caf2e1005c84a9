# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled contracts, and what their errors say."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

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
    return _errors().get(data[:10].lower(), "")


@cache
def _errors() -> dict[str, str]:
    found = {}
    for name in NAMES:
        for one in artifact(name).abi:
            if one["type"] == "error":
                kinds = ",".join(_kind(given) for given in one["inputs"])
                selector = function_signature_to_4byte_selector(f"{one['name']}({kinds})")
                found["0x" + selector.hex()] = str(one["name"])
    return found


def _kind(given: dict[str, Any]) -> str:
    if not given["type"].startswith("tuple"):
        return str(given["type"])
    inner = ",".join(_kind(one) for one in given["components"])
    return f"({inner}){given['type'][5:]}"

# SPDX-License-Identifier: GPL-3.0-or-later
"""What is signed about money is what the contracts recover: both sides are held to one file of examples.

`forge test` reads the same file (payments/contracts/test/Vectors.t.sol).
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from farm_protocol import typed_data
from payments.messages import accepted_tree, signing
from payments.messages.network import Network, Windows
from payments.messages.promises import (
    Credit,
    Message,
    Offer,
    Order,
    Raise,
    Release,
    Ruling,
    Slash,
    Terms,
    Voucher,
    Withdrawal,
)

VECTORS = Path(__file__).parents[2] / "payments" / "contracts" / "test" / "money.json"
NETWORK = Network(
    chain_id=721_337,
    token="0x" + "10" * 20,
    market="0x" + "20" * 20,
    vault="0x" + "30" * 20,
    disputes="0x" + "40" * 20,
    windows=Windows(1, 1, 1, 4, 1),
    symbol="T",
    decimals=18,
)
KEY = bytes(31) + b"\x5e"
AGREEMENT = "0123456789abcdef" * 4
MOST96, MOST128 = (1 << 96) - 1, (1 << 128) - 1

MESSAGES: dict[str, Message] = {
    "terms": Terms(
        client="0x" + "c1" * 20,
        refundTo="0x" + "0d" * 20,
        farm="0x" + "fa" * 20,
        name=b"j0123456789ab".ljust(32, b"\0").hex(),
        deadline=1_900_000_000,
        sessionKey="0x" + "5e" * 20,
        priceCap=MOST96,
        stakeShare=15_000,
        watcher="0x" + "0" * 40,
        arbiters=("0x" + "a1" * 20, "0x" + "a2" * 20),
        threshold=2,
        termsHash="fe" * 32,
    ),
    "offer": Offer(
        farm="0x" + "fa" * 20,
        node="0x" + "0e" * 20,
        payee="0x" + "ae" * 20,
        deviceClass="CPU:x86_64:avx2:5.0.1 (é) 日本",
        price=MOST96,
        capacity=9_223_372_036_854_775_807,
        stakeShare=0,
        expiry=0,
        number=7,
    ),
    "order": Order(3, "0f" * 32, MOST128, MOST96, 65_535, 12),
    "raise": Raise(AGREEMENT, MOST128),
    "voucher": Voucher(AGREEMENT, 1, "ac" * 32),
    "release": Release(AGREEMENT, 0),
    "slash": Slash(AGREEMENT, 10**18, 10**17, "5a" * 32),
    "ruling": Ruling(AGREEMENT, 5),
    "withdrawal": Withdrawal("51" * 32),
}
CREDITS = [Credit(f"j0123456789ab.f{i}.t0", f"{i:02x}" * 32, 10**18 + i) for i in range(7)]
SHOWN = (2, 6)


def _written(message: Message) -> dict[str, Any]:
    """Digests with 0x, and numbers in quotes: forge reads no greater ones."""
    kinds = dict(signing.TYPES[type(message)])
    write: dict[str, Callable[[Any], Any]] = {"bytes32": lambda value: "0x" + value, "address[]": list}
    return {name: write.get(kinds[name], str)(value) for name, value in asdict(message).items()}


def _example(message: Message) -> dict[str, Any]:
    return {
        "message": _written(message),
        "structHash": "0x" + signing.struct_hash(message).hex(),
        "digest": "0x" + signing.digest(message, NETWORK).hex(),
        "signature": signing.sign(message, NETWORK, KEY),
    }


def _shown(index: int) -> dict[str, Any]:
    credit = CREDITS[index]
    way = accepted_tree.way(CREDITS, index)
    return {
        "task": credit.task,
        "pixelRoot": "0x" + credit.pixel_root,
        "amount": str(credit.amount),
        "way": [{"hash": "0x" + one.hash, "sum": str(one.sum), "left": one.left} for one in way],
    }


def expected() -> dict[str, Any]:
    root, total = accepted_tree.root(CREDITS)
    return {
        "chainId": NETWORK.chain_id,
        "market": NETWORK.market,
        "disputes": NETWORK.disputes,
        "signer": typed_data.address_of(KEY),
        **{name: _example(message) for name, message in MESSAGES.items()},
        "tree": {"root": "0x" + root, "sum": str(total), "shown": [_shown(index) for index in SHOWN]},
    }


def test_examples_are_what_python_signs() -> None:
    assert json.loads(VECTORS.read_text()) == expected()


def test_every_message_has_an_example() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(signing.TYPES)


@pytest.mark.parametrize("name", MESSAGES)
def test_types_are_those_of_the_contracts(name: str) -> None:
    kind = type(MESSAGES[name])
    fields = ",".join(f"{solidity} {field}" for field, solidity in signing.TYPES[kind])
    sources = "".join(
        (VECTORS.parents[1] / "src" / f"{one}.sol").read_text() for one in ("MarketMessages", "Disputes")
    )
    assert f'"{kind.__name__}({fields})"' in sources.replace('"\n        "', "")

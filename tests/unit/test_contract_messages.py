# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes and farms sign is what the contracts recover: both sides are held to one file of examples.

`forge test` reads the same file (payments/contracts/test/Messages.t.sol).
"""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from farm_protocol import documents, typed_data
from verification.protocol import attestation

VECTORS = Path(__file__).parents[2] / "payments" / "contracts" / "test" / "messages.json"
FARM_KEY = bytes(31) + b"\xfa"
NODE_KEY = bytes(31) + b"\x0d"
FARM = typed_data.address_of(FARM_KEY)

ATTESTATION = documents.Attestation(
    task="j0123456789ab.f-3.t12",
    token=9_007_199_254_740_992,
    pixelRoot="ab" * 32,
    object="0123456789abcdef" * 4,
    deviceClass="CPU:x86_64:avx2:5.0.1 (é)",
    build="5.0.1 (é)",
    renderMilliseconds=0,
)


def _submission() -> documents.Submission:
    digest = attestation.digest(ATTESTATION, FARM).hex()
    return documents.Submission(digest, 1_800_000_000_123, 77, "cd" * 32, 1_000_000)


def _example(message: documents.Signed, key: bytes) -> dict[str, object]:
    fields = dict(documents.TYPES[type(message)])
    said = {
        name: f"0x{value}" if fields[name] == "bytes32" else value for name, value in asdict(message).items()
    }
    return {
        "message": said,
        "digest": "0x" + attestation.digest(message, FARM).hex(),
        "signature": attestation.sign(message, FARM, key),
        "signer": typed_data.address_of(key),
    }


def test_examples_are_what_python_signs() -> None:
    expected = {
        "farm": FARM,
        "attestation": _example(ATTESTATION, NODE_KEY),
        "submission": _example(_submission(), FARM_KEY),
    }
    assert json.loads(VECTORS.read_text()) == expected


@pytest.mark.parametrize("kind", [documents.Attestation, documents.Submission])
def test_types_are_those_of_the_contracts(kind: type) -> None:
    fields = ",".join(f"{solidity} {name}" for name, solidity in documents.TYPES[kind])
    source = (VECTORS.parents[1] / "src" / "FarmMessages.sol").read_text()
    joined = source.replace('"\n        "', "")
    assert f'"{kind.__name__}({fields})"' in joined

# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from farm_protocol import typed_data
from farm_protocol.documents import Attestation, Enrolment, LogHead, Signed, Submission
from farm_protocol.fields import decode, encode
from farm_protocol.ids import DeviceClass, LeaseToken, TaskId
from farm_protocol.records import OutputFile, TaskResult
from farm_protocol.typed_data import BadSignature
from verification.protocol import attestation

KEY, OTHER = (hashlib.sha256(name).digest() for name in (b"key", b"other"))
ADDRESS = typed_data.address_of(KEY)
FARM = typed_data.address_of(OTHER)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MESSAGES: list[Signed] = [
    Enrolment("node-1", ADDRESS),
    Attestation("job.f1.t0", 3, "11" * 32, "22" * 32, "CPU:x86:5.0.1-a", "5.0.1-a", 1500),
    Submission("33" * 32, 1_700_000_000_000, 42, "44" * 32, 180_000),
    LogHead(42, 7, "55" * 32),
]
RESULT = TaskResult(
    (OutputFile("tile.exr", "22" * 32, 10),), 2.0, 1.5, DeviceClass("CPU:x86:5.0.1-a"), pixel_root="11" * 32
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_the_signer_is_recovered(message: Signed) -> None:
    signature = attestation.sign(message, FARM, KEY)
    assert attestation.signer(message, FARM, signature) == ADDRESS
    attestation.require_signer(message, FARM, signature, ADDRESS.lower())
    with pytest.raises(BadSignature, match="not that of"):
        attestation.require_signer(message, FARM, signature, FARM)


def other(value: Any, name: str) -> Any:
    if name == "address":
        return FARM
    return value + 1 if isinstance(value, int) else "ab" + value[2:] if len(value) == 64 else value + "x"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_field_is_signed(message: Signed) -> None:
    signature = attestation.sign(message, FARM, KEY)
    for field in fields(message):
        changed = replace(message, **{field.name: other(getattr(message, field.name), field.name)})  # type: ignore[type-var]
        assert attestation.signer(changed, FARM, signature) != ADDRESS, field.name
        assert attestation.digest(changed, FARM) != attestation.digest(message, FARM)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_signed_for_one_farm_is_worth_nothing_at_another(message: Signed) -> None:
    assert attestation.signer(message, ADDRESS, attestation.sign(message, FARM, KEY)) != ADDRESS


def test_the_typed_data_are_what_any_wallet_signs() -> None:
    plain = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "LogHead": [
                {"name": "round", "type": "uint64"},
                {"name": "size", "type": "uint64"},
                {"name": "root", "type": "bytes32"},
            ],
        },
        "primaryType": "LogHead",
        "domain": {"name": "Render Farm", "version": "1", "verifyingContract": FARM},
        "message": {"round": 42, "size": 7, "root": "0x" + "55" * 32},
    }
    signed = Account.sign_message(encode_typed_data(full_message=plain), KEY)
    assert attestation.sign(MESSAGES[3], FARM, KEY) == "0x" + bytes(signed.signature).hex()


def malleable(signature: str) -> str:
    """The other signature that says the same to a careless reader."""
    raw = bytes.fromhex(signature[2:])
    s = ORDER - int.from_bytes(raw[32:64], "big")
    return "0x" + (raw[:32] + s.to_bytes(32, "big") + bytes([27 + 28 - raw[64]])).hex()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: None,
        lambda good: "",
        lambda good: "0x",
        lambda good: good[:-2],
        lambda good: good + "00",
        lambda good: "0x" + "zz" * 65,
        lambda good: "0x" + "00" * 65,
        lambda good: "0x" + "ff" * 65,
        lambda good: "0x" + "00" * 64 + "1b",
        lambda good: good[:-2] + "00",
        lambda good: good[:-2] + "1d",
        malleable,
    ],
)
def test_what_is_no_canonical_signature_is_refused(spoil: Any) -> None:
    good = attestation.sign(MESSAGES[1], FARM, KEY)
    with pytest.raises(BadSignature):
        attestation.signer(MESSAGES[1], FARM, spoil(good))


def test_documents_are_signed_whole() -> None:
    signature = attestation.sign_document(b"a document", KEY)
    assert attestation.document_signer(b"a document", signature) == ADDRESS
    assert attestation.document_signer(b"a documenT", signature) != ADDRESS
    with pytest.raises(BadSignature, match="missing"):
        attestation.document_signer(b"a document", None)
    with pytest.raises(BadSignature, match="canonical"):
        attestation.document_signer(b"a document", malleable(signature))


def test_a_result_stands_for_its_attestation() -> None:
    made = attestation.attest(TaskId("job.f1.t0"), LeaseToken(3), RESULT)
    assert made == MESSAGES[1]
    with pytest.raises(BadSignature, match="no pixel root"):
        attestation.attest(TaskId("job.f1.t0"), LeaseToken(3), replace(RESULT, pixel_root=None))


@pytest.mark.parametrize(
    ("name", "value"), [("token", -1), ("token", 1 << 64), ("pixelRoot", "11"), ("task", "x" * 5000)]
)
def test_fields_that_cannot_be_signed_are_not_read(name: str, value: Any) -> None:
    with pytest.raises(Exception, match="not a valid Attestation"):
        decode(encode(replace(MESSAGES[1], **{name: value})), Attestation)  # type: ignore[type-var]

# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: N815 - EIP-712 names are in camel case
"""What nodes and the farm sign, as EIP-712 typed data, and who signed it.

The domain names the farm by the address it signs with, so that nothing signed for one farm is worth
anything at another. Signatures are never used to tell two messages apart: the same message can be signed
in many ways; messages are told apart by what they say.
"""

import hashlib
import secrets
import sys
from dataclasses import asdict, dataclass
from functools import cache
from types import ModuleType
from typing import Annotated, Any

import msgspec

from farm_protocol.appointments import Appointment, AuditTerms, Rate
from farm_protocol.errors import Forbidden
from farm_protocol.fields import Digest, Name, about
from farm_protocol.ids import LeaseToken, TaskId
from farm_protocol.records import TaskResult

Whole = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of the curve secp256k1 (SEC 2, 2.4.1): of two signatures that say the same, the one with
the smaller s is canonical (EIP-2)."""
DOCUMENT = "Render farm document, sha256 "
"""What is signed of a document is this and its sha256 in hexadecimal digits."""


class BadSignature(Forbidden):
    """A signature is missing, malformed, or not that of who should have signed."""

    code = "bad_signature"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A node shows that it holds the key of `address`; `node` is its id at the farm."""

    node: str
    address: str


@dataclass(frozen=True, slots=True)
class Attestation:
    """A node says: under this lease I rendered these pixels and stored them as this object."""

    task: Annotated[Name, about("id of the task")]
    token: Annotated[Whole, about("fencing token of the lease")]
    pixelRoot: Annotated[Digest, about("pixel root of what was rendered, hexadecimal")]
    object: Annotated[Digest, about("sha256 of the result's first file, hexadecimal")]
    deviceClass: Annotated[Name, about("the kind of device, by which bits are equal")]
    build: Annotated[Name, about("build of Blender")]
    renderMilliseconds: Annotated[Whole, about("pure Cycles time, milliseconds")]


@dataclass(frozen=True, slots=True)
class Submission:
    """The farm says: I had this attestation (its digest, hexadecimal) at this time in milliseconds since
    the epoch. The rest is as in the node's appointment, from which everything is drawn: nothing that
    the farm alone says here decides anything.
    """

    attestation: Annotated[Digest, about("digest of the attestation, hexadecimal")]
    time: Annotated[Whole, about("when the farm had it, milliseconds since the epoch")]
    round: Annotated[Whole, about("number of the beacon round")]
    commitment: Annotated[Digest, about("sha256 of the round's value, or zeros where its beacon makes none")]
    rate: Annotated[Rate, about("chance of an audit, in a million")]


@dataclass(frozen=True, slots=True)
class LogHead:
    """The farm says: what beacon round `round` decides about are leaves of my log's first `size`, under
    `root`. It is signed one round before that round is out.
    """

    round: Whole
    size: Whole
    root: Digest


@dataclass(frozen=True, slots=True)
class FarmAnswer:
    """The farm says: this answer (its sha256) is mine, to whoever asked with this challenge. Both are
    hexadecimal. A node without a sandbox wants to see it.
    """

    challenge: Digest
    answer: Digest


TYPES: dict[type, list[tuple[str, str]]] = {
    Enrolment: [("node", "string"), ("address", "address")],
    Attestation: [
        ("task", "string"),
        ("token", "uint64"),
        ("pixelRoot", "bytes32"),
        ("object", "bytes32"),
        ("deviceClass", "string"),
        ("build", "string"),
        ("renderMilliseconds", "uint64"),
    ],
    Submission: [
        ("attestation", "bytes32"),
        ("time", "uint64"),
        ("round", "uint64"),
        ("commitment", "bytes32"),
        ("rate", "uint32"),
    ],
    Appointment: [
        ("attestation", "bytes32"),
        ("salt", "bytes32"),
        ("attempt", "uint32"),
        ("round", "uint64"),
        ("commitment", "bytes32"),
        ("rate", "uint32"),
    ],
    LogHead: [("round", "uint64"), ("size", "uint64"), ("root", "bytes32")],
    FarmAnswer: [("challenge", "bytes32"), ("answer", "bytes32")],
}
"""The EIP-712 types. Receipts of frames are signed as documents (`receipts.py`)."""

Signed = Enrolment | Attestation | Appointment | Submission | LogHead | FarmAnswer


@cache
def _eth() -> ModuleType:
    """The library that signs, loaded when it is first needed: that takes half a second, and whoever only
    reads records need not wait for it. One of its own libraries raises Python's recursion limit beyond what
    a thread's stack holds, so that deep JSON from a stranger would end the process.
    """
    limit = sys.getrecursionlimit()
    import eth_account  # noqa: PLC0415
    import eth_account.messages  # noqa: PLC0415

    sys.setrecursionlimit(limit)
    return eth_account


def attest(task: TaskId, token: LeaseToken, result: TaskResult) -> Attestation:
    """The attestation a result stands for. Raises BadSignature for a result without pixel root."""
    if result.pixel_root is None:
        raise BadSignature("The result has no pixel root: a node signs what it rendered.")
    return Attestation(
        task=task,
        token=token,
        pixelRoot=result.pixel_root,
        object=result.files[0].sha256,
        deviceClass=result.device_class,
        build=result.device_class.rpartition(":")[2],
        renderMilliseconds=round(result.render_seconds * 1000),
    )


def digest(message: Signed, farm: str) -> bytes:
    """The 32 bytes that are signed. `farm` is the farm's address."""
    hashed: bytes = _eth().messages._hash_eip191_message(_signable(message, farm))
    return hashed


def appoint(message: Attestation, terms: AuditTerms, attempt: int, farm: str) -> Appointment:
    """Appointment by which a node accepts the farm's `terms` for what it attested in `message`. `attempt`
    counts the terms it accepted for that, from 1; `farm` is the address that is signed to.
    """
    said = attempt, terms.round, terms.commitment, terms.rate
    return Appointment(digest(message, farm).hex(), secrets.token_hex(32), *said)


def is_receipt_of(receipt: Submission, appointed: Appointment) -> bool:
    """Whether the farm's receipt says what the node's appointment says."""
    said = (receipt.attestation, receipt.round, receipt.commitment, receipt.rate)
    return said == (appointed.attestation, appointed.round, appointed.commitment, appointed.rate)


def sign_document(data: bytes, key: bytes) -> str:
    """Sign the sha256 of a document as a message for people (EIP-191), which any wallet can check."""
    return "0x" + bytes(_eth().Account.sign_message(_document(data), key).signature).hex()


def document_signer(data: bytes, signature: str | None) -> str:
    """The address that signed the document. Raises BadSignature as `signer` does."""
    return _recovered(_document(data), signature)


def sign(message: Signed, farm: str, key: bytes) -> str:
    """The signature as 0x and 130 hexadecimal digits."""
    signed = _eth().Account.sign_message(_signable(message, farm), key)
    return "0x" + bytes(signed.signature).hex()


def signer(message: Signed, farm: str, signature: str | None) -> str:
    """The address that signed `message`. Raises BadSignature for what is no canonical signature."""
    return _recovered(_signable(message, farm), signature)


def _recovered(signable: Any, signature: str | None) -> str:
    if signature is None:
        raise BadSignature("The signature is missing.")
    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
        if len(raw) != 65 or int.from_bytes(raw[32:64], "big") > HALF_ORDER or raw[64] not in (27, 28):
            raise BadSignature("The signature is not in its one canonical form.")
        return str(_eth().Account.recover_message(signable, signature=raw))
    except BadSignature:
        raise
    except Exception as error:  # the library raises many kinds for points that are not on the curve
        raise BadSignature("The signature is no signature of anybody.") from error


def require_signer(message: Signed, farm: str, signature: str | None, address: str) -> None:
    """Raises BadSignature unless `address` signed `message`."""
    if signer(message, farm, signature).lower() != address.lower():
        raise BadSignature(f"The signature is not that of {address}.")


def address_of(key: bytes) -> str:
    """The address a private key signs as, with its checksum."""
    return str(_eth().Account.from_key(key).address)


def _document(data: bytes) -> Any:
    return _eth().messages.encode_defunct(text=f"{DOCUMENT}{hashlib.sha256(data).hexdigest()}")


def _signable(message: Signed, farm: str) -> Any:
    kind = type(message)
    fields = TYPES[kind]
    values = asdict(message)
    for name, solidity in fields:
        if solidity == "bytes32":
            values[name] = bytes.fromhex(values[name])
    return _eth().messages.encode_typed_data(
        {"name": "Render Farm", "version": "1", "verifyingContract": farm},
        {kind.__name__: [{"name": name, "type": solidity} for name, solidity in fields]},
        values,
    )

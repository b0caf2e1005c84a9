# SPDX-License-Identifier: GPL-3.0-or-later
"""EIP-712 typed data and documents: hashing, signing, and who signed.

Signatures are never used to tell two messages apart: the same message can be signed in many ways; messages
are told apart by what they say. A domain names who reads them, so that nothing signed for one reader is worth
anything to another.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

from farm_protocol.errors import Forbidden, InvalidInput

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve secp256k1 (SEC 2, 2.4.1): private keys are below it."""
HALF_ORDER = ORDER // 2
"""Of two signatures that say the same, the one with the smaller s is canonical (EIP-2)."""
DOCUMENT = "Render farm document, sha256 "
"""What is signed of a document is this and its sha256 in hexadecimal digits."""

VERSION = b"\x01"
"""Of typed data among what can be signed (EIP-191)."""

Fields = Sequence[tuple[str, str]]
"""A struct's fields: each one's name and Solidity type."""

Signable = Any
"""What the library signs: the parts that are hashed."""


class BadSignature(Forbidden):
    """A signature is missing, malformed, or not that of who should have signed."""

    code = "bad_signature"


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


def signable(message: Any, fields: Fields, domain: Mapping[str, Any]) -> Signable:
    """A dataclass as typed data; its bytes32 are hexadecimal digits. Raises InvalidInput for a number that
    its Solidity type does not hold.
    """
    return _hashed(message, tuple(fields), tuple(domain.items()))


@lru_cache(256)  # What is signed is hashed too, and what is checked is told apart by its digest.
def _hashed(message: Any, fields: Fields, domain: tuple[tuple[str, Any], ...]) -> Signable:
    values = asdict(message)
    for name, solidity in fields:
        values[name] = _value(name, solidity, values[name])
    described = {type(message).__name__: [{"name": name, "type": solidity} for name, solidity in fields]}
    said = _eth().messages.hash_eip712_message(described, values)
    return _eth().messages.SignableMessage(VERSION, _domain_hash(domain), said)


@lru_cache(64)  # A farm has one, a market and its disputes one each.
def _domain_hash(domain: tuple[tuple[str, Any], ...]) -> bytes:
    hashed: bytes = _eth().messages.hash_domain(dict(domain))
    return hashed


def _value(name: str, solidity: str, value: Any) -> Any:
    if solidity == "bytes32":
        return bytes.fromhex(value)
    if solidity.endswith("[]"):
        return list(value)
    if solidity.startswith("uint") and not 0 <= value < 1 << int(solidity[4:]):
        raise InvalidInput(f"{name} is {value}, which {solidity} does not hold.")
    return value


def signable_document(data: bytes) -> Signable:
    """The sha256 of a document as a message for people (EIP-191), which any wallet can check."""
    return _eth().messages.encode_defunct(text=f"{DOCUMENT}{hashlib.sha256(data).hexdigest()}")


def digest_of(said: Signable) -> bytes:
    """The 32 bytes that are signed."""
    hashed: bytes = _eth().messages._hash_eip191_message(said)
    return hashed


def sign(said: Signable, key: bytes) -> str:
    """The signature as 0x and 130 hexadecimal digits."""
    return "0x" + bytes(_eth().Account.sign_message(said, key).signature).hex()


def signer_of(said: Signable, signature: str | None) -> str:
    """The address that signed, with its checksum. Raises BadSignature for what is no canonical signature."""
    if signature is None:
        raise BadSignature("The signature is missing.")
    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
        if len(raw) != 65 or int.from_bytes(raw[32:64], "big") > HALF_ORDER or raw[64] not in (27, 28):
            raise BadSignature("The signature is not in its one canonical form.")
        return str(_eth().Account.recover_message(said, signature=raw))
    except BadSignature:
        raise
    except Exception as error:  # the library raises many kinds for points that are not on the curve
        raise BadSignature("The signature is no signature of anybody.") from error


def require_signed_by(address: str, said: Signable, signature: str | None) -> None:
    """Raises BadSignature unless `address` signed."""
    if signer_of(said, signature).lower() != address.lower():
        raise BadSignature(f"The signature is not that of {address}.")


def address_of(key: bytes) -> str:
    """The address a private key signs as, with its checksum."""
    return str(_eth().Account.from_key(key).address)


def read_key(text: str, name: str) -> bytes:
    """The private key that `name` holds, in hexadecimal. Raises InvalidInput, which does not tell it."""
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
        if len(key) != 32:
            raise ValueError("a key has 32 bytes")
        address_of(key)
    except Exception as error:  # the library has many names for numbers that are no key
        # Neither the key nor the library's words about it belong into a log.
        raise InvalidInput(f"{name} is no private key: it must be 64 hexadecimal digits.") from error
    return key

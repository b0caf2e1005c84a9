# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing what is said about money as EIP-712 typed data, and who signed it.

The domain names the chain and the contract that will read it, so that nothing signed for one is worth
anything at another. Signatures are never used to tell two messages apart.
"""

import sys
from dataclasses import asdict
from functools import cache
from types import ModuleType
from typing import Any

from farm_protocol.errors import Forbidden, InvalidInput
from payments.network import Network
from payments.promises import (
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

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of the curve secp256k1 (SEC 2, 2.4.1): of two signatures that say the same, the one with
the smaller s is canonical (EIP-2)."""
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve: private keys are below it."""

TYPES: dict[type, list[tuple[str, str]]] = {
    Terms: [
        ("client", "address"),
        ("refundTo", "address"),
        ("farm", "address"),
        ("name", "bytes32"),
        ("deadline", "uint64"),
        ("sessionKey", "address"),
        ("priceCap", "uint96"),
        ("stakeShare", "uint32"),
        ("watcher", "address"),
        ("arbiters", "address[]"),
        ("threshold", "uint8"),
        ("termsHash", "bytes32"),
    ],
    Offer: [
        ("farm", "address"),
        ("node", "address"),
        ("payee", "address"),
        ("deviceClass", "string"),
        ("price", "uint96"),
        ("capacity", "uint64"),
        ("stakeShare", "uint32"),
        ("expiry", "uint64"),
        ("number", "uint64"),
    ],
    Order: [
        ("job", "uint64"),
        ("offer", "bytes32"),
        ("cap", "uint128"),
        ("taskCap", "uint96"),
        ("claimTasks", "uint16"),
        ("salt", "uint64"),
    ],
    Raise: [("agreement", "bytes32"), ("cap", "uint128")],
    Voucher: [("agreement", "bytes32"), ("cumulative", "uint128"), ("acceptedRoot", "bytes32")],
    Release: [("agreement", "bytes32"), ("cumulative", "uint128")],
    Slash: [("agreement", "bytes32"), ("amount", "uint128"), ("price", "uint128"), ("reason", "bytes32")],
    Ruling: [("agreement", "bytes32"), ("extra", "uint128")],
    Withdrawal: [("slash", "bytes32")],
}
"""The EIP-712 types (MarketMessages.sol, Disputes.sol)."""
_OF_DISPUTES = (Slash, Ruling, Withdrawal)


class BadSignature(Forbidden):
    """A signature is missing, malformed, or not that of who should have signed."""

    code = "bad_signature"


def digest(message: Message, network: Network) -> bytes:
    """The 32 bytes that are signed. Raises InvalidInput for values that the contract's types do not hold."""
    hashed: bytes = _eth().messages._hash_eip191_message(_signable(message, network))
    return hashed


def struct_hash(message: Message) -> bytes:
    """The message's 32 bytes without a domain. Raises InvalidInput as `digest` does."""
    return bytes(_typed(message, {"name": "Any"}).body)


def agreement_id(order: Order, network: Network) -> str:
    """The id of the agreement that an order opens: its digest as hexadecimal digits."""
    return digest(order, network).hex()


def sign(message: Message, network: Network, key: bytes) -> str:
    """The signature as 0x and 130 hexadecimal digits. Raises InvalidInput as `digest` does."""
    signed = _eth().Account.sign_message(_signable(message, network), key)
    return "0x" + bytes(signed.signature).hex()


def signer(message: Message, network: Network, signature: str | None) -> str:
    """The address that signed `message`, with its checksum. Raises BadSignature for what is no canonical
    signature, InvalidInput as `digest` does.
    """
    signable = _signable(message, network)
    try:
        raw = bytes.fromhex((signature or "").removeprefix("0x"))
    except ValueError as error:
        raise BadSignature("The signature is no signature of anybody.") from error
    if len(raw) != 65 or int.from_bytes(raw[32:64], "big") > HALF_ORDER or raw[64] not in (27, 28):
        raise BadSignature("The signature is missing, or not in its one canonical form.")
    try:
        return str(_eth().Account.recover_message(signable, signature=raw))
    except Exception as error:  # the library raises many kinds for points that are not on the curve
        raise BadSignature("The signature is no signature of anybody.") from error


def require_signer(message: Message, network: Network, signature: str | None, address: str) -> None:
    """Raises BadSignature unless `address` signed `message`."""
    if signer(message, network, signature).lower() != address.lower():
        raise BadSignature(f"The signature is not that of {address}.")


def address_of(key: bytes) -> str:
    """The address a private key signs as, with its checksum."""
    return str(_eth().Account.from_key(key).address)


@cache
def _eth() -> ModuleType:
    """The library that signs, loaded when it is first needed. One of its own libraries raises Python's
    recursion limit beyond what a thread's stack holds, so that deep JSON would end the process.
    """
    limit = sys.getrecursionlimit()
    import eth_account  # noqa: PLC0415
    import eth_account.messages  # noqa: PLC0415

    sys.setrecursionlimit(limit)
    return eth_account


def _signable(message: Message, network: Network) -> Any:
    disputes = isinstance(message, _OF_DISPUTES)
    domain = {
        "name": "Render Disputes" if disputes else "Render Market",
        "version": "1",
        "chainId": network.chain_id,
        "verifyingContract": network.disputes if disputes else network.market,
    }
    return _typed(message, domain)


def _typed(message: Message, domain: dict[str, Any]) -> Any:
    kind = type(message)
    values = asdict(message)
    for name, solidity in TYPES[kind]:
        if solidity == "bytes32":
            values[name] = bytes.fromhex(values[name])
        elif solidity == "address[]":
            values[name] = list(values[name])
        elif solidity.startswith("uint") and not 0 <= values[name] < 1 << int(solidity[4:]):
            raise InvalidInput(f"{name} is {values[name]}, which {solidity} does not hold.")
    fields = [{"name": name, "type": solidity} for name, solidity in TYPES[kind]]
    return _eth().messages.encode_typed_data(domain, {kind.__name__: fields}, values)

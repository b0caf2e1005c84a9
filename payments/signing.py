# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing what is said about money as EIP-712 typed data, and who signed it.

The domain names the chain and the contract that will read it, so that nothing signed for one is worth
anything at another. Signatures are never used to tell two messages apart.
"""

from typing import Any

from farm_protocol import typed_data
from farm_protocol.typed_data import Fields, Signable
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

TYPES: dict[type, Fields] = {
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


def digest(message: Message, network: Network) -> bytes:
    """The 32 bytes that are signed. Raises InvalidInput for values that the contract's types do not hold."""
    return typed_data.digest_of(_signable(message, network))


def struct_hash(message: Message) -> bytes:
    """The message's 32 bytes without a domain. Raises InvalidInput as `digest` does."""
    return bytes(_typed(message, {"name": "Any"}).body)


def agreement_id(order: Order, network: Network) -> str:
    """The id of the agreement that an order opens: its digest as hexadecimal digits."""
    return digest(order, network).hex()


def sign(message: Message, network: Network, key: bytes) -> str:
    """The signature as 0x and 130 hexadecimal digits. Raises InvalidInput as `digest` does."""
    return typed_data.sign(_signable(message, network), key)


def signer(message: Message, network: Network, signature: str | None) -> str:
    """The address that signed `message`, with its checksum. Raises BadSignature for what is no canonical
    signature, InvalidInput as `digest` does.
    """
    return typed_data.signer_of(_signable(message, network), signature)


def require_signer(message: Message, network: Network, signature: str | None, address: str) -> None:
    """Raises BadSignature unless `address` signed `message`."""
    typed_data.require_signed_by(address, _signable(message, network), signature)


def _signable(message: Message, network: Network) -> Signable:
    disputes = isinstance(message, _OF_DISPUTES)
    domain = {
        "name": "Render Disputes" if disputes else "Render Market",
        "version": "1",
        "chainId": network.chain_id,
        "verifyingContract": network.disputes if disputes else network.market,
    }
    return _typed(message, domain)


def _typed(message: Message, domain: dict[str, Any]) -> Signable:
    return typed_data.signable(message, TYPES[type(message)], domain)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing what is said about money as EIP-712 typed data, and who signed it.

The domain names the chain and the contract that will read it, so that nothing signed for one is worth
anything at another. Signatures are never used to tell two messages apart.
"""

from typing import Any, TypeVar, get_args, get_type_hints

from farm_protocol import typed_data
from farm_protocol.typed_data import Fields, Signable
from payments.messages.network import Network
from payments.messages.promises import Message, Order, Ruling, Signed, Slash, Solidity, Withdrawal

M = TypeVar("M", bound=Message)


def _solidity(hint: Any) -> str:
    """The type that a field's annotation names."""
    return next(one.name for one in hint.__metadata__ if isinstance(one, Solidity))


TYPES: dict[type, Fields] = {
    kind: [(name, _solidity(hint)) for name, hint in get_type_hints(kind, include_extras=True).items()]
    for kind in get_args(Message)
}
"""The EIP-712 types (MarketMessages.sol, Disputes.sol): fields and their order are those of the records."""
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


def signed(message: M, network: Network, key: bytes) -> Signed[M]:
    """The message with its signature. Raises InvalidInput as `digest` does."""
    return Signed(message, sign(message, network, key))


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

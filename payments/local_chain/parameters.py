# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the parameters of JSON-RPC calls: nothing is believed to be of its kind, or of a sensible size."""

import re
from typing import Any

from eth_typing import Address

from payments.local_chain.errors import BadParameter
from payments.local_chain.evm import GAS_LIMIT, Call

_HEX = re.compile(r"0x([0-9a-fA-F]{2})*")
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,64}")
_TAGS = ("latest", "pending", "safe", "finalized")


def read_bytes(value: Any, name: str, length: int | None = None) -> bytes:
    """0x and pairs of hexadecimal digits, `length` bytes of them where that is given."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise BadParameter(f"{name} must be 0x and pairs of hexadecimal digits")
    raw = bytes.fromhex(value[2:])
    if length is not None and len(raw) != length:
        raise BadParameter(f"{name} must be {length} bytes, not {len(raw)}")
    return raw


def read_number(value: Any, name: str) -> int:
    """0x and up to 64 hexadecimal digits."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise BadParameter(f"{name} must be 0x and up to 64 hexadecimal digits")
    return int(value, 16)


def read_plain_number(value: Any, name: str) -> int:
    """A number as JSON has it, or as hexadecimal digits: control calls come both ways."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return value
    return read_number(value, name)


def read_address(value: Any, name: str) -> Address:
    """20 bytes."""
    return Address(read_bytes(value, name, 20))


def read_block(value: Any, last: int) -> int:
    """A block's number, by number or tag; None means the last one."""
    if value is None or value in _TAGS:
        return last
    return 0 if value == "earliest" else read_number(value, "block")


def read_call(value: Any) -> Call:
    """The transaction object of `eth_call` and `eth_estimateGas`."""
    if not isinstance(value, dict):
        raise BadParameter("the call must be an object")
    data = value.get("input", value.get("data")) or "0x"
    to = value.get("to")
    gas = read_number(value["gas"], "gas") if value.get("gas") else GAS_LIMIT
    return Call(
        sender=read_address(value.get("from") or "0x" + "00" * 20, "from"),
        to=read_address(to, "to") if to else b"",
        data=read_bytes(data, "data"),
        value=read_number(value.get("value") or "0x0", "value"),
        gas=min(gas, GAS_LIMIT),
    )


def read_topics(value: Any) -> tuple[frozenset[bytes] | None, ...]:
    """The topics of a log filter, by position: any of some, or None for whatever."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 4:
        raise BadParameter("topics must be a list of at most 4")
    return tuple(_read_topic(one) for one in value)


def read_addresses(value: Any) -> frozenset[bytes] | None:
    """The addresses of a log filter; None for whatever."""
    if value is None:
        return None
    many = value if isinstance(value, list) else [value]
    if len(many) > 100:
        raise BadParameter("a filter may name 100 addresses")
    return frozenset(read_address(one, "address") for one in many)


def _read_topic(value: Any) -> frozenset[bytes] | None:
    if value is None:
        return None
    many = value if isinstance(value, list) else [value]
    if len(many) > 100:
        raise BadParameter("a filter may name 100 topics at a place")
    return frozenset(read_bytes(one, "topic", 32) for one in many)

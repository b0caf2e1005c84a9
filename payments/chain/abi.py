# SPDX-License-Identifier: GPL-3.0-or-later
"""Records to the values of a contract call and back, by the names that its ABI has: nobody else needs to know
in which order a struct's fields are.

In records digests and bytes are hexadecimal digits. A field is called as in Solidity, or in snake case.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import convert

T = TypeVar("T")
Parameter = dict[str, Any]


def arguments(function: Parameter, given: Sequence[Any]) -> list[Any]:
    """What a function is called with. Raises InvalidInput for a digest that is none."""
    return [_value(one, parameter) for one, parameter in zip(given, function["inputs"], strict=True)]


def record(kind: type[T], function: Parameter, values: Sequence[Any]) -> T:
    """What a function returns, as a record."""
    fields = function["outputs"]
    fields = fields[0].get("components", fields) if len(fields) == 1 else fields
    named = {snake(field["name"]): plain(value) for field, value in zip(fields, values, strict=True)}
    return convert(named, kind)


def plain(value: Any) -> Any:
    """A value with hexadecimal digits for bytes."""
    return value.hex() if isinstance(value, bytes) else value


def snake(name: str) -> str:
    """`priceCap` as `price_cap`."""
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _value(value: Any, parameter: Parameter) -> Any:
    kind = parameter["type"]
    if kind.endswith("[]"):
        return [_value(one, parameter | {"type": kind[:-2]}) for one in value]
    if kind == "tuple":
        return tuple(_value(_field(value, one["name"]), one) for one in parameter["components"])
    if kind == "address":
        return _checksummed(value)
    if kind.startswith("bytes") and isinstance(value, str):
        return _bytes(value, 32 if kind == "bytes32" else None)
    return value


def _field(value: Any, name: str) -> Any:
    return getattr(value, name) if hasattr(value, name) else getattr(value, snake(name))


def _checksummed(address: str) -> str:
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 - loads long, and names need it not

    return to_checksum_address(address)


def _bytes(written: str, length: int | None) -> bytes:
    try:
        found = bytes.fromhex(written.removeprefix("0x"))
    except ValueError:
        found = None
    if found is None or length not in (None, len(found)):
        raise InvalidInput(f"'{written[:80]}' is not {length or 'some'} bytes in hexadecimal digits.")
    return found

# SPDX-License-Identifier: GPL-3.0-or-later
"""Amounts of a token as people write them: exact, in decimal digits."""

import re

from farm_protocol.errors import InvalidInput
from payments.money import Wei

MOST = 1 << 128
"""Amounts are below this, as in the contracts."""
_AMOUNT = re.compile(r"([0-9]{1,60})(?:\.([0-9]{1,60}))?")


def parse(text: str, decimals: int) -> Wei:
    """`12.5` in the smallest unit of a token with so many decimals. Raises InvalidInput for what is no
    amount, is finer than the token, or is more than there can be.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"'{text[:40]}' is no amount: write digits, as in 12.5.")
    whole, part = match[1], (match[2] or "").rstrip("0")
    if len(part) > decimals:
        raise InvalidInput(f"'{text[:40]}' is finer than the token, which has {decimals} decimals.")
    amount = int(whole + part.ljust(decimals, "0"))
    if amount >= MOST:
        raise InvalidInput(f"'{text[:40]}' is more than there can be.")
    return Wei(amount)


def format(amount: int, decimals: int) -> str:  # noqa: A001 - amounts.format says what it is
    """The amount with its point, exactly, without zeros at the end."""
    sign, digits = "-" if amount < 0 else "", str(abs(amount)).rjust(decimals + 1, "0")
    whole, part = digits[: len(digits) - decimals], digits[len(digits) - decimals :].rstrip("0")
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"

# SPDX-License-Identifier: GPL-3.0-or-later
"""How numbers of things are written."""


def counted(number: int, thing: str) -> str:
    """`1 frame`, `2 frames`; for things whose plural is made with an s."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"

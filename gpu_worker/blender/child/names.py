# SPDX-License-Identifier: GPL-3.0-or-later
"""Names out of a stranger's file, made fit to print."""

LONGEST = 1000
"""Characters kept of any name from the file."""


def text(value: str) -> str:
    """A name from the file, bounded and without control characters."""
    if len(value) <= LONGEST and value.isprintable():
        return value
    return "".join(c if c.isprintable() else "?" for c in value[:LONGEST])

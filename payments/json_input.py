# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON from strangers. Libraries beneath this package raise Python's recursion limit beyond what a thread's
stack holds, so that deep JSON would end the process instead of raising an exception.
"""

import json
from typing import Any

MOST_BRACKETS = 1000
"""Opening ones."""


def read_json(data: bytes) -> Any:
    """The value. Raises ValueError for what is no JSON, or has more than `MOST_BRACKETS`."""
    if data.count(b"[") + data.count(b"{") > MOST_BRACKETS:
        raise ValueError(f"more than {MOST_BRACKETS} brackets")
    return json.loads(data)

# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's session key: made from the farm's signing key, so that nothing has to be kept or can be lost."""

import hashlib
import hmac

from farm_protocol.ids import JobId
from farm_protocol.typed_data import ORDER


def session_key(farm_key: bytes, job: JobId) -> bytes:
    """The 32 secret bytes that sign orders, raises and vouchers of this job and of no other."""
    for attempt in range(256):
        found = hmac.new(farm_key, b"session" + bytes([attempt]) + job.encode(), hashlib.sha256).digest()
        if 0 < int.from_bytes(found, "big") < ORDER:
            return found
    raise AssertionError("Such a hash has never been seen.")

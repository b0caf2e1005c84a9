# SPDX-License-Identifier: GPL-3.0-or-later
"""What this node has signed already, so that nobody can make it contradict itself.

Two attestations with different pixels under one lease are proof of cheating. A farm that hands the same
lease out twice, with another scene behind it, would get that proof from an honest node.
"""

import hashlib
import os
import threading
from pathlib import Path

from farm_protocol.documents import Attestation
from farm_protocol.errors import Conflict, InvalidInput

HALF = 16
RECORD = 2 * HALF
"""Bytes: the first half of a sha256 that names the lease, and of one that names what was signed."""


class Contradiction(Conflict):
    """Something else was signed for the same lease."""

    code = "contradiction"


class Signed:
    """The leases signed for, in memory and in the file `path`, which outlives the node. Raises InvalidInput
    where that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise InvalidInput(
                f"{path}, in which this node keeps what it has signed, cannot be read ({error.strerror}): "
                "put it in order. Without it the node might sign twice, which is taken for cheating."
            ) from error
        # The end of a file that a power cut left may be part of a record; what it was for was never signed.
        self._size = len(data) - len(data) % RECORD
        self._known = {
            data[at : at + HALF]: data[at + HALF : at + RECORD] for at in range(0, self._size, RECORD)
        }

    def remember(self, message: Attestation, farm: str) -> None:
        """Call before signing. Raises Contradiction, and OSError where the record cannot be kept."""
        lease = _half(f"{farm.lower()} {message.token} {message.task}")
        content = _half(f"{message.pixelRoot} {message.object}")
        with self._lock:
            before = self._known.get(lease)
            if before is None:
                self._append(lease + content)
                self._known[lease] = content
            elif before != content:
                raise Contradiction(
                    f"This node has signed other pixels for task {message.task} under the same lease: a node "
                    f"that signs twice is taken for a cheat."
                )

    def _append(self, record: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.pwrite(descriptor, record, self._size) != RECORD:
                raise OSError("the disk is full")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._size += RECORD


def _half(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:HALF]

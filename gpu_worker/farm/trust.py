# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node without a sandbox opens: what its own user made, by the word of the farm that its user named.

The farm shows with every answer that decides what is opened that it holds the key it was named by. The
address it answers at proves nothing: a loopback port may be a tunnel's, or another program's.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

from farm_protocol.documents import FarmAnswer
from farm_protocol.errors import Forbidden, InvalidInput
from farm_protocol.ids import OwnerId
from farm_protocol.typed_data import BadSignature
from verification.protocol.attestation import require_signer

KEY = re.compile("0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Trust:
    """The farm, by the address it signs as, and the owner whose scenes are opened without a sandbox."""

    farm: str
    owner: OwnerId


def required_trust(farm: str, owner: str) -> Trust:
    """What a node without a sandbox was told. Raises InvalidInput where it was not told enough."""
    if not farm or not owner:
        raise InvalidInput(
            "Without a sandbox this node opens only what its own user made, and nobody said whose that is. "
            "Make the sandbox work (`gpu-worker doctor` says what is missing), or name your own farm and "
            "yourself with --trust-farm KEY --owner NAME, as `render-farm node add` prints them."
        )
    if not KEY.fullmatch(farm):
        raise InvalidInput(f"--trust-farm is '{farm[:80]}', but must be a farm's address: 0x and 40 digits.")
    return Trust(farm, OwnerId(owner))


class Proof:
    """Has the farm show its key with an answer: `challenge` goes there, what comes back is `check`ed."""

    def __init__(self, farm: str) -> None:
        self._farm = farm

    def challenge(self) -> str:
        """32 bytes that nobody has seen before, hexadecimal."""
        return secrets.token_hex(32)

    def check(self, challenge: str, answer: bytes, signature: str | None) -> None:
        """Raises Forbidden unless the trusted farm signed this answer to this challenge."""
        told = FarmAnswer(challenge, hashlib.sha256(answer).hexdigest())
        try:
            require_signer(told, self._farm, signature, self._farm)
        except BadSignature as error:
            raise Forbidden(
                f"What answers here does not show that it is the farm {self._farm}, which this node was told "
                "to trust: nothing is opened without a sandbox."
            ) from error

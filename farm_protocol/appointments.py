# SPDX-License-Identifier: GPL-3.0-or-later
"""What node and farm agree on before either can know whether a result is audited.

The farm says its terms while it does not know what will be signed; the node signs them together with a
number that it alone knows. What is audited, where and by whom is drawn from that and a value that is out
later.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.fields import Digest, Seconds

MILLION = 1_000_000
Rate = Annotated[int, msgspec.Meta(ge=0, le=MILLION)]
RoundNumber = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """What the farm offers a result to be decided by: beacon round `round`, with a chance of `rate` in a
    million. `commitment` is the sha256 of the round's value (hexadecimal), or zeros where its beacon makes
    none. The farm takes the result under these terms for `closes_in` seconds more, and the round is out in
    `out_in` seconds.
    """

    round: RoundNumber
    commitment: Digest
    rate: Rate
    closes_in: Seconds
    out_in: Seconds


@dataclass(frozen=True, slots=True)
class Appointment:
    """A node says: these terms are to decide about what I attested. `attestation` is its digest, `salt` 32
    bytes by chance; both hexadecimal. `attempt` counts, from 1, the terms that the node accepted for this
    attestation: where the first came to nothing, it is audited for certain.
    """

    attestation: Digest
    salt: Digest
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
    round: RoundNumber
    commitment: Digest
    rate: Rate

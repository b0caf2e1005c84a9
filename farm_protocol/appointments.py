# SPDX-License-Identifier: GPL-3.0-or-later
"""What node and farm agree on before either can know whether a result is audited.

The farm says its terms while it does not know what will be signed; the node signs them together with a
number that it alone knows. What is audited, where and by whom is drawn from that and a value that is out
later.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.fields import Digest, Seconds, about

MILLION = 1_000_000
Rate = Annotated[int, msgspec.Meta(ge=0, le=MILLION)]
RoundNumber = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """What the farm offers a result to be decided by."""

    round: Annotated[RoundNumber, about("number of the beacon round that decides")]
    commitment: Annotated[Digest, about("sha256 of the round's value, or zeros where its beacon makes none")]
    rate: Annotated[Rate, about("chance of an audit, in a million")]
    closes_in: Annotated[Seconds, about("for how many seconds a result is taken under these terms")]
    out_in: Annotated[Seconds, about("in how many seconds the round is out")]


@dataclass(frozen=True, slots=True)
class Appointment:
    """A node says: these terms are to decide about what I attested."""

    attestation: Annotated[Digest, about("digest of what the node attested, hexadecimal")]
    salt: Annotated[Digest, about("32 bytes by chance, hexadecimal")]
    attempt: Annotated[
        int,
        msgspec.Meta(ge=1, le=1 << 31),
        about("which of the terms the node accepted for it, from 1: from 2 on it is audited for certain"),
    ]
    round: Annotated[RoundNumber, about("number of the beacon round")]
    commitment: Annotated[Digest, about("sha256 of the round's value, or zeros where its beacon makes none")]
    rate: Annotated[Rate, about("chance of an audit, in a million")]

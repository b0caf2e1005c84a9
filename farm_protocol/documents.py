# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: N815 - EIP-712 names are in camel case
"""What nodes and the farm sign about work, and its EIP-712 types; `verification.protocol.attestation` signs
them.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.appointments import Appointment, Rate
from farm_protocol.fields import Digest, Name, about
from farm_protocol.typed_data import Fields

Whole = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A node shows that it holds the key of `address`; `node` is its id at the farm."""

    node: str
    address: str


@dataclass(frozen=True, slots=True)
class Attestation:
    """A node says: under this lease I rendered these pixels and stored them as this object."""

    task: Annotated[Name, about("id of the task")]
    token: Annotated[Whole, about("fencing token of the lease")]
    pixelRoot: Annotated[Digest, about("pixel root of what was rendered, hexadecimal")]
    object: Annotated[Digest, about("sha256 of the result's first file, hexadecimal")]
    deviceClass: Annotated[Name, about("the kind of device, by which bits are equal")]
    build: Annotated[Name, about("build of Blender")]
    renderMilliseconds: Annotated[Whole, about("pure Cycles time, milliseconds")]


@dataclass(frozen=True, slots=True)
class Submission:
    """The farm says: I had this attestation (its digest, hexadecimal) at this time in milliseconds since
    the epoch. The rest is as in the node's appointment, from which everything is drawn: nothing that
    the farm alone says here decides anything.
    """

    attestation: Annotated[Digest, about("digest of the attestation, hexadecimal")]
    time: Annotated[Whole, about("when the farm had it, milliseconds since the epoch")]
    round: Annotated[Whole, about("number of the beacon round")]
    commitment: Annotated[Digest, about("sha256 of the round's value, or zeros where its beacon makes none")]
    rate: Annotated[Rate, about("chance of an audit, in a million")]


@dataclass(frozen=True, slots=True)
class LogHead:
    """The farm says: what beacon round `round` decides about are leaves of my log's first `size`, under
    `root`. It is signed one round before that round is out.
    """

    round: Whole
    size: Whole
    root: Digest


@dataclass(frozen=True, slots=True)
class FarmAnswer:
    """The farm says: this answer (its sha256) is mine, to whoever asked with this challenge. Both are
    hexadecimal. A node without a sandbox wants to see it.
    """

    challenge: Digest
    answer: Digest


TYPES: dict[type, Fields] = {
    Enrolment: [("node", "string"), ("address", "address")],
    Attestation: [
        ("task", "string"),
        ("token", "uint64"),
        ("pixelRoot", "bytes32"),
        ("object", "bytes32"),
        ("deviceClass", "string"),
        ("build", "string"),
        ("renderMilliseconds", "uint64"),
    ],
    Submission: [
        ("attestation", "bytes32"),
        ("time", "uint64"),
        ("round", "uint64"),
        ("commitment", "bytes32"),
        ("rate", "uint32"),
    ],
    Appointment: [
        ("attestation", "bytes32"),
        ("salt", "bytes32"),
        ("attempt", "uint32"),
        ("round", "uint64"),
        ("commitment", "bytes32"),
        ("rate", "uint32"),
    ],
    LogHead: [("round", "uint64"), ("size", "uint64"), ("root", "bytes32")],
    FarmAnswer: [("challenge", "bytes32"), ("answer", "bytes32")],
}
"""The EIP-712 types. Receipts of frames are signed as documents (`verification/receipts/receipt.py`)."""

Signed = Enrolment | Attestation | Appointment | Submission | LogHead | FarmAnswer

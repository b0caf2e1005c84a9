# SPDX-License-Identifier: GPL-3.0-or-later
"""What is signed about money, as the contracts read it (payments/contracts/src/MarketMessages.sol), and how
it goes over the wire. `payments/signing.py` signs these and says who signed.

Field names are those of the EIP-712 types. Digests are hexadecimal without 0x; amounts are in the token's
smallest unit; times in seconds since the epoch.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Address, Digest, Name, Signature
from farm_protocol.ids import JobId

M = TypeVar("M")
Amount = Annotated[int, msgspec.Meta(ge=0)]
"""Of a token; `signing.py` refuses what the contract's type does not hold."""
Number64 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Share = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
"""In ten-thousandths."""
Units = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""Work in millionths of a render unit (`payments/pricing.py`)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job is opened with, signed by the farm. `name` is the job's id at the farm as 32 bytes."""

    client: Address
    refundTo: Address  # noqa: N815 - EIP-712 names are in camel case
    farm: Address
    name: Digest
    deadline: Number64
    sessionKey: Address  # noqa: N815
    priceCap: Amount  # noqa: N815
    stakeShare: Share  # noqa: N815
    watcher: Address
    arbiters: Annotated[tuple[Address, ...], msgspec.Meta(max_length=16)]
    threshold: Annotated[int, msgspec.Meta(ge=0, le=16)]
    termsHash: Digest  # noqa: N815


@dataclass(frozen=True, slots=True)
class Offer:
    """What an operator sells, signed by it: `price` of a render unit, `capacity` in render units."""

    farm: Address
    node: Address
    payee: Address
    deviceClass: Name  # noqa: N815
    price: Amount
    capacity: Number64
    stakeShare: Share  # noqa: N815
    expiry: Number64
    number: Number64


@dataclass(frozen=True, slots=True)
class Order:
    """A job takes an offer (its struct hash), signed by the job's session key. Its digest is the
    agreement's id. `job` is the job's number in the contract.
    """

    job: Number64
    offer: Digest
    cap: Amount
    taskCap: Amount  # noqa: N815
    claimTasks: Annotated[int, msgspec.Meta(ge=0, le=65_535)]  # noqa: N815
    salt: Number64


@dataclass(frozen=True, slots=True)
class Raise:
    """The cap of an agreement grows to `cap`, signed by the session key."""

    agreement: Digest
    cap: Amount


@dataclass(frozen=True, slots=True)
class Voucher:
    """All that was earned under an agreement so far, signed by the session key. `acceptedRoot` is that of
    the sum tree over it (`payments/accepted_tree.py`).
    """

    agreement: Digest
    cumulative: Amount
    acceptedRoot: Digest  # noqa: N815


@dataclass(frozen=True, slots=True)
class Release:
    """The operator gives up what its agreement could still earn once `cumulative` is paid."""

    agreement: Digest
    cumulative: Amount


@dataclass(frozen=True, slots=True)
class Slash:
    """The arbiters take stake from behind an agreement (contract Disputes)."""

    agreement: Digest
    amount: Amount
    price: Amount
    reason: Digest


@dataclass(frozen=True, slots=True)
class Ruling:
    """The arbiters say how much of a contested claim stands (contract Disputes)."""

    agreement: Digest
    extra: Amount


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The arbiters take a proposed slash back (contract Disputes)."""

    slash: Digest


Message = Terms | Offer | Order | Raise | Voucher | Release | Slash | Ruling | Withdrawal


@dataclass(frozen=True, slots=True)
class SignedTerms:
    """A job's terms with the farm's signature."""

    message: Terms
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedOffer:
    """An offer with its operator's signature."""

    message: Offer
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order with its session key's signature."""

    message: Order
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedRaise:
    """A raise with its session key's signature."""

    message: Raise
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedVoucher:
    """A voucher with its session key's signature."""

    message: Voucher
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release with its operator's signature."""

    message: Release
    signature: Signature


@dataclass(frozen=True, slots=True)
class Credit:
    """One leaf of a voucher's tree: a task that is paid for. `task` is its id."""

    task: Name
    pixel_root: Digest
    amount: Amount


@dataclass(frozen=True, slots=True)
class Promise:
    """What the farm promises a node for one job, as it stands now: the newest of each. `credits` are the
    leaves that the voucher has beyond the promise before. `ended`: no more work comes, the operator may
    sign a `Release`.
    """

    job: JobId
    agreement: Digest
    terms: SignedTerms
    offer: SignedOffer
    order: SignedOrder
    cap_raise: SignedRaise | None = None
    voucher: SignedVoucher | None = None
    credits: tuple[Credit, ...] = ()
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Promises:
    """Answer to a node that asks what is new. `last`: where to go on asking."""

    promises: tuple[Promise, ...]
    last: Name


LONGEST_NAME = 31
"""Bytes of a job's id in its terms."""


def job_name(job: JobId) -> str:
    """A job's name in its terms: the id's bytes, with zeros after it. Raises InvalidInput where the contract
    would refuse it.
    """
    if not job.isalnum() or not job.isascii() or len(job) > LONGEST_NAME:
        raise InvalidInput(f"A job's id has 1 to {LONGEST_NAME} letters and digits, not '{job[:40]}'.")
    return job.encode().ljust(32, b"\0").hex()

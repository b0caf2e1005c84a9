# SPDX-License-Identifier: GPL-3.0-or-later
"""What is signed about money, as the contracts read it (payments/contracts/src/MarketMessages.sol), and how
it goes over the wire. `payments/messages/signing.py` signs these and says who signed.

Field names are those of the EIP-712 types. Digests are hexadecimal without 0x; amounts are in the token's
smallest unit; times in seconds since the epoch.
"""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import msgspec

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Address, Digest, Name, Signature
from farm_protocol.ids import JobId

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Solidity:
    """What a message's field is in Solidity; with it EIP-712 and the contracts know the field."""

    name: str


Amount = Annotated[int, msgspec.Meta(ge=0)]
"""Of a token; `signing.py` refuses what the contract's type does not hold."""
Amount96 = Annotated[Amount, Solidity("uint96")]
Amount128 = Annotated[Amount, Solidity("uint128")]
Number64 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1), Solidity("uint64")]
Share = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1), Solidity("uint32")]
"""In ten-thousandths."""
Text = Annotated[Name, Solidity("string")]
EthAddress = Annotated[Address, Solidity("address")]
Bytes32 = Annotated[Digest, Solidity("bytes32")]
Units = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""Work in millionths of a render unit (`payments/accounting/pricing.py`)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job is opened with, signed by the farm. `name` is the job's id at the farm as 32 bytes."""

    client: EthAddress
    refundTo: EthAddress  # noqa: N815 - EIP-712 names are in camel case
    farm: EthAddress
    name: Bytes32
    deadline: Number64
    sessionKey: EthAddress  # noqa: N815
    priceCap: Amount96  # noqa: N815
    stakeShare: Share  # noqa: N815
    watcher: EthAddress
    arbiters: Annotated[tuple[Address, ...], msgspec.Meta(max_length=16), Solidity("address[]")]
    threshold: Annotated[int, msgspec.Meta(ge=0, le=16), Solidity("uint8")]
    termsHash: Bytes32  # noqa: N815


@dataclass(frozen=True, slots=True)
class Offer:
    """What an operator sells, signed by it: `price` of a render unit, `capacity` in render units."""

    farm: EthAddress
    node: EthAddress
    payee: EthAddress
    deviceClass: Text  # noqa: N815
    price: Amount96
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
    offer: Bytes32
    cap: Amount128
    taskCap: Amount96  # noqa: N815
    claimTasks: Annotated[int, msgspec.Meta(ge=0, le=65_535), Solidity("uint16")]  # noqa: N815
    salt: Number64


@dataclass(frozen=True, slots=True)
class Raise:
    """The cap of an agreement grows to `cap`, signed by the session key."""

    agreement: Bytes32
    cap: Amount128


@dataclass(frozen=True, slots=True)
class Voucher:
    """All that was earned under an agreement so far, signed by the session key. `acceptedRoot` is that of
    the sum tree over it (`payments/messages/accepted_tree.py`).
    """

    agreement: Bytes32
    cumulative: Amount128
    acceptedRoot: Bytes32  # noqa: N815


@dataclass(frozen=True, slots=True)
class Release:
    """The operator gives up what its agreement could still earn once `cumulative` is paid."""

    agreement: Bytes32
    cumulative: Amount128


@dataclass(frozen=True, slots=True)
class Slash:
    """The arbiters take stake from behind an agreement (contract Disputes)."""

    agreement: Bytes32
    amount: Amount128
    price: Amount128
    reason: Bytes32


@dataclass(frozen=True, slots=True)
class Ruling:
    """The arbiters say how much of a contested claim stands (contract Disputes)."""

    agreement: Bytes32
    extra: Amount128


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The arbiters take a proposed slash back (contract Disputes)."""

    slash: Bytes32


Message = Terms | Offer | Order | Raise | Voucher | Release | Slash | Ruling | Withdrawal


@dataclass(frozen=True, slots=True)
class Signed(Generic[M]):
    """A message with its signature: terms are signed by the farm, offers and releases by the operator, the
    rest by the job's session key.
    """

    message: M
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
    terms: Signed[Terms]
    offer: Signed[Offer]
    order: Signed[Order]
    cap_raise: Signed[Raise] | None = None
    voucher: Signed[Voucher] | None = None
    credits: tuple[Credit, ...] = ()
    ended: bool = False

    @property
    def price(self) -> int:
        """Of a render unit."""
        return self.offer.message.price

    @property
    def cap(self) -> int:
        """The most that the agreement may earn as promised."""
        return self.cap_raise.message.cap if self.cap_raise else self.order.message.cap

    @property
    def vouched(self) -> int:
        """What the voucher says."""
        return self.voucher.message.cumulative if self.voucher else 0


@dataclass(frozen=True, slots=True)
class Promises:
    """Answer to a node that asks what is new. `last`: where to go on asking."""

    promises: tuple[Promise, ...]
    last: Name


NEVER_REVOKED = (1 << 64) - 1
"""Until when a session key signs that is not revoked (Jobs.sol)."""
LONGEST_NAME = 31
"""Bytes of a job's id in its terms."""


def job_name(job: JobId) -> str:
    """A job's name in its terms: the id's bytes, with zeros after it. Raises InvalidInput where the contract
    would refuse it.
    """
    if not job.isalnum() or not job.isascii() or len(job) > LONGEST_NAME:
        raise InvalidInput(f"A job's id has 1 to {LONGEST_NAME} letters and digits, not '{job[:40]}'.")
    return job.encode().ljust(32, b"\0").hex()

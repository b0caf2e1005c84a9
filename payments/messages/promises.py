# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: N815 - EIP-712 names are in camel case
"""What is signed about money, as the contracts read it (payments/contracts/src/MarketMessages.sol), and how
it goes over the wire. `payments/messages/signing.py` signs these and says who signed.

Field names are those of the EIP-712 types. Digests are hexadecimal without 0x; amounts are in the token's
smallest unit; times in seconds since the epoch.
"""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import msgspec

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Address, Digest, Name, Signature, about
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
    """What a job is opened with, signed by the farm."""

    client: Annotated[EthAddress, about("who pays, and may end the job")]
    refundTo: Annotated[EthAddress, about("where everything unspent goes")]
    farm: Annotated[EthAddress, about("address that the farm signs receipts of submission with")]
    name: Annotated[Bytes32, about("the job's id at the farm as 32 bytes, hexadecimal")]
    deadline: Annotated[Number64, about("no agreement is opened or raised after it, seconds since the epoch")]
    sessionKey: Annotated[EthAddress, about("address that signs orders, raises and vouchers of this job")]
    priceCap: Annotated[Amount96, about("the most a render unit may cost, in the token's smallest unit")]
    stakeShare: Annotated[Share, about("stake locked for what may still be earned, in ten-thousandths of it")]
    watcher: Annotated[EthAddress, about("who may contest claims beside the client; zero for nobody")]
    arbiters: Annotated[
        tuple[Address, ...],
        msgspec.Meta(max_length=16),
        Solidity("address[]"),
        about("who decide contested claims and slashes, in ascending order"),
    ]
    threshold: Annotated[
        int, msgspec.Meta(ge=0, le=16), Solidity("uint8"), about("how many arbiters must sign")
    ]
    termsHash: Annotated[Bytes32, about("digest of scene, settings and verification policy, hexadecimal")]


@dataclass(frozen=True, slots=True)
class Offer:
    """What an operator sells, signed by it."""

    farm: Annotated[EthAddress, about("address of the farm whose jobs it may be used for")]
    node: Annotated[EthAddress, about("address of the node whose attestations count under it")]
    payee: Annotated[EthAddress, about("who is paid")]
    deviceClass: Annotated[Text, about("the kind of device it is for")]
    price: Annotated[Amount96, about("price of a render unit, in the token's smallest unit")]
    capacity: Annotated[Number64, about("render units sold in all")]
    stakeShare: Annotated[
        Share, about("the most stake it locks, in ten-thousandths of what may still be earned")
    ]
    expiry: Annotated[Number64, about("no agreement is opened with it after that, seconds since the epoch")]
    number: Annotated[Number64, about("the operator's own count: one offer a number")]


@dataclass(frozen=True, slots=True)
class Order:
    """A job takes an offer (its struct hash), signed by the job's session key. Its digest is the agreement's
    id.
    """

    job: Annotated[Number64, about("the job's number in the contract")]
    offer: Annotated[Bytes32, about("struct hash of the offer, hexadecimal")]
    cap: Annotated[Amount128, about("the most that the agreement may pay for now")]
    taskCap: Annotated[Amount96, about("the most that one task may earn")]
    claimTasks: Annotated[
        int,
        msgspec.Meta(ge=0, le=65_535),
        Solidity("uint16"),
        about("how many tasks can be claimed without a voucher"),
    ]
    salt: Annotated[Number64, about("makes it unlike others")]


@dataclass(frozen=True, slots=True)
class Raise:
    """The cap of an agreement grows to `cap`, signed by the session key."""

    agreement: Annotated[Bytes32, about("id of the agreement: the digest of its order")]
    cap: Annotated[Amount128, about("the cap it grows to")]


@dataclass(frozen=True, slots=True)
class Voucher:
    """All that was earned under an agreement so far, signed by the session key."""

    agreement: Annotated[Bytes32, about("id of the agreement: the digest of its order")]
    cumulative: Annotated[Amount128, about("all that was earned under the agreement so far")]
    acceptedRoot: Annotated[Bytes32, about("root of the sum tree over it, hexadecimal")]


@dataclass(frozen=True, slots=True)
class Release:
    """The operator gives up what its agreement could still earn once `cumulative` is paid."""

    agreement: Annotated[Bytes32, about("id of the agreement: the digest of its order")]
    cumulative: Annotated[Amount128, about("with that paid the operator gives up what could still be earned")]


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

    message: Annotated[M, about("what is signed")]
    signature: Annotated[Signature, about("the signature of whom it must be from")]


@dataclass(frozen=True, slots=True)
class Credit:
    """One leaf of a voucher's tree: a task that is paid for."""

    task: Annotated[Name, about("id of the task")]
    pixel_root: Annotated[Digest, about("pixel root of what was accepted, hexadecimal")]
    amount: Annotated[Amount, about("what is earned by it")]


@dataclass(frozen=True, slots=True)
class Promise:
    """What the farm promises a node for one job, as it stands now: the newest of each."""

    job: Annotated[JobId, about("id of the job")]
    agreement: Annotated[Digest, about("id of the agreement: the digest of its order")]
    terms: Annotated[Signed[Terms], about("the job's terms")]
    offer: Annotated[Signed[Offer], about("the offer that was taken")]
    order: Annotated[Signed[Order], about("the order, of which the agreement comes")]
    cap_raise: Annotated[Signed[Raise] | None, about("the newest raise of its cap")] = None
    voucher: Annotated[Signed[Voucher] | None, about("the newest voucher")] = None
    credits: Annotated[
        tuple[Credit, ...], about("leaves that the voucher has beyond the promise before")
    ] = ()
    ended: Annotated[bool, about("whether no more work comes, so that a release may be signed")] = False

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
    """Answer to a node that asks what is new."""

    promises: Annotated[tuple[Promise, ...], about("the newest for each job")]
    last: Annotated[Name, about("where to go on asking")]


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contracts tell of jobs, each event with its own fields: amounts in the token's smallest unit,
times in seconds since the epoch, digests hexadecimal without 0x.

Names are those of the Solidity events. As JSON, with `kind` as its tag, a field may go by an older name:
books that are kept have it so.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec

from farm_protocol.fields import Name
from farm_protocol.ids import JobId
from payments.chain.abi import plain, snake
from payments.messages.promises import Amount, Number64

if TYPE_CHECKING:
    from payments.chain.rpc import Log


Uint64 = Annotated[int, msgspec.Meta(ge=0)]
"""Of a contract: strangers choose some, and those that no signed integer holds must be read as well."""


class ChainEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """One event. `event` is its name on the chain, the same whenever it is read; `after`: how many of the
    farm's own entries were in the job's book when it was taken in, so that the book can be made again in the
    same order.
    """

    event: Name = ""
    block: Number64 = 0
    transaction: Name = ""
    after: Number64 = 0

    @property
    def kind(self) -> str:
        """What books and statements call it."""
        return str(self.__struct_config__.tag)


class JobEvent(ChainEvent, frozen=True, kw_only=True):
    """About a job by its number in the market; older books do not say it, because the book is the job's."""

    job: Uint64 = 0


class AgreementEvent(ChainEvent, frozen=True):
    """About an agreement by its id."""

    agreement: Name


class JobOpened(
    JobEvent,
    frozen=True,
    kw_only=True,
    tag="opened",
    rename={"job": "total", "client": "who", "terms_hash": "mark"},
):
    """A job is there. `name` is its id at the farm as 32 bytes."""

    client: Name
    job: Uint64 = 0
    terms_hash: Name = ""
    farm: Name = ""
    name: Name = ""

    @property
    def id(self) -> JobId:
        """The job's id at its farm."""
        return JobId(bytes.fromhex(self.name).rstrip(b"\0").decode("ascii", "replace"))


class Funded(JobEvent, frozen=True, tag="funded"):
    """The budget grew."""

    amount: Amount


class Refunded(JobEvent, frozen=True, tag="refunded"):
    """What was not reserved went back."""

    amount: Amount


class SessionAppointed(JobEvent, frozen=True, tag="appointed", rename={"key": "who"}):
    """A key may sign for the job."""

    key: Name


class SessionRevoked(JobEvent, frozen=True, tag="revoked", rename={"key": "who", "valid_until": "total"}):
    """What a key signs counts until then."""

    key: Name
    valid_until: Uint64 = 0


class JobEnded(JobEvent, frozen=True, tag="ended", rename={"deadline": "total"}):
    """The client ended the job: its deadline is now."""

    deadline: Uint64


class AgreementOpened(
    AgreementEvent, frozen=True, tag="agreement", rename={"cap": "total", "operator": "who"}
):
    """An order was brought: so much is reserved in the budget."""

    cap: Amount
    operator: Name = ""
    job: Uint64 = 0


class CapRaised(AgreementEvent, frozen=True, tag="raised", rename={"cap": "total"}):
    """The agreement may earn up to `cap`."""

    cap: Amount


class Paid(AgreementEvent, frozen=True, tag="paid", rename={"cumulative": "total", "accepted_root": "mark"}):
    """`amount` was paid, `cumulative` in all."""

    cumulative: Amount
    amount: Amount = 0
    accepted_root: Name = ""


class AgreementClosed(AgreementEvent, frozen=True, tag="closed", rename={"paid": "total"}):
    """Nothing more is paid than was; what was reserved beside it is free."""

    paid: Amount


class ClaimFiled(AgreementEvent, frozen=True, tag="claimed", rename={"extra": "amount", "base": "total"}):
    """The operator claims `extra` beyond the voucher of `base`."""

    extra: Amount
    base: Amount


class ClaimStruck(AgreementEvent, frozen=True, tag="struck", rename={"task": "mark"}):
    """A claimed task was paid by the voucher already; `task` is its id's hash."""

    amount: Amount
    task: Name


class ClaimContested(
    AgreementEvent, frozen=True, tag="contested", rename={"bond": "amount", "contester": "who"}
):
    """Client or watcher deny a claim."""

    bond: Amount
    contester: Name


class ClaimRuled(AgreementEvent, frozen=True, tag="ruled", rename={"extra": "amount"}):
    """The arbiters let so much of a claim stand."""

    extra: Amount


class ClaimSettled(
    AgreementEvent, frozen=True, tag="claim_settled", rename={"extra": "amount", "cumulative": "total"}
):
    """`extra` stood, and `cumulative` is paid in all."""

    extra: Amount
    cumulative: Amount


class Locked(AgreementEvent, frozen=True, tag="locked", rename={"operator": "who"}):
    """Stake stands behind an agreement."""

    amount: Amount
    operator: Name = ""


class Unbonding(AgreementEvent, frozen=True, tag="unbonding"):
    """The stake behind a closed agreement is free from `release_at` on."""

    release_at: Uint64


class Freed(AgreementEvent, frozen=True, tag="freed"):
    """Stake stands behind the agreement no longer."""

    amount: Amount


class Slashed(AgreementEvent, frozen=True, tag="slashed", rename={"to_client": "total", "operator": "who"}):
    """`amount` of stake was taken from behind an agreement, of which the client got `to_client`: that is no
    part of the deposit.
    """

    amount: Amount
    to_client: Amount
    operator: Name = ""


class SlashProposed(
    AgreementEvent, frozen=True, tag="proposed", rename={"slash": "mark", "execute_at": "total"}
):
    """The arbiters want stake to be taken; it may be from `execute_at` on."""

    slash: Name
    amount: Amount
    execute_at: Uint64


class SlashExecuted(AgreementEvent, frozen=True, tag="executed", rename={"slash": "mark"}):
    """A slash was carried out."""

    slash: Name
    amount: Amount


class SlashWithdrawn(ChainEvent, frozen=True, tag="withdrawn", rename={"slash": "mark"}):
    """The arbiters took a slash back."""

    slash: Name


class Equivocation(
    AgreementEvent, frozen=True, tag="equivocation", rename={"task": "mark", "token": "total", "node": "who"}
):
    """A node signed two pictures of a task under one lease, whose token is `token`."""

    task: Name
    token: Uint64
    node: Name


AnyEvent = (
    JobOpened
    | Funded
    | Refunded
    | SessionAppointed
    | SessionRevoked
    | JobEnded
    | AgreementOpened
    | CapRaised
    | Paid
    | AgreementClosed
    | ClaimFiled
    | ClaimStruck
    | ClaimContested
    | ClaimRuled
    | ClaimSettled
    | Locked
    | Unbonding
    | Freed
    | Slashed
    | SlashProposed
    | SlashExecuted
    | SlashWithdrawn
    | Equivocation
)
MOVING = (Funded, Refunded, Paid, Slashed)
"""Events that say of tokens that they moved: their `amount`."""
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(AnyEvent)}


def decoded(logs: Iterable["Log"]) -> list[AnyEvent]:
    """The events that contracts wrote, without those that are about no job or agreement."""
    return [_decoded(log, _KINDS[log.name]) for log in logs if log.name in _KINDS]


def _decoded(log: "Log", kind: Any) -> AnyEvent:
    said = {snake(name): plain(value) for name, value in log.values.items()}
    if kind is Slashed:
        said |= {"amount": said["client"] + said["reporter"] + said["burned"], "to_client": said["client"]}
    said |= {"event": log.id, "block": log.block, "transaction": log.transaction}
    event: AnyEvent = kind(**{name: said[name] for name in kind.__struct_fields__ if name in said})
    return event

# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's money, made of entries and of nothing else: no clock, no chain, no store.

At every moment, to the unit: deposited = paid + owed + refunded + refundable. Entries may be
repeated, and those of the farm may come late among those of the chain: the balance is the same in the end.
An entry that cannot be is refused, and changes nothing. A task is paid for under one lease.
What was promised may be used before the chain has heard of it; what the chain says is held against the
chain's own figures alone, because it is so whatever was promised.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.ids import LeaseToken, TaskId
from payments.entries import (
    Accepted,
    Capped,
    Closed,
    Deposited,
    Entry,
    Paid,
    Promised,
    Refunded,
    Returned,
    Settled,
    Slashed,
)
from payments.money import Wei

T = TypeVar("T")
NOTHING = Wei(0)
MOST = 1 << 128
"""Amounts are below this, as in the contract."""
Lease = tuple[TaskId, LeaseToken]


class OverCap(Conflict):
    """More would be owed under an agreement than its cap: it must be raised first."""

    code = "over_cap"


class OverBudget(Conflict):
    """More would be reserved or taken back than is free."""

    code = "over_budget"


class NoAgreement(Conflict):
    """The chain has not said that this agreement is open, or has said that it is closed."""

    code = "no_agreement"


class Contradiction(Conflict):
    """The same thing was said before, and otherwise."""

    code = "contradiction"


@dataclass(frozen=True, slots=True)
class Balance:
    """Where a job's deposit is. `available` is what the client may take back now; the rest of `refundable`
    is reserved for work that is not owed yet.
    """

    deposited: Wei
    paid: Wei
    owed: Wei
    refunded: Wei
    refundable: Wei
    available: Wei


@dataclass(slots=True)
class Account:
    """One agreement. `cap` is the chain's, 0 before it is open there; `accepted`: earned by work that was
    accepted, owed or not yet; `credits`: what is owed or was paid, in the order in which it came to be owed,
    which is that of the voucher's tree.
    """

    cap: Wei = NOTHING
    promised: Wei = NOTHING
    paid: Wei = NOTHING
    closed: bool = False
    accepted: Wei = NOTHING
    credited: Wei = NOTHING
    credits: list[Accepted] = field(default_factory=list)

    @property
    def committed(self) -> Wei:
        """What it takes up of the budget on the chain."""
        return self.paid if self.closed else self.cap

    @property
    def limit(self) -> Wei:
        """What it may earn at most, and so what of the budget is spoken for."""
        return self.paid if self.closed else max(self.cap, self.promised)

    @property
    def owed(self) -> Wei:
        """Promised and not paid; nothing after the end."""
        return Wei(0) if self.closed else Wei(max(0, self.credited - self.paid))


class Ledger:
    """One job's ledger."""

    def __init__(self) -> None:
        self._deposits: dict[str, Wei] = {}
        self._refunds: dict[str, Wei] = {}
        self._slashes: dict[str, Slashed] = {}
        self._accounts: dict[str, Account] = {}
        self._accepted: dict[Lease, Accepted] = {}
        self._live: dict[TaskId, LeaseToken] = {}
        self._returned: set[Lease] = set()
        self._settled: set[int] = set()
        self._waiting: dict[int, dict[Lease, Accepted]] = {}

    def apply(self, entry: Entry) -> None:
        """Take an entry in. Raises Conflict, with nothing changed, for one that cannot be."""
        _check_amounts(entry)
        if isinstance(entry, Promised | Accepted | Returned | Settled):
            self._hear_farm(entry)
        else:
            self._hear_chain(entry)

    def balance(self) -> Balance:
        """Where the deposit is."""
        deposited = sum(self._deposits.values())
        refunded = sum(self._refunds.values())
        paid = sum(account.paid for account in self._accounts.values())
        owed = sum(account.owed for account in self._accounts.values())
        return Balance(
            deposited=Wei(deposited),
            paid=Wei(paid),
            owed=Wei(owed),
            refunded=Wei(refunded),
            refundable=Wei(deposited - refunded - paid - owed),
            available=self._available(),
        )

    def room(self, agreement: str) -> Wei:
        """How much more work may be accepted under an agreement. Raises NoAgreement."""
        account = self._account(agreement)
        return Wei(0) if account.closed else Wei(account.limit - account.accepted)

    def credits(self, agreement: str) -> tuple[Accepted, ...]:
        """What a voucher for the agreement is over, in its order. Raises NoAgreement."""
        return tuple(self._account(agreement).credits)

    def cumulative(self, agreement: str) -> Wei:
        """What a voucher for the agreement says; it never falls, and is never above the cap."""
        return self._account(agreement).credited

    def free(self) -> int:
        """What of the budget is neither used up nor promised. Below 0 where the chain has not kept what
        was promised: its client took the money back before the promise was there.
        """
        return self._budget() - sum(account.limit for account in self._accounts.values())

    def compensated(self) -> Wei:
        """What the client got out of operators' stake."""
        return Wei(sum(slash.to_client for slash in self._slashes.values()))

    def _hear_chain(self, entry: Deposited | Refunded | Slashed | Capped | Paid | Closed) -> None:
        match entry:
            case Deposited():
                _once(self._deposits, entry.event, entry.amount)
            case Refunded():
                self._refund(entry)
            case Slashed():
                _once(self._slashes, entry.event, entry)
            case Capped():
                self._cap(entry)
            case Paid():
                self._pay(entry)
            case Closed():
                self._on_chain(entry.agreement).closed = True

    def _hear_farm(self, entry: Promised | Accepted | Returned | Settled) -> None:
        match entry:
            case Promised():
                self._promise(entry)
            case Accepted():
                self._accept(entry)
            case Returned():
                self._return((entry.task, entry.token))
            case Settled():
                self._settle(entry.frame)

    def _budget(self) -> int:
        return sum(self._deposits.values()) - sum(self._refunds.values())

    def _available(self) -> Wei:
        return Wei(self._budget() - sum(account.committed for account in self._accounts.values()))

    def _refund(self, entry: Refunded) -> None:
        if entry.event not in self._refunds and entry.amount > self._available():
            raise OverBudget(f"{entry.amount} cannot have gone back: {self._available()} was free.")
        _once(self._refunds, entry.event, entry.amount)

    def _cap(self, entry: Capped) -> None:
        account = self._accounts.get(entry.agreement)
        before = account.cap if account else 0
        if entry.cap <= before:
            return
        if account is not None and account.closed:
            raise NoAgreement(f"Agreement {entry.agreement} is closed: its cap stays.")
        if entry.cap - before > self._available():
            raise OverBudget(f"{entry.cap - before} more cannot be reserved: {self._available()} is free.")
        self._accounts.setdefault(entry.agreement, Account()).cap = entry.cap

    def _promise(self, entry: Promised) -> None:
        account = self._accounts.setdefault(entry.agreement, Account())
        account.promised = max(account.promised, entry.cap)

    def _pay(self, entry: Paid) -> None:
        account = self._on_chain(entry.agreement)
        if entry.cumulative <= account.paid:
            return
        if account.closed:
            raise NoAgreement(f"Agreement {entry.agreement} is closed: nothing more was paid under it.")
        if entry.cumulative > account.cap:
            raise OverCap(f"{entry.cumulative} was not paid under a cap of {account.cap}.")
        account.paid = entry.cumulative

    def _accept(self, entry: Accepted) -> None:
        lease = (entry.task, entry.token)
        if lease in self._accepted or lease in self._returned:
            _check_same(self._accepted.get(lease, entry), entry)
            return
        if self._live.get(entry.task, entry.token) != entry.token:
            raise Contradiction(f"{entry.task} was accepted under another lease, and is paid for once.")
        account = self._account(entry.agreement)
        if account.closed:
            raise NoAgreement(f"Agreement {entry.agreement} is closed: no work is accepted under it.")
        if account.accepted + entry.amount > account.limit:
            raise OverCap(
                f"{entry.task} earns {entry.amount}, and its agreement has {self.room(entry.agreement)}."
            )
        self._accepted[lease] = entry
        self._live[entry.task] = entry.token
        account.accepted = Wei(account.accepted + entry.amount)
        if entry.frame is None or entry.frame in self._settled:
            _credit(account, entry)
        else:
            self._waiting.setdefault(entry.frame, {})[lease] = entry

    def _return(self, lease: Lease) -> None:
        entry = self._accepted.get(lease)
        if entry is None or lease in self._returned:
            self._returned.add(lease)
            return
        if entry.frame is None or entry.frame in self._settled:
            raise Contradiction(f"{entry.task} is owed already: its frame is settled.")
        self._returned.add(lease)
        del self._waiting[entry.frame][lease], self._live[entry.task]
        account = self._accounts[entry.agreement]
        account.accepted = Wei(account.accepted - entry.amount)

    def _settle(self, frame: int) -> None:
        self._settled.add(frame)
        for entry in self._waiting.pop(frame, {}).values():
            _credit(self._accounts[entry.agreement], entry)

    def _account(self, agreement: str) -> Account:
        account = self._accounts.get(agreement)
        if account is None:
            raise NoAgreement(f"Agreement {agreement} was neither promised nor is it on the chain yet.")
        return account

    def _on_chain(self, agreement: str) -> Account:
        account = self._accounts.get(agreement)
        if account is None or account.cap == 0:
            raise NoAgreement(f"There is no agreement {agreement} on the chain yet.")
        return account


def _credit(account: Account, entry: Accepted) -> None:
    account.credits.append(entry)
    account.credited = Wei(account.credited + entry.amount)


def _once(said: dict[str, T], name: str, value: T) -> None:
    _check_same(said.setdefault(name, value), value)


def _check_amounts(entry: Entry) -> None:
    for name in ("amount", "cap", "cumulative", "to_client"):
        if not 0 <= getattr(entry, name, 0) < MOST:
            raise InvalidInput(f"{getattr(entry, name)} is no amount: {name} must be 0 or more, below 2^128.")


def _check_same(before: object, now: object) -> None:
    if before != now:
        raise Contradiction(f"{now} was said before, as {before}.")

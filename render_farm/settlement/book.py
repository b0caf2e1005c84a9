# SPDX-License-Identifier: GPL-3.0-or-later
"""A paid job's book: what the farm and the chain said of it, in one order, with the ledger over it.

Made of entries and promises alone, so that it is the same whenever it is made again. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from farm_protocol.errors import Conflict
from farm_protocol.ids import JobId, LeaseToken, NodeId, TaskId
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
from payments.ledger import Ledger
from payments.money import Wei
from payments.pricing import reward
from payments.promises import Credit, Promise
from render_farm.settlement.chain_entries import ChainEntry, FarmEntry
from render_farm.settlement.escrow import Escrow


@dataclass(frozen=True, slots=True)
class Held:
    """An agreement that the farm promised a node, as it was promised last. `operator` is the wallet that
    signed its offer.
    """

    node: NodeId
    own: bool
    operator: str
    promise: Promise

    @property
    def agreement(self) -> str:
        """Its id."""
        return self.promise.agreement

    @property
    def price(self) -> int:
        """Of a render unit."""
        return self.promise.offer.message.price

    @property
    def cap(self) -> Wei:
        """What it may earn as promised."""
        raised = self.promise.cap_raise
        return Wei(raised.message.cap if raised else self.promise.order.message.cap)


@dataclass(slots=True)
class Frame:
    """What was accepted of a frame."""

    tiles: int = 0
    units: int = 0
    amount: int = 0
    settled: bool = False


@dataclass(slots=True)
class Work:
    """What was accepted of a node's."""

    tiles: int = 0
    audits: int = 0
    units: int = 0
    audits_amount: int = 0
    largest: int = 0


@dataclass(slots=True)
class Book:
    """One job's book. `farm_entries`, `chain_entries`: how many of each are in it. `refused`: entries that
    contradict the others, as sentences; the rest goes on without them.
    """

    job: JobId
    ledger: Ledger = field(default_factory=Ledger)
    held: dict[str, Held] = field(default_factory=dict)
    escrow: Escrow = field(default_factory=Escrow)
    frames: dict[int, Frame] = field(default_factory=dict)
    work: dict[tuple[str, str], Work] = field(default_factory=dict)
    accepted: dict[tuple[str, int], FarmEntry] = field(default_factory=dict)
    rejected: list[FarmEntry] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    events: set[str] = field(default_factory=set)
    farm_entries: int = 0
    chain_entries: int = 0

    def promise(self, held: Held) -> None:
        """The farm promised this, or more of it."""
        self.held[held.agreement] = held
        self.ledger.apply(Promised(held.agreement, held.cap))

    def replay(self, farm: Sequence[FarmEntry], chain: Sequence[ChainEntry]) -> None:
        """Take in all that was kept, in the order in which it was taken in first."""
        done = 0
        for entry in chain:
            for mine in farm[done : max(done, entry.after)]:
                self.take_farm(mine)
            done = max(done, min(entry.after, len(farm)))
            self.take_chain(entry)
        for mine in farm[done:]:
            self.take_farm(mine)

    def take_farm(self, entry: FarmEntry) -> None:
        """Take in what the farm's scripts wrote."""
        self.farm_entries += 1
        match entry.kind:
            case "accepted":
                self._accept(entry)
            case "returned":
                self._return(entry)
            case "settled" if entry.frame is not None:
                self.frames.setdefault(entry.frame, Frame()).settled = True
                self._apply(Settled(entry.frame))
            case "rejected":
                self.rejected.append(entry)

    def take_chain(self, entry: ChainEntry) -> None:
        """Take in what the chain said."""
        self.chain_entries += 1
        if entry.event in self.events:
            return
        self.events.add(entry.event)
        applied = _as_ledger(entry)
        if applied is not None:
            self._apply(applied)
        self.escrow.take(entry)

    def earned(self, entry: FarmEntry) -> Wei:
        """What work under an agreement earns at its offer's price."""
        return reward(entry.units, self.held[entry.agreement].price)

    def cumulative(self, agreement: str) -> Wei:
        """What a voucher says now: never above what was promised or is on the chain."""
        return self.ledger.cumulative(agreement)

    def credits(self, agreement: str) -> tuple[Credit, ...]:
        """The leaves of that voucher's tree. Work that earns nothing is none of them."""
        found = self.ledger.credits(agreement)
        return tuple(Credit(one.task, one.pixel_root, one.amount) for one in found if one.amount)

    def has_claim(self, agreement: str) -> bool:
        """Whether a claim under it is pending."""
        found = self.escrow.agreements.get(agreement)
        return found is not None and found.claim is not None

    def strangers(self) -> list[str]:
        """Agreements on the chain that the farm never ordered."""
        return [agreement for agreement in self.escrow.agreements if agreement not in self.held]

    def _accept(self, entry: FarmEntry) -> None:
        held = self.held.get(entry.agreement)
        amount = reward(entry.units, held.price) if held else Wei(0)
        if held is not None and not self._apply(_accepted(entry, amount)):
            return
        if (entry.task, entry.token) in self.accepted:
            return
        self.accepted[(entry.task, entry.token)] = entry
        self._count(entry, amount, 1)

    def _return(self, entry: FarmEntry) -> None:
        before = self.accepted.pop((entry.task, entry.token), None)
        if before is None or not self._apply(Returned(TaskId(entry.task), LeaseToken(entry.token))):
            return
        amount = self.earned(before) if before.agreement in self.held else Wei(0)
        self._count(before, amount, -1)

    def _count(self, entry: FarmEntry, amount: int, sign: int) -> None:
        work = self.work.setdefault((entry.node, entry.agreement), Work())
        work.units += sign * entry.units
        work.largest = max(work.largest, entry.units)
        if entry.frame is None:
            work.audits += sign
            work.audits_amount += sign * amount
            return
        work.tiles += sign
        frame = self.frames.setdefault(entry.frame, Frame())
        frame.tiles += sign
        frame.units += sign * entry.units
        frame.amount += sign * amount

    def _apply(self, entry: Entry) -> bool:
        try:
            self.ledger.apply(entry)
        except Conflict as error:
            self.refused.append(error.sentence)
            return False
        return True


def _accepted(entry: FarmEntry, amount: Wei) -> Accepted:
    return Accepted(
        TaskId(entry.task), LeaseToken(entry.token), entry.agreement, amount, entry.root, entry.frame
    )


def _as_ledger(entry: ChainEntry) -> Entry | None:
    """What the ledger is told of an entry of the chain."""
    made = _ENTRIES.get(entry.kind)
    return made(entry) if made else None


_ENTRIES: dict[str, Callable[[ChainEntry], Entry]] = {
    "funded": lambda entry: Deposited(entry.event, Wei(entry.amount)),
    "refunded": lambda entry: Refunded(entry.event, Wei(entry.amount)),
    "agreement": lambda entry: Capped(entry.agreement, Wei(entry.total)),
    "raised": lambda entry: Capped(entry.agreement, Wei(entry.total)),
    "paid": lambda entry: Paid(entry.agreement, Wei(entry.total)),
    "closed": lambda entry: Closed(entry.agreement),
    "slashed": lambda entry: Slashed(entry.event, entry.agreement, Wei(entry.amount), Wei(entry.total)),
}

# SPDX-License-Identifier: GPL-3.0-or-later
"""A paid job's ledger: what the farm and the chain said of it, in one order, with the accounts over it.

Made of entries and promises alone, so that it is the same whenever it is made again. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from farm_protocol.errors import Conflict
from farm_protocol.ids import JobId, LeaseToken, TaskId
from payments.accounting.entries import Accepted, Entry, Promised, Returned, Settled
from payments.accounting.ledger import Ledger
from payments.accounting.pricing import reward
from payments.chain.chain_events import AnyEvent
from payments.messages.promises import Credit
from payments.messages.units import Wei
from render_farm.settlement.escrow import Escrow
from render_farm.settlement.farm_entries import FarmEntry
from render_farm.store.money import Agreement


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
class JobLedger:
    """One job's ledger. `farm_entries`, `chain_entries`: how many of each are in it. `refused`: entries that
    contradict the others, as sentences; the rest goes on without them.
    """

    job: JobId
    accounts: Ledger = field(default_factory=Ledger)
    held: dict[str, Agreement] = field(default_factory=dict)
    escrow: Escrow = field(default_factory=Escrow)
    frames: dict[int, Frame] = field(default_factory=dict)
    work: dict[tuple[str, str], Work] = field(default_factory=dict)
    accepted: dict[tuple[str, int], FarmEntry] = field(default_factory=dict)
    rejected: list[FarmEntry] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    events: set[str] = field(default_factory=set)
    farm_entries: int = 0
    chain_entries: int = 0

    def promise(self, held: Agreement) -> None:
        """The farm promised this, or more of it."""
        self.held[held.agreement] = replace(held, chain=self.escrow.of(held.agreement))
        self.accounts.apply(Promised(held.agreement, held.cap))

    def replay(self, farm: Sequence[FarmEntry], chain: Sequence[AnyEvent]) -> None:
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

    def take_chain(self, event: AnyEvent) -> None:
        """Take in what the chain said."""
        self.chain_entries += 1
        if event.event in self.events:
            return
        self.events.add(event.event)
        self._apply(event)
        self.escrow.take(event)

    def earned(self, entry: FarmEntry) -> Wei:
        """What work under an agreement earns at its offer's price."""
        return reward(entry.units, self.held[entry.agreement].price)

    def cumulative(self, agreement: str) -> Wei:
        """What a voucher says now: never above what was promised or is on the chain."""
        return self.accounts.cumulative(agreement)

    def credits(self, agreement: str) -> tuple[Credit, ...]:
        """The leaves of that voucher's tree. Work that earns nothing is none of them."""
        found = self.accounts.credits(agreement)
        return tuple(Credit(one.task, one.pixel_root, one.amount) for one in found if one.amount)

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

    def _apply(self, entry: Entry | AnyEvent) -> bool:
        try:
            self.accounts.apply(entry)
        except Conflict as error:
            self.refused.append(error.sentence)
            return False
        return True


def _accepted(entry: FarmEntry, amount: Wei) -> Accepted:
    return Accepted(
        TaskId(entry.task), LeaseToken(entry.token), entry.agreement, amount, entry.root, entry.frame
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chain has of a job: its number, agreements, slashes, claims, transactions. Pure."""

from dataclasses import dataclass, field

from payments.messages.statements import TransactionLine
from render_farm.settlement.chain_entries import ChainEntry

LINES = {
    "opened": "opened",
    "funded": "funded",
    "refunded": "refunded",
    "agreement": "agreement",
    "raised": "raised",
    "paid": "paid",
    "closed": "closed",
    "claimed": "claimed",
    "slashed": "slashed",
}
"""Which entries are lines of a statement, and as what."""
MOVING = ("funded", "refunded", "paid", "slashed")


@dataclass(slots=True)
class OnChain:
    """An agreement as the chain has it. `locked` stands behind it still; `claim` while one is pending;
    `slashed` was taken, of which the client got `compensated`.
    """

    operator: str = ""
    cap: int = 0
    paid: int = 0
    closed: bool = False
    locked: int = 0
    slashed: int = 0
    compensated: int = 0
    claim: ChainEntry | None = None
    contested: bool = False


@dataclass(slots=True)
class Proposed:
    """A slash that is not carried out yet."""

    slash: str
    agreement: str
    execute_at: int


@dataclass(slots=True)
class Escrow:
    """A job on the chain. `number` is 0 before it is opened; `deadline` 0 while it is as in its terms;
    `slashes` are all that were ever proposed, `reported` the leases (task and token) under which two
    pictures were shown to be signed.
    """

    number: int = 0
    client: str = ""
    deadline: int = 0
    ended: bool = False
    revoked: set[str] = field(default_factory=set)
    agreements: dict[str, OnChain] = field(default_factory=dict)
    proposed: dict[str, Proposed] = field(default_factory=dict)
    slashes: set[str] = field(default_factory=set)
    reported: set[tuple[str, int]] = field(default_factory=set)
    transactions: list[TransactionLine] = field(default_factory=list)

    def take(self, entry: ChainEntry) -> None:
        """Take in what the chain said."""
        if entry.kind in LINES:
            self.transactions.append(_line(entry))
        if entry.agreement:
            found = self.agreements.setdefault(entry.agreement, OnChain())
            self._of_agreement(entry, found)
            _of_claim(entry, found)
        else:
            self._of_job(entry)

    def is_closed(self, agreement: str) -> bool:
        """Whether nothing more is ever paid under it."""
        found = self.agreements.get(agreement)
        return found is not None and found.closed

    def cap(self, agreement: str) -> int:
        """What may be paid under it."""
        found = self.agreements.get(agreement)
        return found.cap if found else 0

    def paid(self, agreement: str) -> int:
        """What was paid under it."""
        found = self.agreements.get(agreement)
        return found.paid if found else 0

    def locked(self, agreement: str) -> int:
        """The stake behind it."""
        found = self.agreements.get(agreement)
        return found.locked if found else 0

    def slashed(self, agreement: str) -> bool:
        """Whether stake was taken from behind it, or is about to be."""
        found = self.agreements.get(agreement)
        taken = found is not None and found.slashed > 0
        return taken or any(one.agreement == agreement for one in self.proposed.values())

    def _of_job(self, entry: ChainEntry) -> None:
        match entry.kind:
            case "opened":
                self.number, self.client = entry.total, entry.who
            case "ended":
                self.ended, self.deadline = True, entry.total
            case "revoked":
                self.revoked.add(entry.who.lower())
            case "appointed":
                self.revoked.discard(entry.who.lower())
            case "executed" | "withdrawn":
                self.proposed.pop(entry.mark, None)

    def _of_agreement(self, entry: ChainEntry, found: OnChain) -> None:
        match entry.kind:
            case "agreement":
                found.operator, found.cap = entry.who, entry.total
            case "raised":
                found.cap = entry.total
            case "paid":
                found.paid = entry.total
            case "closed":
                found.closed = True
            case "locked":
                found.locked += entry.amount
            case "slashed":
                found.locked -= entry.amount
                found.slashed += entry.amount
                found.compensated += entry.total
            case "equivocation":
                self.reported.add((entry.mark, entry.total))
            case "proposed":
                self.proposed[entry.mark] = Proposed(entry.mark, entry.agreement, entry.total)
                self.slashes.add(entry.mark)


def _of_claim(entry: ChainEntry, found: OnChain) -> None:
    match entry.kind:
        case "claimed":
            found.claim = entry
        case "contested":
            found.contested = True
        case "claim_settled":
            found.claim, found.contested = None, False


def _line(entry: ChainEntry) -> TransactionLine:
    amount = entry.amount if entry.kind in MOVING else 0
    return TransactionLine(LINES[entry.kind], entry.transaction, entry.block, amount, entry.agreement)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a job's money. Amounts are in the token's smallest unit, work in millionths of a render
unit.
"""

from dataclasses import dataclass

from farm_protocol.fields import Address, Digest, Name, Sentence
from farm_protocol.ids import JobId
from payments.promises import Amount, Number64, Units

NOBODY = "0x" + "0" * 40


@dataclass(frozen=True, slots=True)
class Payment:
    """How a client means to pay for a job: `budget` is the deposit, `price_cap` the most a render unit may
    cost, `quote` the farm's quote whose units it accepts. `deadline` 0: as the farm sets it.
    """

    budget: Amount
    price_cap: Amount
    client: Address
    refund_to: Address
    quote: JobId
    deadline: Number64 = 0
    watcher: Address = NOBODY


@dataclass(frozen=True, slots=True)
class JobMoney:
    """A paid job's money as its record shows it. `notice` says why nothing goes on, '' otherwise.
    deposited = paid + owed + refunded + refundable.
    """

    budget: Amount
    deposited: Amount = 0
    paid: Amount = 0
    owed: Amount = 0
    refunded: Amount = 0
    refundable: Amount = 0
    symbol: Name = ""
    decimals: int = 18
    notice: Sentence = ""


@dataclass(frozen=True, slots=True)
class FrameLine:
    """What a frame cost: `units` of work, `amount` earned by its tiles, `tiles` of them paid for."""

    frame: int
    state: Name
    tiles: int
    units: Units
    amount: Amount


@dataclass(frozen=True, slots=True)
class NodeLine:
    """What a node earned under an agreement. `slashed` is what its operator lost, `compensated` what of
    that the client got. An own node without an agreement works unpaid: `agreement` is ''.
    """

    node: Name
    operator: Name
    payee: Name
    agreement: Name
    tiles: int
    audits: int
    units: Units
    earned: Amount
    paid: Amount
    cap: Amount
    slashed: Amount = 0
    compensated: Amount = 0


@dataclass(frozen=True, slots=True)
class TransactionLine:
    """A transaction of the job on the chain. `kind`: opened, funded, agreement, raised, paid, closed,
    refunded, claimed, slashed; `amount` 0 where none moved.
    """

    kind: Name
    transaction: Name
    block: int
    amount: Amount
    agreement: Name = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """All of a job's money. `settled`: nothing is owed or reserved any more, and nothing is left to refund.
    `audits`: their number and what was earned by them.
    """

    job: JobId
    number: int
    state: Name
    settled: bool
    token: Address
    symbol: Name
    decimals: int
    budget: Amount
    deposit: Amount
    paid: Amount
    owed: Amount
    refunded: Amount
    refundable: Amount
    compensated: Amount
    audits: int
    audits_amount: Amount
    terms: Digest
    frames: tuple[FrameLine, ...] = ()
    nodes: tuple[NodeLine, ...] = ()
    transactions: tuple[TransactionLine, ...] = ()
    notices: tuple[Sentence, ...] = ()

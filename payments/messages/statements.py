# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a job's money. Amounts are in the token's smallest unit, work in millionths of a render
unit.
"""

from dataclasses import dataclass
from typing import Annotated

from farm_protocol.fields import Address, Digest, Name, Sentence, about
from farm_protocol.ids import JobId
from payments.messages.promises import Amount, Number64, Units

NOBODY = "0x" + "0" * 40


@dataclass(frozen=True, slots=True)
class Payment:
    """How a client means to pay for a job."""

    budget: Annotated[Amount, about("the deposit, in the token's smallest unit")]
    price_cap: Annotated[Amount, about("the most that a render unit may cost")]
    client: Annotated[Address, about("address that pays")]
    refund_to: Annotated[Address, about("address that the rest goes back to")]
    quote: Annotated[JobId, about("the farm's quote whose units are accepted")]
    deadline: Annotated[
        Number64, about("when the job ends at the latest, seconds since the epoch; 0: as the farm sets it")
    ] = 0
    watcher: Annotated[
        Address, about("address that may contest claims beside the client; zero for nobody")
    ] = NOBODY


@dataclass(frozen=True, slots=True)
class JobMoney:
    """A paid job's money as its record shows it: deposited = paid + owed + refunded + refundable."""

    budget: Annotated[Amount, about("the deposit that was promised")]
    deposited: Annotated[Amount, about("what came in")] = 0
    paid: Annotated[Amount, about("what nodes got")] = 0
    owed: Annotated[Amount, about("what was earned and not paid yet")] = 0
    refunded: Annotated[Amount, about("what the client got back")] = 0
    refundable: Annotated[Amount, about("what the client can take back")] = 0
    symbol: Annotated[Name, about("symbol of the token")] = ""
    decimals: Annotated[int, about("decimal places of the token")] = 18
    notice: Annotated[Sentence, about("why nothing goes on, '' otherwise")] = ""


@dataclass(frozen=True, slots=True)
class FrameLine:
    """What a frame cost."""

    frame: Annotated[int, about("number of the frame")]
    state: Annotated[Name, about("where it is on its way")]
    tiles: Annotated[int, about("tiles that were paid for")]
    units: Annotated[Units, about("work in micro-units")]
    amount: Annotated[Amount, about("what its tiles earned")]


@dataclass(frozen=True, slots=True)
class NodeLine:
    """What a node earned under an agreement, or did unpaid without one."""

    node: Annotated[Name, about("name of the node")]
    operator: Annotated[Name, about("address of its operator")]
    payee: Annotated[Name, about("address that is paid")]
    agreement: Annotated[Name, about("id of the agreement, '' for an own node that works unpaid")]
    tiles: Annotated[int, about("tiles that were accepted")]
    audits: Annotated[int, about("audits that were accepted")]
    units: Annotated[Units, about("work in micro-units")]
    earned: Annotated[Amount, about("what it earned")]
    paid: Annotated[Amount, about("what it got of that")]
    cap: Annotated[Amount, about("the most that it may earn")]
    slashed: Annotated[Amount, about("stake that its operator lost")] = 0
    compensated: Annotated[Amount, about("what of that the client got")] = 0


@dataclass(frozen=True, slots=True)
class TransactionLine:
    """A transaction of the job on the chain."""

    kind: Annotated[
        Name, about("opened, funded, agreement, raised, paid, closed, refunded, claimed or slashed")
    ]
    transaction: Annotated[Name, about("its hash")]
    block: Annotated[int, about("number of its block")]
    amount: Annotated[Amount, about("what moved; 0 where nothing did")]
    agreement: Annotated[Name, about("id of the agreement, '' where it is about none")] = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """All of a job's money."""

    job: Annotated[JobId, about("id of the job")]
    number: Annotated[int, about("the job's number in the contract")]
    state: Annotated[Name, about("where it is on its way")]
    settled: Annotated[
        bool, about("whether nothing is owed or reserved any more, and nothing is left to refund")
    ]
    token: Annotated[Address, about("address of the token")]
    symbol: Annotated[Name, about("symbol of the token")]
    decimals: Annotated[int, about("decimal places of the token")]
    budget: Annotated[Amount, about("the deposit that was promised")]
    deposit: Annotated[Amount, about("what came in")]
    paid: Annotated[Amount, about("what nodes got")]
    owed: Annotated[Amount, about("what was earned and not paid yet")]
    refunded: Annotated[Amount, about("what the client got back")]
    refundable: Annotated[Amount, about("what the client can take back")]
    compensated: Annotated[Amount, about("what the client got of slashed stake")]
    audits: Annotated[int, about("audits that were paid for")]
    audits_amount: Annotated[Amount, about("what was earned by audits")]
    terms: Annotated[Digest, about("digest of the terms, hexadecimal")]
    frames: Annotated[tuple[FrameLine, ...], about("what each frame cost")] = ()
    nodes: Annotated[tuple[NodeLine, ...], about("what each node earned")] = ()
    transactions: Annotated[tuple[TransactionLine, ...], about("the job's transactions on the chain")] = ()
    notices: Annotated[tuple[Sentence, ...], about("what there is to know, in sentences")] = ()

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contracts hold and are told, as `market.py` reads and writes it. Digests are hexadecimal
without 0x, amounts in the token's smallest unit, times in seconds since the epoch.
"""

from dataclasses import dataclass
from enum import IntEnum

from payments.messages.units import Wei


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent to a contract: its address and the call's data (0x hexadecimal)."""

    to: str
    data: str


@dataclass(frozen=True, slots=True)
class JobOnChain:
    """A job's money in the market. `committed`: caps of open agreements and what closed ones were paid."""

    budget: Wei
    committed: Wei
    client: str
    price_cap: Wei
    refund_to: str
    deadline: int
    stake_share: int
    farm: str
    watcher: str
    name: str
    arbiters: str


class AgreementState(IntEnum):
    """As in Agreements.sol."""

    NONE = 0
    OPEN = 1
    CLAIMED = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class AgreementOnChain:
    """An agreement in the market."""

    cap: Wei
    paid: Wei
    payee: str
    job: int
    state: AgreementState
    operator: str
    offer: int
    claim_tasks: int
    node: str
    task_cap: Wei


@dataclass(frozen=True, slots=True)
class ClaimOnChain:
    """A claim in the market; `filed_at` 0 where there is none."""

    base: Wei
    extra: Wei
    claimed: Wei
    bond: Wei
    root: str
    filed_at: int
    contested_at: int
    contester: str


@dataclass(frozen=True, slots=True)
class Stake:
    """An operator's stake: `free` may be withdrawn or locked, `bound` is behind agreements."""

    free: Wei
    bound: Wei


@dataclass(frozen=True, slots=True)
class Backing:
    """What stands behind one agreement; `release_at` 0 while it is open."""

    amount: Wei
    release_at: int
    cases: int
    slashed: bool


@dataclass(frozen=True, slots=True)
class SlashCase:
    """A slash by arbiters; `stage` 0 none, 1 proposed, 2 done, 3 withdrawn."""

    agreement: str
    amount: Wei
    price: Wei
    execute_at: int
    stage: int


@dataclass(frozen=True, slots=True)
class Unpaid:
    """A task that is claimed: what the node signed, the farm's receipt (verification's `Attestation` and
    `Submission`), and what it earns.
    """

    attestation: object
    node_signature: str
    receipt: object
    farm_signature: str
    amount: int


@dataclass(frozen=True, slots=True)
class ArbiterPanel:
    """Who decides for a job, and what they signed, in the order of the arbiters."""

    arbiters: tuple[str, ...]
    threshold: int
    signatures: tuple[str, ...]

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chain said about a job, as the store keeps it: one record for every kind of event.

| kind | amount | total | who | mark |
|---|---|---|---|---|
| opened | | job's number | client | terms' hash |
| funded, refunded | amount | | | |
| appointed, revoked | | | session key | |
| ended | | deadline | | |
| agreement | | cap | operator | |
| raised | | cap | | |
| paid | amount | cumulative | | root |
| closed | | paid in all | | |
| locked | amount | | operator | |
| slashed | taken | to the client | operator | |
| proposed | amount | when it may be carried out | | the slash |
| executed, withdrawn | amount | | | the slash |
| claimed | beyond the base | base | | |
| struck | amount | | | the task's hash |
| contested | bond | | contester | |
| ruled | what stands | | | |
| claim_settled | what stood | paid in all | | |
| equivocation | | lease token | node | task |
"""

from dataclasses import dataclass

from farm_protocol.fields import Digest, Name
from payments.promises import Amount, Number64


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """An event that concerns a job. `event` is its name on the chain; `after`: how many of the farm's own
    entries were in the book when it was taken in, so that the book can be made again in the same order.
    """

    kind: Name
    event: Name
    block: Number64
    transaction: Name
    after: Number64 = 0
    agreement: Name = ""
    amount: Amount = 0
    total: Amount = 0
    who: Name = ""
    mark: Name = ""


@dataclass(frozen=True, slots=True)
class FarmEntry:
    """What the farm's scripts wrote into the book. `units` of work, `frame` None for an audit."""

    kind: Name
    task: Name = ""
    token: int = 0
    node: Name = ""
    agreement: Name = ""
    units: int = 0
    root: Digest = "0" * 64
    frame: int | None = None
    code: Name = ""
    reason: str = ""

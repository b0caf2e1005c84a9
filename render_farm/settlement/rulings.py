# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm as arbiter says of a contested claim: work that it accepted stands, what it rejected does
not. Pure.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

from payments.messages.promises import Credit
from render_farm.settlement.job_ledger import JobLedger


def stands(ledger: JobLedger, agreement: str, base: int) -> tuple[tuple[str, int], ...]:
    """Each task of the agreement that the ledger decided about, with what may be claimed for it: what it
    earns if it was accepted and is not in the voucher of `base` that the claim stands on, 0 otherwise.
    """
    found = {entry.task: 0 for entry in ledger.rejected if entry.agreement == agreement}
    for entry in ledger.accepted.values():
        if entry.agreement == agreement:
            found[entry.task] = ledger.earned(entry)
    found |= {credit.task: 0 for credit in paid(ledger, agreement, base)}
    return tuple(found.items())


def paid(ledger: JobLedger, agreement: str, base: int) -> tuple[Credit, ...]:
    """The agreement's credits in the voucher of `base` that a claim stands on, in their order."""
    owed = ledger.credits(agreement)
    sums = accumulate(credit.amount for credit in owed)
    return owed[: sum(total <= base for total in sums)]


def ruling(
    said: Sequence[tuple[str, int]],
    agreement: str,
    extra: int,
    claimed: Callable[[str], tuple[int, str]],
) -> int | None:
    """How much of `extra` stands; None where some of it is for work that is not decided about: then nothing
    is said, and the receipts stand. `claimed`: what is claimed for a task, and how its agreement begins.
    """
    known = good = 0
    for task, earned in said:
        amount, begins = claimed(task)
        if amount and agreement.startswith(begins):
            known += amount
            good += min(amount, earned)
    return good if known == extra else None

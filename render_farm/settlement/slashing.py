# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rejected work costs stake, and how much. Pure."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from payments.messages.promises import Slash
from render_farm.settlement.farm_entries import FarmEntry
from render_farm.settlement.job_ledger import JobLedger
from render_farm.store.money import Agreement
from verification.audit.rate import STAKE

DISHONEST = frozenset({"differs", "other_frame", "region", "too_few_samples", "wrong_root", "equivocation"})
"""Verdicts about pixels that no honest node signs for its task. What may be an accident is rejected and costs
no stake: a file that cannot be read, values that are no numbers, a pixel that a broken memory changed
(`damaged`), and what another driver or processor than its class says may render (`other_device`,
`other_noise`)."""
EVERYTHING = frozenset({"equivocation"})
"""What costs all that stands behind the agreement."""
MOST = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class Charge:
    """A slash to be proposed, with the work it is about."""

    held: Agreement
    entry: FarmEntry
    message: Slash


def charges(ledger: JobLedger) -> Iterator[Charge]:
    """The slashes that follow from a job's rejections. Own nodes lose nothing: the farm is their operator."""
    for entry in ledger.rejected:
        held = ledger.held.get(entry.agreement)
        if held is None or held.own or entry.code not in DISHONEST:
            continue
        price = ledger.earned(entry)
        amount = MOST if entry.code in EVERYTHING else STAKE * price
        if amount:
            yield Charge(held, entry, Slash(entry.agreement, amount, price, reason(entry)))


def reason(entry: FarmEntry) -> str:
    """The hash of what a slash stands on: which work, and the verdict's sentence."""
    said = {
        "task": entry.task,
        "token": entry.token,
        "node": entry.node,
        "code": entry.code,
        "reason": entry.reason,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

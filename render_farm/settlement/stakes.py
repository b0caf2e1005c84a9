# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of operators' stake and offers is spoken for, on the chain or by promises. Pure."""

from collections.abc import Iterable

from payments.messages.units import Wei
from render_farm.settlement.job_ledger import JobLedger
from render_farm.store.money import Agreement

WHOLE = 10_000
"""A share of one, in ten-thousandths, as in the contract."""

LEAST_TASKS = 16
"""Tasks' worth of stake that an operator has free or locked while anything may be earned, 150 rewards at the
shipped share: or a cheat in a job of one tile, or in a job's last one, would put up next to nothing."""


def required(still_open: int, share: int) -> int:
    """The stake that must stand behind what may still be earned, as the contract counts it."""
    return -(-max(0, still_open) * share // WHOLE)


def least(task: int, share: int) -> int:
    """The stake that an agreement needs whose dearest task costs `task`, however little may be earned."""
    return required(LEAST_TASKS * task, share)


def most_open(stake: int, share: int, task: int) -> int:
    """The most that may still be earned with so much stake behind it; nothing below the least stake of an
    agreement whose dearest task costs `task`.
    """
    return max(0, stake) * WHOLE // share if stake >= least(task, share) else 0


def free_stake(operator: str, on_chain: int, ledgers: Iterable[JobLedger]) -> int:
    """What is left of an operator's free stake once all is set aside that its promises need; below 0 where it
    took back what they rest on.
    """
    missing = sum(
        _missing(held)
        for ledger in ledgers
        for held in ledger.held.values()
        if held.operator.lower() == operator.lower()
    )
    return on_chain - missing


def behind(held: Agreement) -> int:
    """The stake behind an agreement, locked already or promised."""
    return held.chain.locked + _missing(held)


def payable(held: Agreement) -> int:
    """What is paid, or can be before the cap grows further: vouchers that are out, as far as the chain's cap
    holds them.
    """
    on_chain = max(held.chain.cap, held.promise.order.message.cap)
    vouched = held.promise.vouched
    return max(held.chain.paid, vouched if vouched <= on_chain else 0)


def _missing(held: Agreement) -> int:
    """What is set aside beyond what the chain has locked: vouchers that are out can be paid first, and then
    need none.
    """
    still_open = held.cap - payable(held)
    if held.chain.closed or still_open <= 0:
        return 0
    share = held.promise.terms.message.stakeShare
    needed = max(required(still_open, share), least(held.promise.order.message.taskCap, share))
    return max(0, needed - held.chain.locked)


def capacity_left(operator: str, price: int, capacity: int, number: int, ledgers: Iterable[JobLedger]) -> Wei:
    """What may still be promised under an operator's offer of this number."""
    used = sum(
        held.chain.paid if held.chain.closed else held.cap
        for ledger in ledgers
        for held in ledger.held.values()
        if held.operator.lower() == operator.lower() and held.promise.offer.message.number == number
    )
    return Wei(max(0, price * capacity - used))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing an operator's agreements to the chain: one that the contract refuses holds up no other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gpu_worker.earnings.claims import Standing
from payments.chain.market import Market
from payments.chain.market_records import AgreementState, Call
from payments.chain.refusals import Refused

AT_ONCE = 16
"""Agreements redeemed in one transaction."""


@dataclass(slots=True)
class Redeemed:
    """What came of redeeming: what was paid, by which transactions, and why the rest was not."""

    amount: int = 0
    agreements: int = 0
    transactions: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def opening(market: Market, standing: Standing, figure: int) -> list[Call]:
    """What must be brought first for `figure` to be within the agreement's cap. No more than that: a raise
    may be refused for want of stake or budget, and then nothing would be paid.
    """
    promise, calls = standing.agreement.promise, []
    is_new = standing.chain.state is AgreementState.NONE
    if is_new:
        calls.append(market.open_agreement(promise.offer, promise.order))
    cap = promise.order.message.cap if is_new else standing.chain.cap
    if promise.cap_raise is not None and figure > cap:
        calls.append(market.raise_cap(promise.cap_raise))
    return calls


def redeem(market: Market, due: Sequence[Standing], send: Callable[[Sequence[Call]], str]) -> Redeemed:
    """Bring vouchers, many at a time; `send` carries calls out and returns the transaction."""
    done = Redeemed()
    for first in range(0, len(due), AT_ONCE):
        some = due[first : first + AT_ONCE]
        try:
            _redeem(market, some, send, done)
        except Refused as error:
            if len(some) == 1:
                done.refused[some[0].name] = error.sentence
            else:
                _one_by_one(market, some, send, done)
    return done


def _one_by_one(
    market: Market, due: Sequence[Standing], send: Callable[[Sequence[Call]], str], done: Redeemed
) -> None:
    for standing in due:
        try:
            _redeem(market, [standing], send, done)
        except Refused as error:
            done.refused[standing.name] = error.sentence


def _redeem(
    market: Market, due: Sequence[Standing], send: Callable[[Sequence[Call]], str], done: Redeemed
) -> None:
    calls = [call for one in due for call in opening(market, one, one.agreement.vouched)]
    vouchers = [one.agreement.promise.voucher for one in due if one.agreement.promise.voucher]
    done.transactions.append(send([*calls, market.redeem(vouchers)]))
    done.amount += sum(one.redeemable for one in due)
    done.agreements += len(due)

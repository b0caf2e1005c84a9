# SPDX-License-Identifier: GPL-3.0-or-later
"""One paid job on an EVM, from the deposit to the refund: what each kind of call used of gas."""

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from payments.chain.market_records import Call
from payments.messages import signing
from payments.messages.promises import Offer, Release, Signed, Voucher
from payments.wallet.keystore import Key, new_key

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.gas_policy import Plan
from tests.support.money_stage import Stage

FRAME = 3_141_592_653_589_793
"""What a frame costs in the token's smallest unit: as many digits as real amounts have."""
PLENTY = 10**24


@dataclass(frozen=True)
class Operator:
    """An operator with one node and a standing offer."""

    key: Key
    offer: Signed[Offer]


@dataclass(frozen=True)
class Work:
    """A call that has not been sent, and what its gas is counted under."""

    kind: str
    call: Call


class Ground:
    """Operators with stake, and jobs for them."""

    def __init__(self, stage: Stage, operators: int) -> None:
        self.stage, self.market = stage, stage.market
        self.operators = [self._operator() for _ in range(operators)]

    def run_job(self, plan: Plan, together: bool, prompt: bool = False) -> Counter[str]:
        """Gas by kind of call. `together`: what comes at one time is one transaction. `prompt`: operators
        release their agreements while the last vouchers wait, and both go together.
        """
        used, client, number = self._open_job(plan.budget)
        ids = self._open(used, number, plan.first, together)
        for moment in plan.raises:
            grown = [self.stage.raised(ids[one.node], one.cap * FRAME) for one in moment]
            paid = [self._voucher(ids[one.node], one.redeemed) for one in moment if one.redeemed]
            raises = [Work("raise", self.market.raise_cap(one)) for one in grown]
            self._send(used, [*self._redeem(paid, together), *raises], together)
        last = [self._voucher(ids[node], earned) for node, earned in enumerate(plan.earned)]
        released = [self._released(node, ids[node], earned) for node, earned in enumerate(plan.earned)]
        releases = [Work("release", self.market.release_for(one)) for one in released]
        paying = self._redeem(last, together)
        for ending in [[*paying, *releases]] if prompt else [paying, releases]:
            self._send(used, ending, together)
        left = self.market.take_back(number, int(self.market.available(number)))
        self._send(used, [Work("take back", left)], together, client)
        return used

    def redeem_only(self, plan: Plan, together: bool) -> int:
        """Gas of paying all that was earned at the end, where the caps were high enough from the start."""
        _, _, number = self._open_job(plan.budget)
        ids = self._open(Counter(), number, plan.earned, True)
        last = [self._voucher(ids[node], earned) for node, earned in enumerate(plan.earned)]
        used: Counter[str] = Counter()
        self._send(used, self._redeem(last, together), together)
        return used.total()

    def push_payment(self, sample: int) -> float:
        """Gas of a token transfer to a payee who holds some: the mean of `sample`."""
        payees = [one.offer.message.payee for one in self.operators]
        used: Counter[str] = Counter()
        for number in range(sample):
            self._send(used, [Work("push", self.market.transfer(payees[number % len(payees)], FRAME))], False)
        return used.total() / sample

    def _operator(self) -> Operator:
        key = new_key()
        self.stage.add_stake(key, PLENTY)
        offer = self.stage.offer(key, payee=new_key().address, price=FRAME, capacity=10**9)
        return Operator(key, offer)

    def _open_job(self, budget: int) -> tuple[Counter[str], Key, int]:
        """A new client's job."""
        deposit = budget * FRAME
        client = self.stage.local.rich_key(100)
        # Some is left over: a wallet that is emptied gets gas back.
        self.stage.pay(client.address, 2 * deposit)
        used: Counter[str] = Counter()
        approve = self.market.approve(self.stage.network.market, deposit)
        self._send(used, [Work("approve", approve)], False, client)
        terms = self.stage.terms(client=client.address, refundTo=client.address)
        self._send(used, [Work("open job", self.market.open_job(terms, deposit))], False, client)
        return used, client, self.stage.number(terms)

    def _open(self, used: Counter[str], number: int, caps: Sequence[int], together: bool) -> list[str]:
        orders = [
            self.stage.order(number, one.offer, cap=cap * FRAME, taskCap=FRAME)
            for one, cap in zip(self.operators, caps, strict=True)
        ]
        opens = [
            Work("open agreement", self.market.open_agreement(one.offer, order))
            for one, order in zip(self.operators, orders, strict=True)
        ]
        self._send(used, opens, together)
        return [signing.agreement_id(order.message, self.stage.network) for order in orders]

    def _voucher(self, agreement: str, earned: int) -> Signed[Voucher]:
        root = hashlib.sha256(f"{agreement} {earned}".encode()).hexdigest()
        return self.stage.voucher(agreement, earned * FRAME, root=root)

    def _released(self, node: int, agreement: str, earned: int) -> Signed[Release]:
        return self.stage.released(agreement, earned * FRAME, self.operators[node].key)

    def _redeem(self, vouchers: Sequence[Signed[Voucher]], together: bool) -> list[Work]:
        groups = [list(vouchers)] if together else [[one] for one in vouchers]
        return [Work("redeem", self.market.redeem(group)) for group in groups if group]

    def _send(
        self, used: Counter[str], works: Sequence[Work], together: bool, key: Key | None = None
    ) -> None:
        for group in [works] if together else [[one] for one in works]:
            kinds = " + ".join(dict.fromkeys(one.kind for one in group))
            receipt = self.stage.send(key or self.stage.bank, *(one.call for one in group))
            used[kinds] += int(receipt["gasUsed"], 16)


def without_redeeming(plan: Plan) -> Plan:
    """The same caps where operators have stake enough: nothing is redeemed before the end."""
    moments = tuple(tuple(replace(one, redeemed=0) for one in moment) for moment in plan.raises)
    return replace(plan, raises=moments)

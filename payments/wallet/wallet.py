# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client or an operator does with its wallet, each thing once.

Every action has a key of its own in the wallet's outbox: cut off anywhere and asked for again, it is finished
and not repeated. Actions wait until the chain has carried them out.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from payments.chain.carrying import carried_out, mined
from payments.chain.market import Market
from payments.chain.market_records import Call, Unpaid
from payments.chain.outbox import Intent, Outbox, Outcome
from payments.chain.refusals import refusal
from payments.chain.rpc import Reverted
from payments.chain.sending import Sender, SendingRules, Signer
from payments.messages.promises import Signed, Terms, Voucher

_NOTHING = (Outcome.REVERTED, Outcome.DISPLACED)


@dataclass(frozen=True, slots=True)
class Approval:
    """What a call needs to be allowed to take from the wallet."""

    spender: str
    amount: int


class Wallet:
    """One wallet on one chain; its outbox is held by this process. `rules` as in `sending.py`."""

    def __init__(
        self,
        market: Market,
        signer: Signer,
        outbox: Outbox,
        clock: Callable[[], float] = time.time,
        rules: SendingRules | None = None,
    ) -> None:
        self.market = market
        self._signer, self._outbox = signer, outbox
        rules = rules or SendingRules(confirmations=market.network.confirmations)
        self._checked = False
        self._sender = Sender(market.chain, signer, outbox, clock, rules)

    @property
    def address(self) -> str:
        """Whose wallet it is."""
        return self._signer.address

    def begin(self, key: str, *calls: Call) -> Intent:
        """Mean to carry calls out in one transaction, once for this key; `settle` or `do` sees it through.
        Raises Refused where the contract would refuse it, WrongChain, NoFunds, Unavailable.
        """
        if not self._checked:
            self.market.check()
            self._checked = True
        call = calls[0] if len(calls) == 1 else self.market.multicall(calls)
        try:
            return self._sender.submit(key, call.to, call.data)
        except Reverted as error:
            raise refusal(key, error) from error

    def do(self, key: str, *calls: Call, wait: float) -> str:
        """Carry calls out once, trying again what came to nothing on the chain; returns the transaction's
        hash. Raises what `begin` does, and Unavailable when nothing happened for `wait` seconds: the same
        again goes on with it.
        """
        name = self._name(key)
        self.begin(name, *calls)
        return self.settle(name, wait)

    def settle(self, key: str, wait: float) -> str:
        """Wait until what was begun under this key is done. Raises as `do`."""
        return carried_out(self._sender, key, wait).transaction

    # --- clients --------------------------------------------------------------------------------

    def open_job(self, key: str, terms: Signed[Terms], deposit: int, wait: float) -> str:
        """Open a job with its deposit, once."""
        call = self.market.open_job(terms, deposit)
        return self._once(key, call, wait, Approval(self.market.network.market, deposit))

    def top_up(self, kind: str, number: int, amount: int, wait: float) -> str:
        """Add to a job's budget. One that was cut off before is finished instead, where it is the same."""
        call = self.market.top_up(number, amount)
        return self._again(kind, call, wait, Approval(self.market.network.market, amount))

    def take_back(self, kind: str, number: int, amount: int, wait: float) -> str:
        """Take back what of a job's budget is not reserved."""
        return self._again(kind, self.market.take_back(number, amount), wait)

    def contest(self, key: str, agreement: str, bond: int, wait: float) -> str:
        """Contest a claim, with its bond."""
        approval = Approval(self.market.network.market, bond)
        return self._once(key, self.market.contest(agreement), wait, approval)

    def transfer(self, kind: str, to: str, amount: int, wait: float) -> str:
        """Send token to a wallet."""
        return self._again(kind, self.market.transfer(to, amount), wait)

    # --- operators ------------------------------------------------------------------------------

    def stake(self, kind: str, operator: str, amount: int, wait: float) -> str:
        """Add to an operator's free stake."""
        call = self.market.add_stake(operator, amount)
        return self._again(kind, call, wait, Approval(self.market.network.vault, amount))

    def withdraw(self, kind: str, amount: int, wait: float) -> str:
        """Take free stake back."""
        return self._again(kind, self.market.withdraw(amount), wait)

    def redeem(self, kind: str, vouchers: Sequence[Signed[Voucher]], wait: float) -> str:
        """Have vouchers paid."""
        return self._again(kind, self.market.redeem(vouchers), wait)

    def claim(
        self, agreement: str, last: Signed[Voucher] | None, tasks: Sequence[Unpaid], wait: float
    ) -> str:
        """Claim tasks beyond the last voucher; an agreement has one claim."""
        call = self.market.claim_unpaid(agreement, last, tasks)
        return self._once(f"claim {agreement}", call, wait)

    def repeat(self, kind: str, *calls: Call, wait: float) -> str:
        """Carry calls of the market out in one transaction, as something that may be done any number of
        times.
        """
        return self._again(kind, calls[0] if len(calls) == 1 else self.market.multicall(calls), wait)

    # --- ways -----------------------------------------------------------------------------------

    def _once(self, key: str, call: Call, wait: float, approval: Approval | None = None) -> str:
        """Something that the contract lets happen once: begun before, it is finished as it was begun."""
        name = self._name(key)
        if any(one.key == name for one in self._outbox.all()):
            return self.settle(name, wait)
        return self._fresh(name, call, wait, approval)

    def _name(self, key: str) -> str:
        """The name in the outbox for what is to happen once: another where all before came to nothing."""
        tried = [one for one in self._outbox.all() if one.key == key or one.key.startswith(f"{key} again ")]
        if not tried or tried[-1].outcome not in _NOTHING:
            return tried[-1].key if tried else key
        return f"{key} again {len(tried)}"

    def _again(self, kind: str, call: Call, wait: float, approval: Approval | None = None) -> str:
        """Something that may be done any number of times: what is under way is finished first, and is what
        was asked for where it is the same call.
        """
        mine = [one for one in self._outbox.all() if one.key.startswith(f"{kind} #")]
        for one in mine:
            if one.outcome is Outcome.PENDING:
                done = self.settle(one.key, wait)
                if one.data == call.data:
                    return done
        return self._fresh(f"{kind} #{len(mine) + 1}", call, wait, approval)

    def _fresh(self, key: str, call: Call, wait: float, approval: Approval | None) -> str:
        if approval is not None:
            self._approve(approval, wait)
        self.begin(key, call)
        return self.settle(key, wait)

    def _approve(self, approval: Approval, wait: float) -> None:
        """Exactly as much as is needed, where it is not approved already."""
        # What is under way may use up what is approved now.
        for one in self._outbox.all():
            if one.outcome is Outcome.PENDING:
                mined(self._sender, one.key, wait)
        left = self.market.allowance(self.address, approval.spender)
        if left >= approval.amount:
            return
        # Some tokens change no allowance but to and from nothing.
        for amount in (0, approval.amount) if left else (approval.amount,):
            key = f"approve #{len(self._outbox.all()) + 1}"
            self.begin(key, self.market.approve(approval.spender, amount))
            mined(self._sender, key, wait)

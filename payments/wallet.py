# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client or an operator does with its wallet, each thing once.

Every action has a key of its own in the wallet's outbox: cut off anywhere and asked for again, it is finished
and not repeated. Actions wait until the chain has carried them out.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frame_splitter.errors import Conflict, Unavailable
from payments.artifacts import error_name
from payments.chain import Reverted
from payments.market import Market
from payments.market_records import Call, Unpaid
from payments.outbox import Intent, Outbox, Outcome
from payments.promises import SignedTerms, SignedVoucher
from payments.sending import Sender, SendingRules, Signer

LOOK_SECONDS = 0.1
"""How often the chain is asked whether it has carried out what was sent."""

SENTENCES = {
    "ERC20InsufficientBalance": "the wallet has too little of the token",
    "ERC20InsufficientAllowance": "too little of the token was approved",
    "TooEarly": "it is too early for this",
    "TooLate": "it is too late for this",
    "TooLittleStake": "there is too little free stake",
    "OverOffer": "the offer's capacity is used up",
    "OverCap": "the figure is above the agreement's cap",
    "OfferUnfit": "the offer does not fit the job",
    "OfferGone": "another offer came under this number, or it was cancelled",
    "AlreadyOpen": "the agreement is open already",
    "WrongState": "the agreement is not in the state for this",
    "WrongSigner": "it is signed by somebody else",
    "NoSession": "the key that signed is not the job's (any more)",
    "ClaimedBefore": "the agreement had its one claim",
    "CannotContest": "only client and watcher may contest, and once",
    "StillBound": "the stake is still behind an agreement",
    "NothingToSlash": "nothing stands behind the agreement",
    "NotPlain": "the token is not plain: it takes a fee, or says that it failed",
}
"""What the contracts' errors mean; others are told by their names."""


class Refused(Conflict):
    """The contract refuses what was to be done. `error` is its own name for it."""

    code = "refused"

    def __init__(self, what: str, error: str) -> None:
        said = SENTENCES.get(error, error or "it gives no reason")
        super().__init__(f"{what} was refused: {said}.")
        self.error = error


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that was carried out, and its block."""

    transaction: str
    block: int


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
        self._sender = Sender(market.chain, signer, outbox, clock, rules)

    @property
    def address(self) -> str:
        """Whose wallet it is."""
        return self._signer.address

    def begin(self, key: str, *calls: Call) -> Intent:
        """Mean to carry calls out in one transaction, once for this key; `settle` or `do` sees it through.
        Raises Refused where the contract would refuse it, NoFunds, Unavailable.
        """
        call = calls[0] if len(calls) == 1 else self.market.multicall(calls)
        try:
            return self._sender.submit(key, call.to, call.data)
        except Reverted as error:
            raise Refused(key, error_name(error.data)) from error

    def do(self, key: str, *calls: Call, wait: float) -> str:
        """Carry calls out once; returns the transaction's hash. Raises what `begin` does, and Unavailable
        when it is not done after `wait` seconds: the same again goes on with it.
        """
        self.begin(key, *calls)
        return self.settle(key, wait)

    def settle(self, key: str, wait: float) -> str:
        """Wait until what was begun under this key is done. Raises as `do`."""
        end = time.monotonic() + wait
        while True:
            intent = next(one for one in self._sender.advance() if one.key == key)
            if intent.outcome is Outcome.DONE and intent.transaction is not None:
                return intent.transaction
            if intent.outcome is Outcome.REVERTED:
                raise Refused(key, "")
            if intent.outcome is Outcome.DISPLACED:
                raise Conflict(
                    f"{key}: another transaction of this wallet took its place; look, then try again."
                )
            if time.monotonic() >= end:
                raise Unavailable(
                    f"{key}: the chain has not carried it out yet; the same command goes on with it."
                )
            time.sleep(LOOK_SECONDS)

    def known(self, key: str) -> Intent | None:
        """What was begun under a key, or None."""
        return next((one for one in self._outbox.all() if one.key == key), None)

    def next_key(self, kind: str) -> str:
        """The key of a repeatable action: that of one under way, which is gone on with, or a new one."""
        mine = [one for one in self._outbox.all() if one.key.startswith(f"{kind} #")]
        open_one = next((one for one in mine if one.outcome is Outcome.PENDING), None)
        return open_one.key if open_one else f"{kind} #{len(mine) + 1}"

    # --- clients --------------------------------------------------------------------------------

    def open_job(self, key: str, terms: SignedTerms, deposit: int, wait: float) -> str:
        """Open a job with its deposit, once."""
        if self.known(key) is None:
            self._approve(f"{key}: approve", self.market.network.market, deposit, wait)
        return self.do(key, self.market.open_job(terms, deposit), wait=wait)

    def top_up(self, kind: str, number: int, amount: int, wait: float) -> str:
        """Add to a job's budget. One that was cut off before is finished instead, where it is the same."""
        key = self.next_key(kind)
        if self.known(key) is None:
            self._approve(f"{key}: approve", self.market.network.market, amount, wait)
        return self.do(key, self.market.top_up(number, amount), wait=wait)

    def take_back(self, kind: str, number: int, amount: int, wait: float) -> str:
        """Take back what of a job's budget is not reserved."""
        return self.do(self.next_key(kind), self.market.take_back(number, amount), wait=wait)

    def contest(self, key: str, agreement: str, bond: int, wait: float) -> str:
        """Contest a claim, with its bond."""
        if self.known(key) is None:
            self._approve(f"{key}: approve", self.market.network.market, bond, wait)
        return self.do(key, self.market.contest(agreement), wait=wait)

    def transfer(self, kind: str, to: str, amount: int, wait: float) -> str:
        """Send token to a wallet."""
        return self.do(self.next_key(kind), self.market.transfer(to, amount), wait=wait)

    # --- operators ------------------------------------------------------------------------------

    def stake(self, kind: str, operator: str, amount: int, wait: float) -> str:
        """Add to an operator's free stake."""
        key = self.next_key(kind)
        if self.known(key) is None:
            self._approve(f"{key}: approve", self.market.network.vault, amount, wait)
        return self.do(key, self.market.add_stake(operator, amount), wait=wait)

    def withdraw(self, kind: str, amount: int, wait: float) -> str:
        """Take free stake back."""
        return self.do(self.next_key(kind), self.market.withdraw(amount), wait=wait)

    def redeem(self, kind: str, vouchers: Sequence[SignedVoucher], wait: float) -> str:
        """Have vouchers paid."""
        return self.do(self.next_key(kind), self.market.redeem(vouchers), wait=wait)

    def claim(self, agreement: str, last: SignedVoucher | None, tasks: Sequence[Unpaid], wait: float) -> str:
        """Claim tasks beyond the last voucher; an agreement has one claim."""
        call = self.market.claim_unpaid(agreement, last, tasks)
        return self.do(f"claim {agreement}", call, wait=wait)

    def _approve(self, key: str, spender: str, amount: int, wait: float) -> None:
        """Exactly what is needed, where less is approved."""
        if self.market.allowance(self.address, spender) < amount:
            self.do(self.next_key(key), self.market.approve(spender, amount), wait=wait)

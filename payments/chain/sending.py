# SPDX-License-Identifier: GPL-3.0-or-later
"""Transactions that happen once, whatever happens to the chain, its answers, or this process.

`submit` writes an intent and its nonce down; `advance` looks at the chain and sends what is not there. Both
may be cut off anywhere and called again at any time.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from eth_utils.crypto import keccak

from farm_protocol.errors import Conflict
from payments.chain.outbox import Attempt, Intent, Outbox, Outcome
from payments.chain.rpc import Chain, NotTaken, Receipt
from payments.messages.units import Wei


class Signer(Protocol):
    """Whoever holds a wallet's key."""

    @property
    def address(self) -> str:
        """The wallet."""

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        """The bytes to send."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """`confirmations`: blocks that must follow before something counts as done, and so the depth of the
    reorganisations that do no harm. After `patience` seconds the fee grows by a quarter, up to `most_fee`
    Wei a gas.
    """

    confirmations: int = 0
    patience: float = 60.0
    most_fee: int = 500 * 10**9


class Sender:
    """One wallet's transactions, in the order they were submitted."""

    def __init__(
        self, chain: Chain, signer: Signer, outbox: Outbox, clock: Callable[[], float], rules: SendingRules
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._outbox = outbox
        self._clock = clock
        self._rules = rules

    def submit(self, key: str, to: str, data: str = "0x", value: Wei = Wei(0)) -> Intent:  # noqa: B008
        """Mean to call `to` with `data` and `value` (Wei) once: a second time under the same `key` changes
        nothing, and is refused (Conflict) for something else. Raises Reverted or NoFunds where the chain
        would refuse it anyway.
        """
        for intent in self._outbox.all():
            if intent.key == key:
                _check_same(intent, to, data, value)
                return intent
        gas = self._chain.estimate(self._signer.address, to, data, value)
        intent = Intent(key, to, data, str(int(value)), self._next_nonce(), gas + gas // 4)
        self._outbox.save(intent)
        return intent

    def advance(self) -> tuple[Intent, ...]:
        """Send what is not on the chain, and see what became of the rest: all intents as they stand.
        Raises Unavailable, with nothing lost, where the chain does not answer; NoFunds, NotTaken.
        """
        for intent in self._outbox.all():
            if intent.outcome is Outcome.PENDING:
                self._advance_one(intent)
        return self._outbox.all()

    def depth(self, key: str) -> int | None:
        """How many blocks follow the one that has what was submitted under `key`; None where none has, and
        where none need to follow.
        """
        if not self._rules.confirmations:
            return None
        head = self._chain.head()
        for intent in self._outbox.all():
            receipt = self._receipt(intent) if intent.key == key else None
            if receipt is not None:
                return max(0, head - receipt.block)
        return None

    def _advance_one(self, intent: Intent) -> None:
        head = self._chain.head()
        receipt = self._receipt(intent)
        if receipt is not None:
            if receipt.block + self._rules.confirmations <= head:
                outcome = Outcome.DONE if receipt.success else Outcome.REVERTED
                self._outbox.save(replace(intent, outcome=outcome, transaction=receipt.transaction))
        elif self._chain.count(self._signer.address) > intent.nonce:
            self._check_displaced(intent, head)
        else:
            self._send(intent)

    def _check_displaced(self, intent: Intent, head: int) -> None:
        """The nonce is used up, and not by a transaction of ours: believed once it is deep enough, and only
        if there is still no receipt. Whether to do it again is for those to say who know what it was.
        """
        deep = head - self._rules.confirmations
        used = deep >= 0 and self._chain.count(self._signer.address, deep) > intent.nonce
        if used and self._receipt(intent) is None:
            self._outbox.save(replace(intent, outcome=Outcome.DISPLACED))

    def _receipt(self, intent: Intent) -> Receipt | None:
        for attempt in intent.attempts:
            receipt = self._chain.receipt(attempt.hash)
            if receipt is not None:
                return receipt
        return None

    def _send(self, intent: Intent) -> None:
        last = intent.attempts[-1] if intent.attempts else None
        # Below 0 the clock was set back: how long it really was nobody knows, and trying again is harmless.
        if last is None or not 0 <= self._clock() - last.time < self._rules.patience:
            fresh = self._sign(intent, last)
            if fresh is not None:
                intent = replace(intent, attempts=(*intent.attempts, fresh))
                # Written down first: a transaction that is out must be one we know the hash of.
                self._outbox.save(intent)
                self._hand_over(fresh)
                return
        assert last is not None
        if not self._chain.known(last.hash):
            self._hand_over(last)

    def _hand_over(self, attempt: Attempt) -> None:
        try:
            self._chain.send(attempt.raw)
        except NotTaken as error:
            # It is there already, or was mined meanwhile, or an attempt before it still waits.
            if not any(words in error.said.lower() for words in _HARMLESS):
                raise

    def _sign(self, intent: Intent, last: Attempt | None) -> Attempt | None:
        """A transaction for the intent, dearer than the last; None where that would be too dear."""
        base, tip = self._chain.fees()
        most = 2 * base + tip
        if last is not None:
            most, tip = max(most, _more(last.max_fee)), max(tip, _more(last.tip))
        if last is not None and most > self._rules.most_fee:
            return None
        most, tip = min(most, self._rules.most_fee), min(tip, self._rules.most_fee)
        raw = self._signer.sign_transaction(self._fields(intent, most, tip))
        return Attempt(keccak(raw).hex(), "0x" + raw.hex(), most, tip, self._clock())

    def _fields(self, intent: Intent, most: int, tip: int) -> dict[str, Any]:
        return {
            "chainId": self._chain.chain_id,
            "nonce": intent.nonce,
            "to": intent.to,
            "value": int(intent.value),
            "gas": intent.gas,
            "maxFeePerGas": most,
            "maxPriorityFeePerGas": tip,
            "data": intent.data,
        }

    def _next_nonce(self) -> int:
        """After all that was ever meant, and after all that the chain has."""
        meant = [intent.nonce + 1 for intent in self._outbox.all()]
        return max([self._chain.count(self._signer.address), *meant])


_HARMLESS = ("already known", "already imported", "nonce too low", "underpriced")


def _more(fee: int) -> int:
    """A quarter more: nodes ask for at least a tenth to replace a transaction."""
    return fee + fee // 4 + 1


def _check_same(intent: Intent, to: str, data: str, value: Wei) -> None:
    asked = (to.lower(), data, str(int(value)))
    if (intent.to.lower(), intent.data, intent.value) != asked:
        digest = hashlib.sha256(intent.data.encode()).hexdigest()[:8]
        raise Conflict(f"{intent.key} was submitted before, for something else (data {digest}).")

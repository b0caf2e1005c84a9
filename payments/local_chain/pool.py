# SPDX-License-Identifier: GPL-3.0-or-later
"""Transactions that are not in a block yet. As on any chain, they are gone when the process is."""

from collections.abc import Callable

from eth.abc import SignedTransactionAPI
from eth_typing import Address

from payments.local_chain.errors import Refused

MOST = 1024
BUMP = 10
"""A transaction takes another's place if it pays at least so many per cent more, as with geth."""


class Pool:
    """By sender and nonce; senders in the order they came."""

    def __init__(self) -> None:
        self._waiting: dict[Address, dict[int, SignedTransactionAPI]] = {}

    def add(self, transaction: SignedTransactionAPI) -> None:
        """Raises Refused for one that is there already, or pays too little to replace another."""
        mine = self._waiting.get(transaction.sender, {})
        old = mine.get(transaction.nonce)
        if old is not None:
            _check_replacement(old, transaction)
        elif sum(len(others) for others in self._waiting.values()) >= MOST:
            raise Refused(f"txpool is full: it holds {MOST} transactions")
        self._waiting.setdefault(transaction.sender, {})[transaction.nonce] = transaction

    def drop(self, transaction: SignedTransactionAPI) -> None:
        """Forget it, and whatever has its nonce or a lower one of its sender."""
        mine = self._waiting.pop(transaction.sender, {})
        left = {nonce: other for nonce, other in mine.items() if nonce > transaction.nonce}
        if left:
            self._waiting[transaction.sender] = left

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()

    def next(self, nonce_of: Callable[[Address], int], base_fee: int) -> SignedTransactionAPI | None:
        """One that could be mined now: its nonce is its sender's next, and it pays the base fee."""
        for sender, mine in self._waiting.items():
            found = mine.get(nonce_of(sender))
            if found is not None and found.max_fee_per_gas >= base_fee:
                return found
        return None

    def next_nonce(self, sender: Address, nonce: int) -> int:
        """The first nonce from `nonce` on that no waiting transaction of `sender` has."""
        mine = self._waiting.get(sender, {})
        while nonce in mine:
            nonce += 1
        return nonce

    def find(self, digest: bytes) -> SignedTransactionAPI | None:
        """The waiting transaction with this hash."""
        for mine in self._waiting.values():
            for transaction in mine.values():
                if transaction.hash == digest:
                    return transaction
        return None


def _check_replacement(old: SignedTransactionAPI, new: SignedTransactionAPI) -> None:
    if old.hash == new.hash:
        raise Refused("already known")
    enough = all(
        100 * after >= (100 + BUMP) * before
        for before, after in (
            (old.max_fee_per_gas, new.max_fee_per_gas),
            (old.max_priority_fee_per_gas, new.max_priority_fee_per_gas),
        )
    )
    if not enough:
        raise Refused(f"replacement transaction underpriced: both fees must grow by {BUMP} %")

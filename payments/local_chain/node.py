# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain with its memory: what is answered is in the journal, and what is in the journal comes back."""

import threading
from collections.abc import Callable
from pathlib import Path

from eth.abc import BlockHeaderAPI, LogAPI, SignedTransactionAPI
from eth_typing import Address
from eth_utils.address import to_checksum_address

from payments.local_chain.errors import Refused
from payments.local_chain.evm import Evm
from payments.local_chain.faucet import transfer
from payments.local_chain.journal import Damaged, Entry, Genesis, Journal, Mined
from payments.local_chain.pool import Pool
from payments.wallet.keystore import Key

FURTHEST = 366 * 24 * 3600
"""How far its clock may be turned forward at a time, in seconds."""

Clock = Callable[[], float]


class Node:
    """One chain on one folder. Every method is safe from any thread, one at a time (`lock`).

    `mining`: whether transactions are mined as they come. `controls`: whether time and blocks may be played
    with, as tests do.
    """

    def __init__(
        self, folder: Path, genesis: Genesis, clock: Clock, faucet: Key, controls: bool = False
    ) -> None:
        self.lock = threading.RLock()
        self.controls = controls
        self.mining = True
        self.pool = Pool()
        self.logs: list[tuple[LogAPI, ...]] = []
        self._clock = clock
        self._faucet = faucet
        self._journal = Journal(folder)
        if not self._journal.entries:
            self._journal.append(Entry(genesis=genesis))
        self._replay()
        # Whoever turned the clock forward: it does not stand still after a start until the world catches up.
        self._ahead = max(0, self.evm.head.timestamp - int(clock()))

    @property
    def time(self) -> int:
        """The time a block would have now, in seconds."""
        return max(int(self._clock()) + self._ahead, self.evm.head.timestamp)

    def send(self, raw: bytes) -> bytes:
        """Take a signed transaction; its hash. Raises Refused."""
        with self.lock:
            transaction = self.evm.decode(raw)
            self._check_sender(transaction)
            self.pool.add(transaction)
            if self.mining:
                self._mine_waiting(transaction)
            return bytes(transaction.hash)

    def fund(self, to: Address, amount: int) -> bytes:
        """Give Wei out of the faucet; the transaction's hash. Raises Refused."""
        with self.lock:
            holder = Address(bytes.fromhex(self._faucet.address[2:]))
            nonce = self.pool.next_nonce(holder, self._nonce(holder))
            base_fee = self.evm.next_base_fee()
            raw = transfer(self._faucet, to_checksum_address(to), amount, nonce, self.evm.chain_id, base_fee)
            return self.send(raw)

    def mine(self) -> BlockHeaderAPI:
        """Mine what waits, a block each; an empty block where nothing does."""
        with self.lock:
            if not self._mine_waiting(None):
                self._mine(())
            return self.evm.head

    def set_mining(self, on: bool) -> None:
        """Stall the chain, or let it go on with what waited."""
        with self.lock:
            self.mining = on
            if on:
                self._mine_waiting(None)

    def advance(self, seconds: int) -> None:
        """Turn the clock forward for the blocks that come."""
        if not 0 <= seconds <= FURTHEST:
            raise Refused(f"the clock can be turned forward by 0 to {FURTHEST} seconds")
        with self.lock:
            self._ahead += seconds

    def rewind(self, blocks: int) -> None:
        """Forget the last blocks and what waits, as a reorganisation does that brings none of it back."""
        with self.lock:
            number = self.evm.head.block_number
            if not 1 <= blocks <= number:
                raise Refused(f"there are {number} blocks to go back")
            ahead = self.time - int(self._clock())
            self.pool.clear()
            self._journal.forget(len(self._journal.entries) - blocks)
            self._replay()
            self._ahead = max(0, ahead)

    def close(self) -> None:
        """Let go of the journal."""
        with self.lock:
            self._journal.close()

    def _check_sender(self, transaction: SignedTransactionAPI) -> None:
        state = self.evm.state(self.evm.head)
        nonce = state.get_nonce(transaction.sender)
        if transaction.nonce < nonce:
            raise Refused(f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        cost = transaction.max_fee_per_gas * transaction.gas + transaction.value
        if state.get_balance(transaction.sender) < cost:
            raise Refused("insufficient funds for gas * price + value")

    def _mine_waiting(self, asked: SignedTransactionAPI | None) -> bool:
        """Mine what can be. What cannot be carried out is dropped, and Refused is raised if it is `asked`."""
        any_mined = False
        while (transaction := self.pool.next(self._nonce, self.evm.next_base_fee())) is not None:
            self.pool.drop(transaction)
            try:
                self._mine((transaction,))
                any_mined = True
            except Refused:
                if transaction is asked:
                    raise
        return any_mined

    def _nonce(self, sender: Address) -> int:
        return self.evm.state(self.evm.head).get_nonce(sender)

    def _mine(self, transactions: tuple[SignedTransactionAPI, ...]) -> None:
        header = self.evm.mine(transactions, self.time)
        raw = tuple("0x" + transaction.encode().hex() for transaction in transactions)
        self._journal.append(Entry(block=Mined(header.timestamp, raw, header.hash.hex())))
        self._keep_logs(header)

    def _replay(self) -> None:
        first, *rest = self._journal.entries
        assert first.genesis is not None
        self.evm = Evm(first.genesis)
        self.logs = [()]
        for entry in rest:
            assert entry.block is not None
            self._mine_again(entry.block)

    def _mine_again(self, block: Mined) -> None:
        transactions = tuple(self.evm.decode(bytes.fromhex(raw[2:])) for raw in block.transactions)
        header = self.evm.mine(transactions, block.time)
        if header.hash.hex() != block.hash:
            raise Damaged(
                f"Block {header.block_number} of {self._journal.path} comes to another hash than it had: "
                "the journal is of another version of this program."
            )
        self._keep_logs(header)

    def _keep_logs(self, header: BlockHeaderAPI) -> None:
        receipts = self.evm.receipts(self.evm.block(header))
        self.logs.append(tuple(log for receipt in receipts for log in receipt.logs))

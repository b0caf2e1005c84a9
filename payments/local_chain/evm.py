# SPDX-License-Identifier: GPL-3.0-or-later
"""py-evm as a chain of blocks whose hashes depend on nothing but transactions and block times."""

from dataclasses import dataclass
from typing import Any

from eth.abc import (
    BlockAPI,
    BlockHeaderAPI,
    ComputationAPI,
    ReceiptAPI,
    SignedTransactionAPI,
    StateAPI,
)
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.exceptions import HeaderNotFound, PyEVMError, TransactionNotFound
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from payments.local_chain.errors import REVERTED, Refused, RpcError
from payments.local_chain.journal import Genesis

GAS_LIMIT = 30_000_000
"""Of a block, and so of a transaction and of a call."""
BLOBS = b"\x03"
"""The type of transactions that carry blobs."""


@dataclass(frozen=True, slots=True)
class Call:
    """What `eth_call` and `eth_estimateGas` ask for: a transaction that nobody signed. `to` is empty for a
    contract's creation, `value` in Wei.
    """

    sender: Address
    to: bytes
    data: bytes
    value: int
    gas: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction is in the chain, and what came of it."""

    block: BlockAPI
    index: int
    transaction: SignedTransactionAPI
    receipts: tuple[ReceiptAPI, ...]


class _Vm(CancunVM):
    """Blocks may have the time of their parent: a block a transaction would otherwise run ahead of the clock
    by a second each, and deadlines with it.
    """

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        super().validate_header(header, parent_header.copy(timestamp=parent_header.timestamp - 1))


class _Chain(MiningChain):
    """Blocks of a given time and of one gas limit."""

    vm_configuration = ((BlockNumber(0), _Vm),)
    time = 0

    def create_header_from_parent(self, parent_header: BlockHeaderAPI, **fields: Any) -> BlockHeaderAPI:
        time = max(self.time, parent_header.timestamp)
        fields.update(gas_limit=parent_header.gas_limit, timestamp=time)
        return super().create_header_from_parent(parent_header, **fields)


class Evm:
    """The chain from its genesis on. Nothing of it is safe to use from two threads at once."""

    def __init__(self, genesis: Genesis) -> None:
        self.chain_id = genesis.chain_id
        holder = Address(bytes.fromhex(genesis.holder[2:]))
        account = {"balance": int(genesis.balance), "nonce": 0, "code": b"", "storage": {}}
        first = {
            "difficulty": 0,
            "gas_limit": GAS_LIMIT,
            "timestamp": genesis.time,
            "nonce": bytes(8),
            "mix_hash": bytes(32),
            "extra_data": b"",
            "coinbase": bytes(20),
        }
        kind: Any = type("LocalChain", (_Chain,), {"chain_id": genesis.chain_id})
        self._chain: _Chain = kind.from_genesis(AtomicDB(), first, {holder: account})

    @property
    def head(self) -> BlockHeaderAPI:
        """The last block's header."""
        return self._chain.get_canonical_head()

    def decode(self, raw: bytes) -> SignedTransactionAPI:
        """Signed transaction. Raises Refused for bytes that hold no such thing, or one for another chain."""
        builder = self._chain.get_vm().get_transaction_builder()
        if raw[:1] == BLOBS:
            raise Refused("transaction type not supported: no blobs")
        try:
            transaction = builder.decode(raw)
            transaction.check_signature_validity()
        except (PyEVMError, RLPException, ValidationError, ValueError, TypeError, IndexError) as error:
            raise Refused("invalid transaction: it cannot be decoded, or its signature is wrong") from error
        if transaction.chain_id != self.chain_id:
            raise Refused(f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}")
        return transaction

    def mine(self, transactions: tuple[SignedTransactionAPI, ...], time: int) -> BlockHeaderAPI:
        """The next block, at `time` or at its parent's where that is later. Raises Refused, with nothing
        changed, where a transaction cannot be carried out.
        """
        self._chain.time = time
        try:
            self._chain.mine_all(transactions, parent_header=self.head)
        except ValidationError as error:
            raise Refused(_reason(error)) from error
        return self.head

    def header(self, number: int) -> BlockHeaderAPI | None:
        """The header of block `number`."""
        if not 0 <= number <= self.head.block_number:
            return None
        return self._chain.get_canonical_block_header_by_number(number)  # type: ignore[arg-type]

    def header_of(self, digest: bytes) -> BlockHeaderAPI | None:
        """The header of the block with this hash."""
        try:
            return self._chain.get_block_header_by_hash(Hash32(digest))
        except HeaderNotFound:
            return None

    def block(self, header: BlockHeaderAPI) -> BlockAPI:
        """The block of a header."""
        return self._chain.get_block_by_header(header)

    def receipts(self, block: BlockAPI) -> tuple[ReceiptAPI, ...]:
        """What came of a block's transactions."""
        return tuple(block.get_receipts(self._chain.chaindb))

    def place(self, digest: bytes) -> Place | None:
        """Where the transaction with this hash is; None for one that was never mined."""
        try:
            number, index = self._chain.get_canonical_transaction_index(Hash32(digest))
        except TransactionNotFound:
            return None
        block = self._chain.get_canonical_block_by_number(number)
        return Place(block, index, block.transactions[index], self.receipts(block))

    def state(self, header: BlockHeaderAPI) -> StateAPI:
        """Accounts as they were after a block."""
        return self._chain.get_vm(header).state

    def next_base_fee(self) -> int:
        """Wei a gas that the next block takes at least."""
        return self._chain.create_header_from_parent(self.head).base_fee_per_gas or 0

    def call(self, call: Call, header: BlockHeaderAPI, time: int) -> ComputationAPI:
        """Carry out a call on top of a block, for nothing, and forget it."""
        self._chain.time = time
        after = self._chain.create_header_from_parent(header).copy(base_fee_per_gas=0)
        vm = self._chain.get_vm(after)
        builder: Any = vm.get_transaction_builder()
        plain = builder.new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=vm.state.get_nonce(call.sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=call.gas,
            to=Address(call.to),
            value=call.value,
            data=call.data,
            access_list=(),
        )
        try:
            return vm.state.apply_transaction(SpoofTransaction(plain, from_=call.sender))  # type: ignore[arg-type]
        except ValidationError as error:
            raise Refused(_reason(error)) from error

    def output(self, call: Call, header: BlockHeaderAPI, time: int) -> bytes:
        """What a call returns. Raises RpcError with the returned bytes where it reverts."""
        computation = self.call(call, header, time)
        if computation.is_error:
            data = bytes(computation.output)
            raise RpcError(REVERTED, f"execution reverted: {_words(computation)}", "0x" + data.hex())
        return bytes(computation.output)

    def estimate(self, call: Call, header: BlockHeaderAPI, time: int) -> int:
        """The least gas, within 1 %, with which a call succeeds. Raises RpcError where it never does."""
        self.output(call, header, time)
        low, high = 20_999, call.gas
        while high - low > max(1, high // 100):
            middle = (low + high) // 2
            low, high = (low, middle) if self._succeeds(call, middle, header, time) else (middle, high)
        return high

    def _succeeds(self, call: Call, gas: int, header: BlockHeaderAPI, time: int) -> bool:
        tried = Call(call.sender, call.to, call.data, call.value, gas)
        try:
            return not self.call(tried, header, time).is_error
        except Refused:
            return False


def _reason(error: ValidationError) -> str:
    said = str(error)
    if "balance" in said.lower() or "funds" in said.lower():
        return f"insufficient funds for gas * price + value: {said}"
    return said


def _words(computation: ComputationAPI) -> str:
    """Why a call failed: the text of a plain `revert("...")`, else the machine's own words."""
    data = bytes(computation.output)
    if data[:4] == bytes.fromhex("08c379a0") and len(data) >= 68:
        length = int.from_bytes(data[36:68], "big")
        return data[68 : 68 + min(length, 1000)].decode(errors="replace")
    return "no reason" if data else type(computation.error).__name__

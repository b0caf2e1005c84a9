# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks, transactions, receipts and logs as JSON-RPC shows them (the Ethereum execution API's shapes)."""

from typing import Any

from eth.abc import BlockAPI, BlockHeaderAPI, LogAPI, ReceiptAPI, SignedTransactionAPI
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from rlp import encode as rlp_encode  # type: ignore[import-untyped]

from payments.local_chain.evm import Place

View = dict[str, Any]


def quantity(number: int) -> str:
    """A number, with no digits that say nothing."""
    return hex(number)


def data(raw: bytes) -> str:
    """Bytes."""
    return "0x" + bytes(raw).hex()


def bloom(number: int) -> str:
    """A bloom filter: 256 bytes."""
    return f"0x{number:0512x}"


def block_view(block: BlockAPI, whole: bool) -> View:
    """A block with its transactions, or with their hashes."""
    header = block.header
    transactions = [
        transaction_view(transaction, header, index) if whole else data(transaction.hash)
        for index, transaction in enumerate(block.transactions)
    ]
    return {
        **_header_view(header),
        "size": quantity(len(rlp_encode(block))),
        "transactions": transactions,
        "uncles": [],
        "withdrawals": [],
    }


def _header_view(header: BlockHeaderAPI) -> View:
    return {
        "number": quantity(header.block_number),
        "hash": data(header.hash),
        "parentHash": data(header.parent_hash),
        "sha3Uncles": data(header.uncles_hash),
        "miner": to_checksum_address(header.coinbase),
        "stateRoot": data(header.state_root),
        "transactionsRoot": data(header.transaction_root),
        "receiptsRoot": data(header.receipt_root),
        "withdrawalsRoot": data(header.withdrawals_root or b""),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root or b""),
        "logsBloom": bloom(header.bloom),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "extraData": data(header.extra_data),
        "mixHash": data(header.mix_hash),
        "nonce": data(header.nonce),
        "baseFeePerGas": quantity(_base_fee(header)),
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
    }


def transaction_view(
    transaction: SignedTransactionAPI, header: BlockHeaderAPI | None, index: int | None
) -> View:
    """A transaction; without header and index one that waits."""
    kind = _kind(transaction)
    return {
        "hash": data(transaction.hash),
        "type": quantity(kind),
        "nonce": quantity(transaction.nonce),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "input": data(transaction.data),
        "chainId": quantity(transaction.chain_id or 0),
        **_fee_view(transaction, kind, header),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
        "v": quantity(_parity(transaction, kind)),
        "blockHash": data(header.hash) if header else None,
        "blockNumber": quantity(header.block_number) if header else None,
        "transactionIndex": quantity(index) if index is not None else None,
    }


def _base_fee(header: BlockHeaderAPI) -> int:
    return header.base_fee_per_gas or 0


def _parity(transaction: Any, kind: int) -> int:
    return int(transaction.y_parity if kind else transaction.v)


def _kind(transaction: SignedTransactionAPI) -> int:
    return transaction.type_id or 0


def _fee_view(transaction: SignedTransactionAPI, kind: int, header: BlockHeaderAPI | None) -> View:
    if kind < 2:
        return {"gasPrice": quantity(transaction.gas_price)}
    most = transaction.max_fee_per_gas
    tip = transaction.max_priority_fee_per_gas
    price = min(most, _base_fee(header) + tip) if header else most
    return {
        "maxFeePerGas": quantity(most),
        "maxPriorityFeePerGas": quantity(tip),
        "gasPrice": quantity(price),
        "accessList": [],
        "yParity": quantity(transaction.y_parity),
    }


def receipt_view(place: Place) -> View:
    """What came of a mined transaction."""
    header, transaction = place.block.header, place.transaction
    receipt = place.receipts[place.index]
    before = place.receipts[place.index - 1].gas_used if place.index else 0
    first = sum(len(earlier.logs) for earlier in place.receipts[: place.index])
    price = min(transaction.max_fee_per_gas, _base_fee(header) + transaction.max_priority_fee_per_gas)
    return {
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(place.index),
        "blockHash": data(header.hash),
        "blockNumber": quantity(header.block_number),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "contractAddress": _created(transaction),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used - before),
        "effectiveGasPrice": quantity(price),
        "logs": [
            log_view(log, header, transaction.hash, place.index, first + number)
            for number, log in enumerate(receipt.logs)
        ],
        "logsBloom": bloom(int(receipt.bloom)),
        "status": quantity(_status(receipt)),
        "type": quantity(_kind(transaction)),
    }


def _status(receipt: ReceiptAPI) -> int:
    """Since Byzantium the state root of a receipt is a status: one byte 1, or none at all."""
    return 1 if receipt.state_root == b"\x01" else 0


def _created(transaction: SignedTransactionAPI) -> str | None:
    if transaction.to:
        return None
    digest = keccak(rlp_encode([transaction.sender, transaction.nonce]))
    return to_checksum_address(digest[-20:])


def log_view(log: LogAPI, header: BlockHeaderAPI, digest: bytes, index: int, number: int) -> View:
    """An event: `number` counts them through the block, `index` is its transaction's place."""
    return {
        "address": to_checksum_address(log.address),
        "topics": [data(topic.to_bytes(32, "big")) for topic in log.topics],
        "data": data(log.data),
        "blockNumber": quantity(header.block_number),
        "blockHash": data(header.hash),
        "blockTimestamp": quantity(header.timestamp),
        "transactionHash": data(digest),
        "transactionIndex": quantity(index),
        "logIndex": quantity(number),
        "removed": False,
    }

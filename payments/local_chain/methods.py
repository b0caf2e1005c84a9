# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON-RPC methods. Those that play with time and blocks have the names anvil gave them, and are there
only where the chain was started with `--controls`.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from eth.abc import BlockHeaderAPI, LogAPI
from eth_utils.crypto import keccak

from payments.local_chain.errors import METHOD, BadParameter, Refused, RpcError
from payments.local_chain.evm import Place
from payments.local_chain.node import Node
from payments.local_chain.parameters import (
    read_address,
    read_addresses,
    read_block,
    read_bytes,
    read_call,
    read_number,
    read_plain_number,
    read_topics,
)
from payments.local_chain.views import (
    View,
    block_view,
    data,
    log_view,
    quantity,
    receipt_view,
    transaction_view,
)

TIP = 1_000_000_000
"""Wei a gas that is suggested as priority fee."""
MOST_LOGS = 10_000
MOST_HISTORY = 1024

Parameters = list[Any]
Method = Callable[[Node, Parameters], Any]


def answer(node: Node, name: str, parameters: Parameters) -> Any:
    """The result of a call. Raises RpcError."""
    method = METHODS.get(name) or (CONTROLS.get(name) if node.controls else None)
    if method is None:
        raise RpcError(METHOD, f"the method {name} does not exist/is not available")
    with node.lock:
        return method(node, parameters)


def _at(parameters: Parameters, index: int) -> Any:
    return parameters[index] if len(parameters) > index else None


def _header(node: Node, value: Any) -> BlockHeaderAPI:
    found = node.evm.header(read_block(value, node.evm.head.block_number))
    if found is None:
        raise BadParameter("there is no such block yet")
    return found


def _get_block(node: Node, header: BlockHeaderAPI | None, parameters: Parameters) -> View | None:
    if header is None:
        return None
    return block_view(node.evm.block(header), _at(parameters, 1) is True)


def _block_by_number(node: Node, parameters: Parameters) -> View | None:
    number = read_block(_at(parameters, 0), node.evm.head.block_number)
    return _get_block(node, node.evm.header(number), parameters)


def _block_by_hash(node: Node, parameters: Parameters) -> View | None:
    return _get_block(node, node.evm.header_of(read_bytes(_at(parameters, 0), "hash", 32)), parameters)


def _transaction_count(node: Node, parameters: Parameters) -> str:
    sender = read_address(_at(parameters, 0), "address")
    header = _header(node, _at(parameters, 1))
    nonce = node.evm.state(header).get_nonce(sender)
    if _at(parameters, 1) == "pending":
        nonce = node.pool.next_nonce(sender, nonce)
    return quantity(nonce)


def _balance(node: Node, parameters: Parameters) -> str:
    state = node.evm.state(_header(node, _at(parameters, 1)))
    return quantity(state.get_balance(read_address(_at(parameters, 0), "address")))


def _code(node: Node, parameters: Parameters) -> str:
    state = node.evm.state(_header(node, _at(parameters, 1)))
    return data(state.get_code(read_address(_at(parameters, 0), "address")))


def _storage(node: Node, parameters: Parameters) -> str:
    state = node.evm.state(_header(node, _at(parameters, 2)))
    slot = read_number(_at(parameters, 1), "slot")
    value = state.get_storage(read_address(_at(parameters, 0), "address"), slot)
    return data(value.to_bytes(32, "big"))


def _call(node: Node, parameters: Parameters) -> str:
    call = read_call(_at(parameters, 0))
    header = _header(node, _at(parameters, 1))
    time = node.time if header == node.evm.head else header.timestamp
    return data(node.evm.output(call, header, time))


def _estimate(node: Node, parameters: Parameters) -> str:
    return quantity(node.evm.estimate(read_call(_at(parameters, 0)), node.evm.head, node.time))


def _gas_price(node: Node, _parameters: Parameters) -> str:
    return quantity(node.evm.next_base_fee() + TIP)


def _fee_history(node: Node, parameters: Parameters) -> View:
    count = read_plain_number(_at(parameters, 0), "blockCount")
    if not 1 <= count <= MOST_HISTORY:
        raise BadParameter(f"blockCount must be 1 to {MOST_HISTORY}")
    last = _header(node, _at(parameters, 1)).block_number
    first = max(0, last - count + 1)
    headers = [found for number in range(first, last + 1) if (found := node.evm.header(number))]
    base_fees = [quantity(header.base_fee_per_gas or 0) for header in headers]
    percentiles = _at(parameters, 2) or []
    return {
        "oldestBlock": quantity(first),
        "baseFeePerGas": [*base_fees, quantity(node.evm.next_base_fee())],
        "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        "reward": [[quantity(TIP) for _ in percentiles] for _ in headers],
    }


def _send(node: Node, parameters: Parameters) -> str:
    return data(node.send(read_bytes(_at(parameters, 0), "transaction")))


def _fund(node: Node, parameters: Parameters) -> str:
    amount = read_number(_at(parameters, 1), "amount")
    return data(node.fund(read_address(_at(parameters, 0), "address"), amount))


def _place(node: Node, parameters: Parameters) -> tuple[bytes, Place | None]:
    digest = read_bytes(_at(parameters, 0), "hash", 32)
    return digest, node.evm.place(digest)


def _receipt(node: Node, parameters: Parameters) -> View | None:
    _, place = _place(node, parameters)
    return receipt_view(place) if place else None


def _transaction(node: Node, parameters: Parameters) -> View | None:
    digest, place = _place(node, parameters)
    if place is not None:
        return transaction_view(place.transaction, place.block.header, place.index)
    waiting = node.pool.find(digest)
    return transaction_view(waiting, None, None) if waiting else None


def _logs(node: Node, parameters: Parameters) -> list[View]:
    wanted = _at(parameters, 0)
    if not isinstance(wanted, dict):
        raise BadParameter("the filter must be an object")
    addresses = read_addresses(wanted.get("address"))
    topics = read_topics(wanted.get("topics"))
    found: list[View] = []
    for number in _log_range(node, wanted):
        if any(_fits(log, addresses, topics) for log in node.logs[number]):
            found += _block_logs(node, number, addresses, topics)
        if len(found) > MOST_LOGS:
            raise Refused(f"query returned more than {MOST_LOGS} results")
    return found


def _log_range(node: Node, wanted: dict[str, Any]) -> range:
    last = node.evm.head.block_number
    if "blockHash" in wanted:
        header = node.evm.header_of(read_bytes(wanted["blockHash"], "blockHash", 32))
        if header is None:
            raise BadParameter("there is no such block")
        return range(header.block_number, header.block_number + 1)
    first = read_block(wanted.get("fromBlock"), last)
    return range(first, min(read_block(wanted.get("toBlock"), last), last) + 1)


def _block_logs(
    node: Node,
    number: int,
    addresses: frozenset[bytes] | None,
    topics: tuple[frozenset[bytes] | None, ...],
) -> list[View]:
    header = node.evm.header(number)
    assert header is not None
    block = node.evm.block(header)
    views: list[View] = []
    count = 0
    for index, receipt in enumerate(node.evm.receipts(block)):
        digest = block.transactions[index].hash
        for log in receipt.logs:
            if _fits(log, addresses, topics):
                views.append(log_view(log, header, digest, index, count))
            count += 1
    return views


def _fits(
    log: LogAPI, addresses: frozenset[bytes] | None, topics: tuple[frozenset[bytes] | None, ...]
) -> bool:
    if addresses is not None and log.address not in addresses:
        return False
    if len(log.topics) < len(topics):
        return False
    pairs = zip(topics, log.topics, strict=False)
    return all(any_of is None or topic.to_bytes(32, "big") in any_of for any_of, topic in pairs)


def _set_mining(node: Node, parameters: Parameters) -> bool:
    on = _at(parameters, 0)
    if not isinstance(on, bool):
        raise BadParameter("true or false is expected")
    node.set_mining(on)
    return True


def _advance(node: Node, parameters: Parameters) -> str:
    seconds = read_plain_number(_at(parameters, 0), "seconds")
    node.advance(seconds)
    return quantity(seconds)


def _mine(node: Node, _parameters: Parameters) -> str:
    node.mine()
    return "0x0"


def _rewind(node: Node, parameters: Parameters) -> None:
    node.rewind(read_plain_number(_at(parameters, 0), "depth"))


METHODS: dict[str, Method] = {
    "web3_clientVersion": lambda _node, _parameters: f"render-farm/py-evm/{version('py-evm')}",
    "web3_sha3": lambda _node, parameters: data(keccak(read_bytes(_at(parameters, 0), "data"))),
    "net_version": lambda node, _parameters: str(node.evm.chain_id),
    "net_listening": lambda _node, _parameters: True,
    "eth_chainId": lambda node, _parameters: quantity(node.evm.chain_id),
    "eth_syncing": lambda _node, _parameters: False,
    "eth_accounts": lambda _node, _parameters: [],
    "eth_blockNumber": lambda node, _parameters: quantity(node.evm.head.block_number),
    "eth_getBlockByNumber": _block_by_number,
    "eth_getBlockByHash": _block_by_hash,
    "eth_getTransactionCount": _transaction_count,
    "eth_getBalance": _balance,
    "eth_getCode": _code,
    "eth_getStorageAt": _storage,
    "eth_call": _call,
    "eth_estimateGas": _estimate,
    "eth_gasPrice": _gas_price,
    "eth_maxPriorityFeePerGas": lambda _node, _parameters: quantity(TIP),
    "eth_feeHistory": _fee_history,
    "eth_sendRawTransaction": _send,
    "eth_getTransactionReceipt": _receipt,
    "eth_getTransactionByHash": _transaction,
    "eth_getLogs": _logs,
    "farm_fund": _fund,
}

CONTROLS: dict[str, Method] = {
    "evm_setAutomine": _set_mining,
    "evm_increaseTime": _advance,
    "evm_mine": _mine,
    "anvil_rollback": _rewind,
}

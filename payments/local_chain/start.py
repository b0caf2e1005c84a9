# SPDX-License-Identifier: GPL-3.0-or-later
"""The local chain's parts put together."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

from farm_protocol.errors import InvalidInput
from payments.local_chain.faucet import BALANCE, faucet
from payments.local_chain.journal import Genesis
from payments.local_chain.methods import answer
from payments.local_chain.node import Node
from payments.local_chain.server import Server


def open_node(folder: Path, chain_id: int, controls: bool = False) -> Node:
    """The chain of a folder. Raises InvalidInput where the folder is missing, or its chain has another
    number.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.")
    if not 0 < chain_id < 1 << 53:
        raise InvalidInput(f"{chain_id} is no chain id: it must be above 0 and below 2^53.")
    key = faucet(folder)
    genesis = Genesis(chain_id, int(time.time()), key.address.lower(), str(BALANCE))
    node = Node(folder, genesis, time.time, key, controls)
    if node.evm.chain_id != chain_id:
        node.close()
        raise InvalidInput(f"The chain in {folder} has the id {node.evm.chain_id}, not {chain_id}.")
    return node


def start(
    folder: Path, host: str, port: int, chain_id: int, controls: bool, broken: Callable[[BaseException], None]
) -> tuple[Node, Server]:
    """Node of the chain kept in `folder` and its server at `host`:`port`, not serving yet. A new one gets
    `chain_id`; `controls` lets callers turn its clock and take blocks back; `broken` hears of an error that
    ends it. Raises InvalidInput, Conflict, Damaged or OSError.
    """
    node = open_node(folder, chain_id, controls)
    try:
        return node, Server(host, port, functools.partial(answer, node), broken)
    except BaseException:
        node.close()
        raise

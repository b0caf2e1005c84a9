# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain and the contracts on it, as a small TOML file names them; how to reach it is told apart
(`FARM_CHAIN_URL`), because a URL may carry a secret.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from frame_splitter.fields import Address, Name
from payments.promises import Number64


@dataclass(frozen=True, slots=True)
class Windows:
    """Times of the market in seconds, fixed when it is made (struct Windows in Jobs.sol)."""

    claim: Number64
    decision: Number64
    grace: Number64
    unbonding: Number64
    slash: Number64


@dataclass(frozen=True, slots=True)
class Network:
    """Where the contracts are. `confirmations`: blocks that must follow before something is believed;
    `first_block`: before it there is nothing of the market; `symbol` and `decimals` are the token's.
    """

    chain_id: Number64
    token: Address
    market: Address
    vault: Address
    disputes: Address
    windows: Windows
    symbol: Name
    decimals: Annotated[int, msgspec.Meta(ge=0, le=36)]
    confirmations: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    first_block: Number64 = 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain and the contracts on it, as a small TOML file names them; how to reach it is told apart
(`FARM_CHAIN_URL`), because a URL may carry a secret.
"""

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from farm_protocol.errors import FarmError, InvalidInput, NotFound
from farm_protocol.fields import Address, Name, about, convert
from farm_protocol.files import read_bounded, replaced
from payments.messages.promises import Number64


@dataclass(frozen=True, slots=True)
class Windows:
    """Times of the market in seconds, fixed when it is made (struct Windows in Jobs.sol)."""

    claim: Annotated[Number64, about("seconds in which a claim can be contested")]
    decision: Annotated[Number64, about("seconds that arbiters have for a contested claim")]
    grace: Annotated[Number64, about("seconds after a job's deadline in which its agreements stay open")]
    unbonding: Annotated[Number64, about("seconds that stake stays slashable after its agreement")]
    slash: Annotated[Number64, about("seconds from the proposal of a slash until it is carried out")]


@dataclass(frozen=True, slots=True)
class Network:
    """Where the contracts are."""

    chain_id: Annotated[Number64, about("number of the chain")]
    token: Annotated[Address, about("address of the token")]
    market: Annotated[Address, about("address of the market")]
    vault: Annotated[Address, about("address of the stake vault")]
    disputes: Annotated[Address, about("address of the disputes")]
    windows: Annotated[Windows, about("times of the market")]
    symbol: Annotated[Name, about("symbol of the token")]
    decimals: Annotated[int, msgspec.Meta(ge=0, le=36), about("decimal places of the token")]
    confirmations: Annotated[
        int, msgspec.Meta(ge=0, le=10_000), about("blocks that must follow before something is believed")
    ] = 0
    first_block: Annotated[Number64, about("before it there is nothing of the market")] = 0


MOST_BYTES = 64 * 1024
"""Of a network's file; they have about 500."""


def load(path: Path) -> Network:
    """The network that a TOML file names. Raises NotFound, InvalidInput naming what is wrong."""
    try:
        data = read_bounded(path, MOST_BYTES, "is too large to name a network")
    except OSError as error:
        raise NotFound(f"The network file {path} cannot be read: {error.strerror}.") from error
    try:
        return convert(tomllib.loads(data.decode()), Network)
    except RecursionError as error:
        raise InvalidInput(f"{path} does not name a network: it is too deep.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path} does not name a network: {error}") from error


def save(network: Network, path: Path) -> None:
    """Write the file that `load` reads, whole or not at all. Raises FarmError where that cannot be."""
    try:
        with replaced(path) as file:
            file.write(text(network).encode())
    except OSError as error:
        raise FarmError(f"The network file {path} cannot be written: {error.strerror}.") from error


def text(network: Network) -> str:
    """The network as the TOML that `load` reads."""
    fields = asdict(network)
    windows = fields.pop("windows")
    lines = ["# The render farm's contracts on a chain; the chain itself is reached by FARM_CHAIN_URL."]
    lines += [f"{name} = {_value(value)}" for name, value in fields.items()]
    lines += ["", "[windows] # in seconds", *(f"{name} = {value}" for name, value in windows.items())]
    return "\n".join(lines) + "\n"


def _value(value: int | str) -> str:
    # JSON's strings are TOML's, and so are its numbers.
    return msgspec.json.encode(value).decode()

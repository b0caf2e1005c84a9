# SPDX-License-Identifier: GPL-3.0-or-later
"""The settler's settings: flags first, then FARM_* variables, then defaults.

Keys and passwords come from the environment or from files only, and so does the chain's URL: it may carry a
secret.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farm_protocol.errors import InvalidInput
from farm_protocol.typed_data import address_of
from payments.wallets import is_remote


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the settler is told when it starts. Without a `wallet` it brings nothing to the chain:
    nodes and clients do. `embedded`: the folder of an embedded farm's money, made where it is not there.
    `alive`: a file that is touched every second while the settler works.
    """

    redis_url: str
    network: Path
    chain_url: str = field(repr=False)
    signing_key: bytes = field(repr=False)
    wallet: Path | None = None
    password: Path | None = None
    outbox: Path | None = None
    embedded: Path | None = None
    alive: Path | None = None
    signer_url: str = field(default="", repr=False)


def read(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Config:
    """Merge flags and environment. Raises InvalidInput for what cannot be used."""
    known = os.environ if environment is None else environment
    chosen = vars(_parser(known).parse_args(list(arguments)))
    embedded = Path(chosen["embedded"]) if chosen["embedded"] else None
    if not chosen["chain"] and embedded is None:
        raise InvalidInput("The settler needs --chain (or FARM_CHAIN): the file that names the contracts.")
    wallet = _wallet(chosen["wallet"], embedded)
    return Config(
        redis_url=chosen["redis_url"],
        network=Path(chosen["chain"]) if chosen["chain"] else _inside(embedded, "chain.toml"),
        chain_url=_needed(known, "FARM_CHAIN_URL"),
        signing_key=_key(_needed(known, "FARM_SIGNING_KEY")),
        wallet=wallet,
        password=_password(known, embedded),
        outbox=_outbox(chosen["outbox"], wallet, Path(chosen["chain"] or ".")),
        embedded=embedded,
        alive=Path(chosen["alive"]) if chosen["alive"] else None,
        signer_url=known.get("FARM_SIGNER_URL", ""),
    )


def _parser(known: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m render_farm.settle", description="Keeps the books of paid jobs and settles them."
    )
    add = parser.add_argument
    add("--redis-url", default=known.get("FARM_REDIS_URL", "redis://127.0.0.1:6379/0"), help="the store")
    add("--chain", default=known.get("FARM_CHAIN", ""), help="the file that names chain and contracts")
    add(
        "--wallet",
        default=known.get("FARM_WALLET", ""),
        help="the wallet that pays gas: a keystore, or its address",
    )
    add("--outbox", default="", help="where it is kept what was sent; beside the wallet if not given")
    add("--embedded", default="", help="folder of an embedded farm's money: wallets and contracts are made")
    add("--alive", default="", help="a file to touch every second, for whoever watches over the settler")
    return parser


def _wallet(text: str, embedded: Path | None) -> Path | None:
    if text:
        return Path(text)
    return None if embedded is None else _inside(embedded, "wallets/settler.json")


def _password(known: Mapping[str, str], embedded: Path | None) -> Path | None:
    text = known.get("FARM_WALLET_PASSWORD_FILE", "")
    if text:
        return Path(text)
    return None if embedded is None else _inside(embedded, "wallets/password")


def _outbox(text: str, wallet: Path | None, network: Path) -> Path | None:
    if text:
        return Path(text)
    if wallet is not None and is_remote(wallet):
        # However its letters are written, it is one wallet, and so one outbox.
        return network.with_name(f"{str(wallet).lower()}.settler.outbox")
    return None if wallet is None else wallet.with_suffix(".settler.outbox")


def _inside(folder: Path | None, name: str) -> Path:
    assert folder is not None
    return folder / name


def _needed(known: Mapping[str, str], name: str) -> str:
    if not known.get(name):
        raise InvalidInput(f"The settler needs {name} in its environment.")
    return known[name]


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
        if len(key) != 32:
            raise ValueError("a key has 32 bytes")
        address_of(key)
    except Exception as error:  # the library has many names for numbers that are no key
        # Neither the key nor the library's words about it belong into a log.
        raise InvalidInput("FARM_SIGNING_KEY is no private key: it must be 64 hexadecimal digits.") from error
    return key

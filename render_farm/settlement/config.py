# SPDX-License-Identifier: GPL-3.0-or-later
"""The settler's settings: flags first, then FARM_* variables, then defaults.

Keys and passwords come from the environment or from files only, and so does the chain's URL: it may carry a
secret.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from command_line import shared_options as shared
from command_line.option_types import FILE
from command_line.program import Command, answer, option, variable, version_option
from farm_protocol.errors import InvalidInput
from farm_protocol.typed_data import read_key
from payments.wallet.wallets import is_remote

PROGRAM = "python -m render_farm.settlement"


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


def read(arguments: Sequence[str]) -> Config:
    """Merge options and environment. Raises InvalidInput for what cannot be used."""
    found: Config = answer(_configured, arguments, PROGRAM)
    return found


@click.command(PROGRAM, cls=Command, help="keeps the books of paid jobs and settles them")
@version_option
@shared.redis_url(default="redis://127.0.0.1:6379/0", help="the store")
@shared.chain(help="the file that names chain and contracts")
@shared.chain_url
@shared.wallet(help="the wallet that pays gas: a keystore, or its address")
@shared.password_file(help="its first line is the wallet's password")
@shared.signer_url
@option("--outbox", type=FILE, help="where it is kept what was sent; beside the wallet if not given")
@option("--embedded", type=FILE, help="folder of an embedded farm's money: wallets and contracts are made")
@option("--alive", type=FILE, help="a file to touch every second, for whoever watches over the settler")
@variable("signing_key", "FARM_SIGNING_KEY")
def _configured(
    redis_url: str,
    chain: Path | None,
    chain_url: str,
    wallet: Path | None,
    password_file: Path | None,
    signer_url: str,
    outbox: Path | None,
    embedded: Path | None,
    alive: Path | None,
    signing_key: str,
) -> Config:
    if chain is None and embedded is None:
        raise InvalidInput("The settler needs --chain (or FARM_CHAIN): the file that names the contracts.")
    if embedded is not None:
        wallet = wallet or embedded / "wallets" / "settler.json"
        password_file = password_file or embedded / "wallets" / "password"
    return Config(
        redis_url=redis_url,
        network=chain or _inside(embedded, "chain.toml"),
        chain_url=_needed("FARM_CHAIN_URL", chain_url),
        signing_key=read_key(_needed("FARM_SIGNING_KEY", signing_key), "FARM_SIGNING_KEY"),
        wallet=wallet,
        password=password_file,
        outbox=outbox or _outbox(wallet, chain or Path()),
        embedded=embedded,
        alive=alive,
        signer_url=signer_url,
    )


def _outbox(wallet: Path | None, network: Path) -> Path | None:
    if wallet is not None and is_remote(wallet):
        # However its letters are written, it is one wallet, and so one outbox.
        return network.with_name(f"{str(wallet).lower()}.settler.outbox")
    return None if wallet is None else wallet.with_suffix(".settler.outbox")


def _inside(folder: Path | None, name: str) -> Path:
    assert folder is not None
    return folder / name


def _needed(name: str, value: str) -> str:
    if not value:
        raise InvalidInput(f"The settler needs {name} in its environment.")
    return value

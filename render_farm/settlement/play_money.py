# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded farm's play money, made once: wallets, the contracts, and something in each pocket.

`chain.toml` is written last. Killed before, it is begun again and goes on: the chain keeps what is done, and
the bank's outbox what was meant.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from farm_protocol.errors import Unavailable
from farm_protocol.files import sync_folder
from payments.chain.deploy import deploy
from payments.chain.market import Market
from payments.chain.outbox import FileOutbox
from payments.chain.rpc import Chain
from payments.local_chain.faucet import BANK_OUTBOX
from payments.local_chain.process import CHAIN_ID
from payments.messages.network import Network, Windows, load, save
from payments.messages.units import Wei
from payments.wallet import keystore
from payments.wallet.keystore import Key
from payments.wallet.wallet import Wallet

WALLETS = ("bank", "client", "operator", "settler")
WINDOWS = Windows(claim=60, decision=60, grace=60, unbonding=300, slash=2)
"""Seconds: who tries the farm out shall see how things end."""
TOKEN = 10**18
CLIENT_TOKENS = Wei(1_000 * TOKEN)
OPERATOR_STAKE = Wei(1_000_000 * TOKEN)
COINS = Wei(100 * 10**18)
LEAST_COINS = Wei(10 * 10**18)
WAIT_SECONDS = 120.0


def prepare(folder: Path, url: str) -> Network:
    """The network of an embedded farm whose money is kept in `folder`; made where it is not there yet.
    Raises FarmError where the chain does not answer or the folder cannot be used.
    """
    keys = _wallets(folder)
    chain = _reach(url)
    for name in WALLETS:
        if chain.balance(keys[name].address) < LEAST_COINS:
            chain.fund(keys[name].address, COINS)
    made = folder / "chain.toml"
    if made.exists():
        return load(made)
    network = _deploy(folder, chain, keys)
    part = folder / "chain.part"
    part.unlink(missing_ok=True)
    save(network, part)
    _keep(part, made)
    return network


def _deploy(folder: Path, chain: Chain, keys: dict[str, Key]) -> Network:
    outbox = FileOutbox(folder / "wallets" / BANK_OUTBOX)
    try:
        network = deploy(chain, keys["bank"], outbox, WINDOWS)
        market = Market(chain, network)
        bank = Wallet(market, keys["bank"], outbox)
        bank.do("give", market.transfer(keys["client"].address, CLIENT_TOKENS), wait=WAIT_SECONDS)
        bank.do("approve", market.approve(network.vault, OPERATOR_STAKE), wait=WAIT_SECONDS)
        bank.do("stake", market.add_stake(keys["operator"].address, OPERATOR_STAKE), wait=WAIT_SECONDS)
    finally:
        outbox.close()
    return network


def _wallets(folder: Path) -> dict[str, Key]:
    home = folder / "wallets"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    password_file = home / "password"
    if not password_file.exists():
        _make(password_file, lambda part: keystore.write_private(part, secrets.token_hex(32)))
    password = keystore.read_password(password_file)
    for name in WALLETS:
        path = home / f"{name}.json"
        if not path.exists():
            # The password cannot be guessed: one round is as good as many.
            _make(path, lambda part: keystore.save(keystore.new_key(), part, password, iterations=1))
    return {name: keystore.load(home / f"{name}.json", password) for name in WALLETS}


def _make(path: Path, write: Callable[[Path], None]) -> None:
    """A file that is there as a whole or not at all."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    write(part)
    _keep(part, path)


def _keep(part: Path, path: Path) -> None:
    part.replace(path)
    sync_folder(path.parent)


def _reach(url: str) -> Chain:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return Chain(url, CHAIN_ID)
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)

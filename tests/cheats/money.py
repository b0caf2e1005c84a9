# SPDX-License-Identifier: GPL-3.0-or-later
"""Wallets for the liar and the artist: a stake to lose, and tokens to pay with."""

from dataclasses import dataclass
from pathlib import Path

from payments import keystore
from payments.network import load
from payments.outbox import FileOutbox
from payments.wallet import Wallet
from render_farm.cli.paid.purse import Place, Purse, open_market, open_purse
from render_farm.embedded.money import money_folder
from render_farm.embedded.supervisor import Farm

PRICE = "0.01"
STAKE = 1_000 * 10**18
SECONDS = 60.0


@dataclass(frozen=True)
class Selling:
    """What a node is told so that it sells."""

    options: list[str]
    environment: dict[str, str]
    address: str


def sell_with_stake(farm: Farm, wallet: Path) -> Selling:
    """A wallet of its own for a node, with stake that the bank gave."""
    farm.wait_for_money()
    home = money_folder(farm.folder)
    password = keystore.read_password(home.password)
    key = keystore.new_key()
    keystore.save(key, wallet, password, iterations=1)
    bank = keystore.load(home.wallet("bank"), password)
    outbox = FileOutbox(wallet.with_suffix(".outbox"))
    try:
        market = open_market(load(home.network), farm.chain_url)
        Wallet(market, bank, outbox).stake("stake", key.address, STAKE, wait=SECONDS)
    finally:
        outbox.close()
    options = ["--price", PRICE, "--wallet", str(wallet), "--chain", str(home.network)]
    return Selling(options, {"FARM_WALLET_PASSWORD_FILE": str(home.password)}, key.address)


def artists_purse(farm: Farm) -> Purse:
    """The embedded farm's client wallet."""
    home = money_folder(farm.folder)
    wallet = home.wallet("client")
    return open_purse(Place(farm.chain_url, home.network, wallet, home.password, home.path / "purse"))

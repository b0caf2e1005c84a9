# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm wallet`: make a wallet, see what it has, and fill it with play money."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frame_splitter import shared_options as shared
from frame_splitter.command_line import Group, UsageError
from frame_splitter.errors import Conflict, InvalidInput
from frame_splitter.option_types import FILE
from payments import amounts
from payments.money import Wei
from payments.network import load
from render_farm.cli.access import open_farm
from render_farm.cli.display.console import Console
from render_farm.cli.options import (
    EMBEDDED,
    ChainChoice,
    FarmChoice,
    chain_options,
    farm_options,
    json_option,
    password_option,
)
from render_farm.cli.paid.passwords import chosen_password
from render_farm.cli.paid.purse import SENDING_SECONDS, TooPoor, chosen_chain, held_outbox, open_market
from render_farm.cli.paid.signers import address_of
from render_farm.embedded.money import BANK_OUTBOX, MoneyFolder, money_folder

if TYPE_CHECKING:
    from payments.market import Market

COINS = Wei(10 * 10**18)
"""What the faucet gives a wallet that has less: more than all the fees it will pay."""
COIN_DECIMALS = 18

_WALLETS = """examples:
  render-farm wallet show                              what the embedded farm's client has
  render-farm wallet create me.json
  render-farm wallet fund 100                          play money, on a local chain
"""

_CREATE = """examples:
  render-farm wallet create me.json                    asks for a password, twice
  render-farm wallet create me.json --password-file pw

The file and its password are the wallet: without both, what it holds is lost. No file is written over.
"""

_SHOW = """examples:
  render-farm wallet show                              the embedded farm's client
  render-farm wallet show --wallet me.json --chain chain.toml
  render-farm wallet show --json | jq .tokens

Amounts in JSON are integers in the smallest unit.
"""

_FUND = """examples:
  render-farm wallet fund 100                          play money for the embedded farm's client
  render-farm wallet fund 2.5 --wallet me.json

For local chains only, whose coin and token are worth nothing: the chain's faucet gives coins for fees, the
embedded farm's bank the token.
"""

wallet = Group("wallet", help="make, show or fund a wallet", epilog=_WALLETS)
_wallet_option = shared.wallet("named", help=f"the wallet's keystore, or its address {EMBEDDED}")


@dataclass(frozen=True, slots=True)
class WalletCreated:
    """A new wallet and its file."""

    address: str
    file: str


@dataclass(frozen=True, slots=True)
class WalletShown:
    """What a wallet has on a chain, in the smallest units: coins for fees, token, and stake, of which `bound`
    is behind agreements.
    """

    address: str
    chain_id: int
    coins: int
    tokens: int
    stake_free: int
    stake_bound: int
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class WalletFunded:
    """What a wallet was given, and what it has now."""

    given: int
    coins_given: int
    transaction: str
    wallet: WalletShown


@wallet.command("create", help="make a wallet", epilog=_CREATE)
@click.argument("file", metavar="FILE", type=FILE, help="a new file, such as me.json")
@password_option
@json_option
@click.pass_obj
def create(console: Console, file: Path, password_file: Path | None) -> None:
    """Make a wallet."""
    if file.exists():
        raise Conflict(f"{file} is there already: a wallet is never written over.")
    if not file.parent.is_dir():
        raise InvalidInput(f"There is no folder {file.parent} for the wallet.")
    from payments import keystore  # noqa: PLC0415 - what signs takes long to load

    password = chosen_password(password_file)
    key = keystore.new_key()
    keystore.save(key, file, password)
    console.result(WalletCreated(key.address, str(file)), f"{key.address} is the new wallet in {file}.")


@wallet.command("show", help="what a wallet has", epilog=_SHOW)
@farm_options
@_wallet_option
@chain_options
@click.pass_obj
def show(console: Console, farm: FarmChoice, named: Path | None, contracts: ChainChoice) -> None:
    """Show what a wallet has."""
    with _reached(farm, contracts, console) as market:
        shown = _shown(market, _address(farm, contracts, named))
        console.result(shown, _text(shown))


@wallet.command("fund", help="play money, on a local chain", epilog=_FUND)
@farm_options
@click.argument("amount", metavar="AMOUNT", help="how much of the token, such as 100")
@_wallet_option
@chain_options
@click.pass_obj
def fund(console: Console, farm: FarmChoice, amount: str, named: Path | None, contracts: ChainChoice) -> None:
    """Give a wallet play money. Coins first: a chain without a faucet is left as it is."""
    with _reached(farm, contracts, console) as market:
        address, given = _address(farm, contracts, named), amounts.parse(amount, market.network.decimals)
        if given == 0:
            raise InvalidInput("Nothing is to be given.")
        coins = _coins(market, address)
        sent = _from_bank(money_folder(farm.folder), market, address, given)
        shown = _shown(market, address)
        told = f"{amounts.format(given, shown.decimals)} {shown.symbol}"
        console.result(WalletFunded(given, coins, sent, shown), f"Gave {told}.\n{_text(shown)}")


@contextmanager
def _reached(farm: FarmChoice, chosen: ChainChoice, console: Console) -> Iterator["Market"]:
    """The contracts that were named, or the embedded farm's, which is started where it does not run."""
    if chosen.chain is not None:
        network, url = chosen_chain(farm, chosen, None)
        yield open_market(load(network), url, console.say)
        return
    with open_farm(farm, console.say, node=False, money=True) as access:
        if access.own is not None:
            access.own.wait_for_money()
        network, url = chosen_chain(farm, chosen, access)
        yield open_market(load(network), url, console.say)


def _address(farm: FarmChoice, chosen: ChainChoice, named: Path | None) -> str:
    file = named or (money_folder(farm.folder).wallet("client") if chosen.chain is None else None)
    if file is None:
        raise UsageError("Which wallet? Name its keystore with --wallet (or FARM_WALLET).")
    return address_of(file)


def _shown(market: "Market", address: str) -> WalletShown:
    network, stake = market.network, market.stake(address)
    return WalletShown(
        address=address,
        chain_id=network.chain_id,
        coins=market.chain.balance(address),
        tokens=market.token_balance(address),
        stake_free=stake.free,
        stake_bound=stake.bound,
        symbol=network.symbol,
        decimals=network.decimals,
    )


def _text(shown: WalletShown) -> str:
    def told(amount: int) -> str:
        return f"{amounts.format(amount, shown.decimals)} {shown.symbol}"

    lines = [
        f"wallet  {shown.address} on chain {shown.chain_id}",
        f"token   {told(shown.tokens)}",
        f"coins   {amounts.format(shown.coins, COIN_DECIMALS)}, for fees",
    ]
    if shown.stake_free or shown.stake_bound:
        lines.append(f"stake   {told(shown.stake_free)} free, {told(shown.stake_bound)} behind agreements")
    return "\n".join(lines)


def _coins(market: "Market", address: str) -> int:
    from payments.chain import NoFaucet  # noqa: PLC0415 - web3 takes seconds to load

    # Asked for a little at least: it shows whether this chain's money is for play.
    missing = Wei(max(1, COINS - market.chain.balance(address)))
    try:
        market.chain.fund(address, missing)
    except NoFaucet as error:
        raise NoFaucet(
            f"{error.sentence} `wallet fund` is for play money; send {address} coins and "
            f"{market.network.symbol} from a wallet that has some."
        ) from error
    return missing


def _from_bank(home: MoneyFolder, market: "Market", address: str, amount: Wei) -> str:
    """Token out of the embedded farm's bank; the transaction's hash."""
    from payments import keystore  # noqa: PLC0415 - web3 takes seconds to load
    from payments.wallet import Wallet  # noqa: PLC0415

    bank = keystore.load(home.wallet("bank"), keystore.read_password(home.password))
    has = market.token_balance(bank.address)
    if has < amount:
        raise TooPoor(f"The bank has {amounts.format(has, market.network.decimals)}, less than that.")
    with held_outbox(home.path / "wallets" / BANK_OUTBOX) as outbox:
        wallet = Wallet(market, bank, outbox)
        return "0x" + wallet.transfer(f"fund {address}", address, amount, SENDING_SECONDS)

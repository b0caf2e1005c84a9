# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm wallet`: make a wallet, see what it has, and fill it with play money."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farm_protocol.errors import Conflict, InvalidInput
from payments import amounts
from payments.money import Wei
from payments.network import load
from render_farm.cli.access import open_farm
from render_farm.cli.console import Console
from render_farm.cli.options import UsageError
from render_farm.cli.passwords import chosen_password
from render_farm.cli.purse import SENDING_SECONDS, TooPoor, chosen_chain, held_outbox, open_market
from render_farm.cli.signers import address_of
from render_farm.embedded.money import BANK_OUTBOX, MoneyFolder, money_folder
from render_farm.embedded.supervisor import state_folder

if TYPE_CHECKING:
    from payments.market import Market

COINS = Wei(10 * 10**18)
"""What the faucet gives a wallet that has less: more than all the fees it will pay."""
COIN_DECIMALS = 18


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


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Create, show or fund."""
    if chosen.action == "create":
        return _create(chosen, console)
    with _reached(chosen, console) as market:
        address = _address(chosen)
        if chosen.action == "fund":
            return _fund(chosen, console, market, address)
        shown = _shown(market, address)
        console.result(shown, _text(shown))
    return 0


def _create(chosen: argparse.Namespace, console: Console) -> int:
    file: Path = chosen.file
    if file.exists():
        raise Conflict(f"{file} is there already: a wallet is never written over.")
    if not file.parent.is_dir():
        raise InvalidInput(f"There is no folder {file.parent} for the wallet.")
    from payments import keystore  # noqa: PLC0415 - what signs takes long to load

    password = chosen_password(chosen.password_file)
    key = keystore.new_key()
    keystore.save(key, file, password)
    console.result(WalletCreated(key.address, str(file)), f"{key.address} is the new wallet in {file}.")
    return 0


@contextmanager
def _reached(chosen: argparse.Namespace, console: Console) -> Iterator["Market"]:
    """The contracts that were named, or the embedded farm's, which is started where it does not run."""
    if chosen.chain is not None:
        network, url = chosen_chain(chosen, None)
        yield open_market(load(network), url, console.say)
        return
    with open_farm(chosen, console.say, node=False, money=True) as access:
        if access.own is not None:
            access.own.wait_for_money()
        network, url = chosen_chain(chosen, access)
        yield open_market(load(network), url, console.say)


def _address(chosen: argparse.Namespace) -> str:
    file = chosen.wallet or (_home(chosen).wallet("client") if chosen.chain is None else None)
    if file is None:
        raise UsageError("Which wallet? Name its keystore with --wallet (or FARM_WALLET).")
    return address_of(file)


def _home(chosen: argparse.Namespace) -> MoneyFolder:
    return money_folder(state_folder(chosen.state_dir))


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


def _fund(chosen: argparse.Namespace, console: Console, market: "Market", address: str) -> int:
    """Coins first: a chain without a faucet is left as it is."""
    amount = amounts.parse(chosen.amount, market.network.decimals)
    if amount == 0:
        raise InvalidInput("Nothing is to be given.")
    coins = _coins(market, address)
    sent = _from_bank(_home(chosen), market, address, amount)
    shown = _shown(market, address)
    given = f"{amounts.format(amount, shown.decimals)} {shown.symbol}"
    console.result(WalletFunded(amount, coins, sent, shown), f"Gave {given}.\n{_text(shown)}")
    return 0


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `chain` and `wallet`: contracts on a chain, and what signs there."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from render_farm.cli.money_options import Adder, add_chain, add_file

Parser = argparse.ArgumentParser
Known = Mapping[str, str]
"""The environment."""

CHAINS = """examples:
  render-farm chain show                               the embedded farm's contracts
  render-farm chain deploy --wallet deployer.json -o chain.toml
"""

WALLETS = """examples:
  render-farm wallet show                              what the embedded farm's client has
  render-farm wallet create me.json
  render-farm wallet fund 100                          play money, on a local chain
"""

_DEPLOY = """examples:
  export FARM_CHAIN_URL=https://rpc.example/KEY        # may carry a secret, so it is no option
  render-farm chain deploy --wallet deployer.json --token 0x... -o chain.toml
  render-farm chain deploy --wallet deployer.json --password-file pw --confirmations 0 \\
      --claim-window 1h --decision-window 1h --grace 1h --unbonding 4h --slash-delay 10m -o test.toml

Without --token a new token is made, and all of it is the wallet's. Cut off anywhere, the same command goes
on where it was. Nobody can change the contracts afterwards, the wallet neither.
"""

_SHOW_CHAIN = """examples:
  render-farm chain show                               the embedded farm's
  render-farm chain show --chain chain.toml --json | jq .network.market

With FARM_CHAIN_URL the contracts are looked at, and it exits with 1 where they are not as the file says.
"""

_CREATE = """examples:
  render-farm wallet create me.json                    asks for a password, twice
  render-farm wallet create me.json --password-file pw

The file and its password are the wallet: without both, what it holds is lost. No file is written over.
"""

_SHOW_WALLET = """examples:
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

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WINDOWS = (
    ("claim-window", "3d", "how long a claim can be contested"),
    ("decision-window", "4d", "how long arbiters have for a contested claim"),
    ("grace", "2d", "after a job's deadline, before the rest can be refunded"),
    ("unbonding", "14d", "how long stake stays bound; more than the three above together"),
    ("slash-delay", "2d", "how long a slash can be taken back before it is carried out"),
)


def add_chain_actions(add: Adder, common: Parser, plain: Parser, known: Known) -> None:
    """`chain deploy` and `chain show`; `plain` has what commands without a farm take."""
    deploy = add("deploy", parents=[plain], help="put the contracts on a chain", epilog=_DEPLOY)
    _add_key(deploy, known)
    deploy.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="such as chain.toml")
    deploy.add_argument("--token", metavar="ADDRESS", help="the ERC-20 token that is paid with")
    deploy.add_argument("--chain-id", metavar="N", type=_count, help="refuse any other chain")
    deploy.add_argument(
        "--confirmations",
        metavar="N",
        type=_count,
        default=2,
        help="blocks that must follow before something is believed (default: 2); 0 for chains that mine "
        "on demand",
    )
    group = deploy.add_argument_group("times, such as 90s, 30m, 12h or 3d; they cannot be changed later")
    for name, default, meaning in _WINDOWS:
        group.add_argument(
            f"--{name}", metavar="T", type=duration, default=default, help=f"{meaning} (default: {default})"
        )
    urls = {name: known.get(f"FARM_{name.upper()}", "") for name in ("chain_url", "signer_url")}
    deploy.set_defaults(**urls)
    show = add("show", parents=[common], help="which contracts there are", epilog=_SHOW_CHAIN)
    add_chain(show, known)


def add_wallet_actions(add: Adder, common: Parser, plain: Parser, known: Known) -> None:
    """`wallet create`, `wallet show` and `wallet fund`."""
    create = add("create", parents=[plain], help="make a wallet", epilog=_CREATE)
    create.add_argument("file", metavar="FILE", type=Path, help="a new file, such as me.json")
    _add_password(create, known)
    show = add("show", parents=[common], help="what a wallet has", epilog=_SHOW_WALLET)
    fund = add("fund", parents=[common], help="play money, on a local chain", epilog=_FUND)
    fund.add_argument("amount", metavar="AMOUNT", help="how much of the token, such as 100")
    for command in (show, fund):
        add_file(command, known, "wallet", "FARM_WALLET", "the wallet's keystore, or its address")
        add_chain(command, known)


def duration(text: str) -> int:
    """`90s`, `30m`, `12h` or `3d` in seconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is no time: write 90s, 30m, 12h or 3d")
    return int(match[1]) * _UNITS[match[2]]


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not a whole number")
    return int(text)


def _add_key(command: Parser, known: Known) -> None:
    wallet = known.get("FARM_WALLET")
    command.add_argument(
        "--wallet",
        metavar="FILE",
        type=Path,
        default=Path(wallet) if wallet else None,
        required=not wallet,
        help="the keystore of the wallet that pays, or its address: then FARM_SIGNER_URL signs [FARM_WALLET]",
    )
    _add_password(command, known)


def _add_password(command: Parser, known: Known) -> None:
    file = known.get("FARM_WALLET_PASSWORD_FILE")
    command.add_argument(
        "--password-file",
        metavar="FILE",
        type=Path,
        default=Path(file) if file else None,
        help="its first line is the password [FARM_WALLET_PASSWORD_FILE] (default: it is asked for)",
    )

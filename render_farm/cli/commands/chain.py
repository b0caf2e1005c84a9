# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm chain`: put the contracts on a chain, and see which there are."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from command_line import shared_options as shared
from command_line.option_types import FILE, Span, Whole
from command_line.program import Decorator, Group, UsageError, option, together
from farm_protocol.errors import Conflict, FarmError
from payments.messages.network import Network, Windows, load, save
from render_farm.cli.access import find_running
from render_farm.cli.display.console import Console
from render_farm.cli.options import (
    ChainChoice,
    FarmChoice,
    chain_options,
    farm_options,
    json_option,
    password_option,
)
from render_farm.cli.paid.client_wallet import CHAIN_SECONDS, held_outbox, open_market
from render_farm.cli.paid.signers import open_signer
from render_farm.embedded.money import money_folder

if TYPE_CHECKING:
    from payments.chain.outbox import FileOutbox

MOST = 10**15
DEPLOYING_SECONDS = 900.0
"""For two transactions and their confirmations."""
SHOWING_SECONDS = 5.0
"""Who asks whether a chain is there wants to hear that it is not."""
_TIMES = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))

_CHAINS = """examples:
  render-farm chain show                               the embedded farm's contracts
  render-farm chain deploy --wallet deployer.json -o chain.toml
"""

_DEPLOY = """examples:
  export FARM_CHAIN_URL=https://rpc.example/KEY        # may carry a secret, so it is no option
  render-farm chain deploy --wallet deployer.json --token 0x... -o chain.toml
  render-farm chain deploy --wallet deployer.json --password-file pw --confirmations 0 \\
      --claim-window 1h --decision-window 1h --grace 1h --unbonding 4h --slash-delay 10m -o test.toml

Without --token a new token is made, and all of it is the wallet's. Cut off anywhere, the same command goes
on where it was. Nobody can change the contracts afterwards, the wallet neither.
"""

_SHOW = """examples:
  render-farm chain show                               the embedded farm's
  render-farm chain show --chain chain.toml --json | jq .network.market

With FARM_CHAIN_URL the contracts are looked at, and it exits with 1 where they are not as the file says.
"""

chain = Group("chain", help="the contracts that hold the money", epilog=_CHAINS)


def _window(name: str, field: str, usual: str, meaning: str) -> Decorator[Any]:
    return option(
        f"--{name}",
        field,
        metavar="T",
        type=Span(),
        default=usual,
        section="times, such as 90s, 30m, 12h or 3d; they cannot be changed later",
        help=f"{meaning} (default: {{default}})",
    )


_windows = together(
    "windows",
    Windows,
    _window("claim-window", "claim", "3d", "how long a claim can be contested"),
    _window("decision-window", "decision", "4d", "how long arbiters have for a contested claim"),
    _window("grace", "grace", "2d", "after a job's deadline, before the rest can be refunded"),
    _window(
        "unbonding", "unbonding", "14d", "how long stake stays bound; more than the three above together"
    ),
    _window("slash-delay", "slash", "2d", "how long a slash can be taken back before it is carried out"),
)


@dataclass(frozen=True, slots=True)
class DeployChoice:
    """Who pays for which contracts on which chain."""

    wallet: Path
    password_file: Path | None
    signer_url: str = field(repr=False)
    chain_url: str = field(repr=False)
    output: Path
    token: str | None
    chain_id: int | None
    confirmations: int


_deploy_options = together(
    "chosen",
    DeployChoice,
    shared.wallet(
        required=True, help="the keystore of the wallet that pays, or its address: then FARM_SIGNER_URL signs"
    ),
    password_option,
    shared.signer_url,
    shared.chain_url,
    option("-o", "--output", metavar="FILE", type=FILE, required=True, help="such as chain.toml"),
    option("--token", metavar="ADDRESS", help="the ERC-20 token that is paid with"),
    option("--chain-id", metavar="N", type=Whole(0, MOST), help="refuse any other chain"),
    option(
        "--confirmations",
        metavar="N",
        type=Whole(0, MOST),
        default=2,
        help="blocks that must follow before something is believed (default: {default}); 0 for chains that "
        "mine on demand",
    ),
)


@dataclass(frozen=True, slots=True)
class ChainShown:
    """The contracts that a file names. `host` is where they were looked at, and `head` the last block there;
    `wrong` says what is not as the file has it.
    """

    file: str
    network: Network
    host: str = ""
    head: int | None = None
    wrong: str = ""


@chain.command("deploy", help="put the contracts on a chain", epilog=_DEPLOY)
@_deploy_options
@_windows
@json_option
@click.pass_obj
def deploy_contracts(console: Console, chosen: DeployChoice, windows: Windows) -> None:
    """Put the contracts on a chain."""
    if not chosen.chain_url:
        raise UsageError("Which chain? Set FARM_CHAIN_URL to its JSON-RPC address.")
    if chosen.output.exists():
        raise Conflict(f"{chosen.output} is there already: contracts in use are not written over.")
    # web3 takes seconds to load.
    from payments.chain.deploy import check_windows, deploy  # noqa: PLC0415
    from payments.chain.rpc import Chain, Patience  # noqa: PLC0415

    check_windows(windows)
    key = open_signer(chosen.wallet, chosen.password_file, chosen.signer_url)
    chain = Chain(chosen.chain_url, chosen.chain_id, patience=Patience(CHAIN_SECONDS, console.say))
    console.say(f"Deploying on chain {chain.chain_id} at {chain.host}, from {key.address} ...")
    with _outbox(chosen.output, chain.chain_id, key.address) as outbox:
        network = deploy(
            chain, key, outbox, windows, chosen.token, chosen.confirmations, wait=DEPLOYING_SECONDS
        )
        save(network, chosen.output)
    shown = ChainShown(str(chosen.output), network, chain.host, chain.head())
    console.result(shown, f"{_text(shown)}\nWritten to {chosen.output}.")


@contextmanager
def _outbox(output: Path, chain: int, address: str) -> Iterator["FileOutbox"]:
    """What was sent for this file: kept until the file is there, so that it is deployed once."""
    path = output.with_name(f".{output.name}-{chain}-{address.lower()}.sent")
    with held_outbox(path) as outbox:
        yield outbox
        for one in (path, path.with_suffix(".lock")):
            one.unlink(missing_ok=True)


@chain.command("show", help="which contracts there are", epilog=_SHOW)
@farm_options
@chain_options
@click.pass_obj
def show(console: Console, farm: FarmChoice, contracts: ChainChoice) -> int:
    """Show the contracts; 1 where the chain is not as the file has it."""
    folder = farm.folder
    file, url = contracts.chain, contracts.chain_url
    if file is None:
        file, running = money_folder(folder).network, find_running(folder, console.say)
        url = running.chain if running else ""
        if not file.exists():
            raise UsageError("Which contracts? Name their file with --chain; no embedded farm has any here.")
    shown = _looked_at(file, load(file), url)
    console.result(shown, _text(shown))
    return 1 if shown.wrong else 0


def _looked_at(file: Path, network: Network, url: str) -> ChainShown:
    if not url:
        return ChainShown(str(file), network)
    try:
        chain = open_market(network, url, seconds=SHOWING_SECONDS).chain
    except FarmError as error:
        return ChainShown(str(file), network, wrong=error.sentence)
    return ChainShown(str(file), network, chain.host, chain.head())


def _text(shown: ChainShown) -> str:
    network, windows = shown.network, shown.network.windows
    times = (
        f"claim {_time(windows.claim)}, decision {_time(windows.decision)}, grace {_time(windows.grace)}, "
        f"unbonding {_time(windows.unbonding)}, slash {_time(windows.slash)}"
    )
    lines = [
        f"chain          {network.chain_id}, from block {network.first_block}",
        f"token          {network.token}  {network.symbol}, {network.decimals} decimals",
        f"market         {network.market}",
        f"vault          {network.vault}",
        f"disputes       {network.disputes}",
        f"times          {times}",
        f"confirmations  {network.confirmations}",
        _state(shown),
    ]
    return "\n".join(lines)


def _state(shown: ChainShown) -> str:
    if shown.wrong:
        return f"WRONG          {shown.wrong}"
    if shown.head is None:
        return "not looked at  FARM_CHAIN_URL is not set, or the farm does not run"
    seen = time.strftime("%H:%M:%S")
    return f"as it should   at {shown.host}, block {shown.head}, {seen}"


def _time(seconds: int) -> str:
    size, unit = next(one for one in _TIMES if seconds % one[0] == 0)
    return f"{seconds // size}{unit}"

# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm chain`: put the contracts on a chain, and see which there are."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farm_protocol.errors import Conflict, FarmError
from payments.network import Network, Windows, load, save
from render_farm.cli.access import find_running
from render_farm.cli.console import Console
from render_farm.cli.options import UsageError
from render_farm.cli.purse import CHAIN_SECONDS, held_outbox, open_market
from render_farm.cli.signers import open_signer
from render_farm.embedded.money import money_folder
from render_farm.embedded.supervisor import state_folder

if TYPE_CHECKING:
    from payments.outbox import FileOutbox

DEPLOYING_SECONDS = 900.0
SHOWING_SECONDS = 5.0
"""Who asks whether a chain is there wants to hear that it is not."""
"""For two transactions and their confirmations."""
_TIMES = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


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


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Deploy or show; 1 where the chain is not as the file has it."""
    return _deploy(chosen, console) if chosen.action == "deploy" else _show(chosen, console)


def _deploy(chosen: argparse.Namespace, console: Console) -> int:
    if not chosen.chain_url:
        raise UsageError("Which chain? Set FARM_CHAIN_URL to its JSON-RPC address.")
    if chosen.output.exists():
        raise Conflict(f"{chosen.output} is there already: contracts in use are not written over.")
    # web3 takes seconds to load.
    from payments.chain import Chain, Patience  # noqa: PLC0415
    from payments.deploy import deploy  # noqa: PLC0415

    windows = _windows(chosen)
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
    return 0


def _windows(chosen: argparse.Namespace) -> Windows:
    from payments.deploy import check_windows  # noqa: PLC0415 - web3 takes seconds to load

    windows = Windows(
        claim=chosen.claim_window,
        decision=chosen.decision_window,
        grace=chosen.grace,
        unbonding=chosen.unbonding,
        slash=chosen.slash_delay,
    )
    check_windows(windows)
    return windows


@contextmanager
def _outbox(output: Path, chain: int, address: str) -> Iterator["FileOutbox"]:
    """What was sent for this file: kept until the file is there, so that it is deployed once."""
    path = output.with_name(f".{output.name}-{chain}-{address.lower()}.sent")
    with held_outbox(path) as outbox:
        yield outbox
        for one in (path, path.with_suffix(".lock")):
            one.unlink(missing_ok=True)


def _show(chosen: argparse.Namespace, console: Console) -> int:
    folder = state_folder(chosen.state_dir)
    file, url = chosen.chain, chosen.chain_url
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm up`: a farm that runs until it is told to stop."""

import argparse
import re
import signal
from dataclasses import dataclass

from farm_protocol.errors import InvalidInput
from render_farm.cli.console import Console, log_to_stderr
from render_farm.cli.options import RULES, UsageError
from render_farm.client import FarmClient
from render_farm.embedded.money import Outside
from render_farm.embedded.supervisor import Farm, FarmOptions, state_folder
from render_farm.tls import certificate


@dataclass(frozen=True, slots=True)
class UpResult:
    """Where the farm answers, the operator's token, and the address its receipts are signed by."""

    url: str
    token: str
    state_dir: str
    address: str


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Run the farm. Ctrl-C and SIGTERM stop it; both are the way it is meant to end."""
    log_to_stderr("info")
    options = _options(chosen)
    folder = state_folder(chosen.state_dir)
    farm = Farm(folder, options, console.say)
    try:
        with farm.running():
            farm.wait_for_node()
            _tell(farm, console)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        console.say("The farm has stopped; its jobs go on when it is started again.")
    return 0


def _options(chosen: argparse.Namespace) -> FarmOptions:
    slots = chosen.slots if chosen.slots is None else int(chosen.slots)
    if slots is not None and not 1 <= slots <= 10_000:
        raise InvalidInput(f"The number of slots must lie between 1 and 10000, not {slots}.")
    return FarmOptions(
        redis_url=chosen.redis_url,
        s3_endpoint=chosen.s3_endpoint,
        s3_public_endpoint=chosen.s3_public_endpoint,
        bind=chosen.bind,
        public_url=chosen.public_url,
        slots=slots,
        node=not chosen.no_node,
        rules=_rules(chosen),
        money=not chosen.no_money,
        chain=_outside(chosen),
        silence=_hang_seconds(chosen),
        cut_store=chosen.cut_store,
        certificate=certificate(chosen.tls_cert, chosen.tls_key),
        insecure=chosen.insecure,
    )


def _hang_seconds(chosen: argparse.Namespace) -> float:
    seconds = float(chosen.hang_seconds)
    if not 1 <= seconds <= 3600:
        raise InvalidInput(f"--hang-seconds must lie between 1 and 3600, not {seconds:g}.")
    return seconds


def _outside(chosen: argparse.Namespace) -> Outside | None:
    """The chain that was named instead of one of the farm's own. Raises UsageError without its URL."""
    if chosen.no_money or chosen.chain is None:
        return None
    if not chosen.chain_url:
        raise UsageError("--chain needs the chain's URL as well, in FARM_CHAIN_URL.")
    return Outside(chosen.chain_url, chosen.chain, chosen.wallet, chosen.password_file)


def _rules(chosen: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """What was said about audits. Raises InvalidInput for shares that are none, before anything starts."""
    given = {name: getattr(chosen, name.replace("-", "_")) for name, _, _ in RULES}
    for name, text in given.items():
        if text and name != "beacon" and not re.fullmatch(r"0?\.[0-9]{1,6}|[01](\.0*)?", text):
            raise InvalidInput(f"--{name} is '{text[:40]}', but must be a share from 0 to 1, such as 0.1.")
    return tuple((f"--{name}", text) for name, text in given.items() if text)


def _tell(farm: Farm, console: Console) -> None:
    console.say(f"The farm answers at {farm.public_url}. Ctrl-C stops it.")
    console.say(f"Its folder is {farm.folder.path}, with its logs in logs/.")
    if not farm.is_local:
        console.say("Other machines can join: `render-farm node add NAME` prints what to run there.")
    with FarmClient(farm.url, farm.token, own=True) as client:
        rules = client.rules()
    address = rules.address
    console.say(f"Its files go to and from {' '.join(rules.objects)}.")
    console.say(f"Its receipts are signed by {address}: `render-farm receipt verify FILE --farm {address}`.")
    result = UpResult(farm.public_url, farm.token, str(farm.folder.path), address)
    console.result(result, "")

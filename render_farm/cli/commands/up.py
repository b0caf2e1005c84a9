# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm up`: a farm that runs until it is told to stop."""

import signal
from dataclasses import dataclass, replace
from pathlib import Path

import click

from frame_splitter import shared_options as shared
from frame_splitter.command_line import Command, UsageError, option, together
from frame_splitter.option_types import Number, Whole
from render_farm.cli.display.console import Console, log_to_stderr
from render_farm.cli.options import FarmChoice, chain_of, farm_options, wallet_of
from render_farm.client import FarmClient
from render_farm.embedded.money import Outside
from render_farm.embedded.supervisor import Farm, FarmOptions
from render_farm.tls import certificate

_EXAMPLES = """examples:
  render-farm up
  render-farm up --slots 4
  render-farm up --audit-floor 0.2 --beacon https://api.drand.sh
  render-farm up --bind 0.0.0.0:8700 --public-url https://farm.example:8700 \\
      --tls-cert fullchain.pem --tls-key privkey.pem
  render-farm up --bind 10.8.0.1:8700 --insecure       in a VPN, which encrypts by itself
  render-farm up --s3-endpoint http://minio:9000 --s3-public-endpoint https://objects.example

With an outside object store, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set.
Ctrl-C stops the farm; jobs go on at the next start.
"""

_OUTSIDE = "outside parts and other machines"
_VERIFIED = "how work is verified (default: as docs/verification.md has it)"
_MONEY = "paid jobs (default: settled on a chain of the farm's own)"


@dataclass(frozen=True, slots=True)
class UpResult:
    """Where the farm answers, the operator's token, and the address its receipts are signed by."""

    url: str
    token: str
    state_dir: str
    address: str


def chosen_options(
    *,
    slots: int | None,
    no_node: bool,
    no_money: bool,
    hang_seconds: float,
    tls_cert: str,
    tls_key: str,
    chain: Path | None,
    chain_url: str,
    wallet: Path | None,
    password_file: Path | None,
    redis_url: str,
    s3_endpoint: str,
    s3_public_endpoint: str,
    bind: str,
    public_url: str,
    cut_store: bool,
    **rules: object,
) -> FarmOptions:
    """What was asked for; `rules` go to the coordinator as they are, which knows their defaults. Raises
    UsageError for a chain without its URL, InvalidInput for half a certificate.
    """
    if chain and not no_money and not chain_url:
        raise UsageError("--chain needs the chain's URL as well, in FARM_CHAIN_URL.")
    given = (
        (f"--{name.replace('_', '-')}", str(value)) for name, value in rules.items() if value is not None
    )
    return FarmOptions(
        redis_url=redis_url,
        s3_endpoint=s3_endpoint,
        s3_public_endpoint=s3_public_endpoint,
        bind=bind,
        public_url=public_url,
        slots=slots,
        node=not no_node,
        rules=tuple(given),
        money=not no_money,
        chain=Outside(chain_url, chain, wallet, password_file) if chain and not no_money else None,
        silence=hang_seconds,
        cut_store=cut_store,
        certificate=certificate(tls_cert, tls_key),
    )


@click.command("up", cls=Command, help="run a farm until Ctrl-C", epilog=_EXAMPLES)
@farm_options
@together(
    "options",
    chosen_options,
    option(
        "--slots",
        metavar="N",
        type=Whole(1, 10_000),
        envvar="FARM_SLOTS",
        help="tasks the own node renders at once",
    ),
    option("--no-node", is_flag=True, help="run no node here"),
    option(
        "--cut-store",
        is_flag=True,
        help="where the store's file is damaged inside, go on with what is before the damage",
    ),
    option(
        "--hang-seconds",
        metavar="S",
        type=Number(1, 3600),
        default=30.0,
        help="a part that answers nothing for so long is killed and started again ({default})",
    ),
    shared.redis_url(
        section=_OUTSIDE, default="", help="a Redis-protocol server instead of the embedded store"
    ),
    shared.s3_endpoint(
        section=_OUTSIDE, default="", help="an S3 server instead of the embedded object store"
    ),
    shared.s3_public_endpoint(section=_OUTSIDE),
    shared.bind(section=_OUTSIDE, default="", help="host or host:port to listen on (default: 127.0.0.1)"),
    shared.public_url(section=_OUTSIDE),
    shared.tls_cert(section=_OUTSIDE),
    shared.tls_key(section=_OUTSIDE),
    option("--no-money", is_flag=True, section=_MONEY, help="take free jobs only, and run no chain"),
    *chain_of(_MONEY),
    *wallet_of(_MONEY, "of the wallet that pays for the farm's transactions"),
    *shared.shares(_VERIFIED),
    shared.beacon(section=_VERIFIED),
    shared.unit_price(section=_VERIFIED),
)
@click.pass_obj
def up(console: Console, farm: FarmChoice, options: FarmOptions) -> None:
    """Run the farm. Ctrl-C and SIGTERM stop it; both are the way it is meant to end."""
    log_to_stderr("info")
    running = Farm(farm.folder, replace(options, insecure=farm.insecure), console.say)
    try:
        with running.running():
            running.wait_for_node()
            _tell(running, console)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        console.say("The farm has stopped; its jobs go on when it is started again.")


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of `gpu-worker`: their options and their help.

Each loads what it needs when it runs: Ray alone takes a second, and what speaks to a chain takes more.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from frame_splitter import shared_options as shared
from frame_splitter.command_line import Command, option, together, variable
from frame_splitter.errors import FarmError
from frame_splitter.option_types import FILE, Whole, name_of
from gpu_worker.config import MoneyChoice, NodeConfig, node_config, size_bytes, state_folder
from gpu_worker.devices import Choice
from gpu_worker.logs import configure_logs
from gpu_worker.program import COMMANDS, EXAMPLES

_MONEY_EXAMPLES = """The chain is reached at FARM_CHAIN_URL. Examples:
  export FARM_CHAIN_URL=https://rpc.example FARM_CHAIN=chain.toml
  export FARM_WALLET=operator.json FARM_WALLET_PASSWORD_FILE=operator.password
  gpu-worker stake 100
  gpu-worker earnings --json
  gpu-worker redeem
  gpu-worker claim JOB
  gpu-worker unstake 40
"""


class NodeCommand(Command):
    """A command whose events go to stderr as structured lines."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        configure_logs()
        return super().invoke(ctx)


class Size(click.ParamType[int]):
    """A size such as 20GB, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it. Raises InvalidInput."""
        return value if isinstance(value, int) else size_bytes(name_of(param), value)


def _command(name: str, epilog: str = EXAMPLES) -> Callable[[Callable[..., Any]], click.Command]:
    return click.command(name, cls=NodeCommand, help=COMMANDS[name], epilog=epilog)


@contextmanager
def _problems_told(as_json: bool) -> Iterator[None]:
    """What goes wrong in the block is told on stdout, too, for programs."""
    try:
        yield
    except FarmError as error:
        if as_json:
            from gpu_worker.inspect import problem  # noqa: PLC0415 - takes long to load

            print(problem(error))
        raise


# --- the node -------------------------------------------------------------------------------------

_state_dir = partial(option, "--state-dir", metavar="DIR", type=FILE)
_wallet_options = (
    shared.wallet(
        help="the operator's keystore; where nothing is sold its address will do: then FARM_SIGNER_URL signs"
    ),
    shared.password_file(help="its password"),
    shared.chain(help="which contracts: the farm's chain.toml"),
    shared.chain_url,
)


@_command("run")
@together(
    "config",
    node_config,
    shared.coordinator(help="the farm's address"),
    shared.token_file(
        envvar="FARM_NODE_TOKEN_FILE",
        help="the file with this node's token, from `render-farm node add`; - is standard input; "
        "FARM_NODE_TOKEN may be the token",
    ),
    variable("token", "FARM_NODE_TOKEN"),
    option(
        "--device",
        type=click.Choice([str(one) for one in Choice]),
        default="auto",
        help="what to render on ({default})",
    ),
    option(
        "--slots", metavar="N", type=Whole(1, 10_000), help="tasks at a time (all GPUs, or one per 4 cores)"
    ),
    option(
        "--threads-per-slot",
        metavar="N",
        type=Whole(1, 10_000),
        help="CPU threads of a slot (the cores shared)",
    ),
    option("--ray-address", metavar="ADDRESS", help="use a running Ray cluster, all its GPUs (or `auto`)"),
    option(
        "--own",
        is_flag=True,
        help="also finish frames and check other nodes' tiles; for nodes of the farm's operator",
    ),
    option(
        "--state-dir",
        "--cache",
        "state_dir",
        metavar="DIR",
        type=FILE,
        help="where scenes and work are kept, and this node's key and receipts (node.key, receipts.jsonl)",
    ),
    option(
        "--cache-size",
        metavar="SIZE",
        type=Size(),
        default="20GB",
        help="how much of the disk scenes may take ({default})",
    ),
    option(
        "--memory-limit", metavar="SIZE", type=Size(), help="memory of one Blender (the machine's, shared)"
    ),
    option("--stall-seconds", metavar="S", type=float, default=1800.0, help="longest silence ({default})"),
    option("--task-seconds", metavar="S", type=float, default=86400.0, help="longest task ({default})"),
    option(
        "--silence-seconds",
        metavar="S",
        type=float,
        default=60.0,
        help="a slot's process with a task that answers nothing for so long is started again ({default})",
    ),
    option(
        "--price",
        metavar="P",
        help="sell: do paid jobs only, for so much of the token a render unit; with FARM_CHAIN_URL the node "
        "looks at the chain whether a job is paid for",
    ),
    *_wallet_options,
    option("--payee", metavar="ADDRESS", default="", help="who is paid (the wallet itself)"),
    option(
        "--capacity",
        metavar="U",
        type=Whole(1, 1 << 40),
        default=1_000_000_000,
        help="render units to sell in all",
    ),
    option("--offer-days", metavar="D", type=float, default=30.0, help="how long an offer holds ({default})"),
    option(
        "--no-sandbox",
        is_flag=True,
        help="open scenes unsandboxed: those of --owner only, at the farm that --trust-farm names",
    ),
    option(
        "--trust-farm",
        metavar="KEY",
        default="",
        envvar="FARM_TRUST_FARM",
        help="your own farm's address (0x...), needed without a sandbox",
    ),
    option(
        "--owner",
        metavar="NAME",
        default="",
        envvar="FARM_NODE_OWNER",
        help="whose scenes are opened without a sandbox: yours",
    ),
    shared.objects(),
    shared.insecure(),
    shared.ca_file,
    option("--die-with-parent", is_flag=True, help="stop when the process that started this one ends"),
    option("--handed-over", type=FILE, hidden=True),
    option("--child-program", type=FILE, hidden=True),
)
def run(config: NodeConfig) -> int:
    """Run a node."""
    from gpu_worker.node import run_node  # noqa: PLC0415

    return run_node(config)


@_command("inspect")
@click.argument("scene", metavar="SCENE", type=FILE, help="a .blend file")
@option("--folder", metavar="FOLDER", type=FILE, help="the folder Blender may see (the scene's own)")
@option("--json", "as_json", is_flag=True, help="put problems on stdout too, as JSON")
@option("--color-config", metavar="FILE", default="", help="the OCIO configuration (Blender's own)")
@option("--no-sandbox", is_flag=True, help="open the file unsandboxed (without a sandbox it is not opened)")
@option("--child-program", type=FILE, hidden=True)
def inspect(
    scene: Path,
    folder: Path | None,
    as_json: bool,
    color_config: str,
    no_sandbox: bool,
    child_program: Path | None,
) -> None:
    """Print what is in a scene."""
    from gpu_worker.inspect import inspect_scene  # noqa: PLC0415

    with _problems_told(as_json):
        facts = inspect_scene(scene, folder, not no_sandbox, child_program, color_config)
    sys.stdout.buffer.write(facts + b"\n")


@_command("doctor")
@option("--quiet", is_flag=True, help="say nothing where nothing is missing")
@_state_dir(help="the node's folder, as for `run`")
@option("--json", "as_json", is_flag=True, help="say what holds a stranger's scene, for programs")
def doctor(quiet: bool, state_dir: Path | None, as_json: bool) -> int:
    """Say what this machine can render on; 1 where it lacks something."""
    from gpu_worker.doctor import report  # noqa: PLC0415

    if as_json:
        from gpu_worker import machine  # noqa: PLC0415

        print(json.dumps(machine.document(machine.find()), indent=2))
        return 0
    text, status = report(state_folder(state_dir))
    if status or not quiet:
        print(text)
    return status


# --- what an operator does with its wallet --------------------------------------------------------

_money_options = together(
    "chosen",
    MoneyChoice,
    _state_dir(help="the node's folder, as for `run`"),
    option("--json", "as_json", is_flag=True, help="the answer as JSON"),
    *_wallet_options,
    shared.signer_url,
)
_job_argument = click.argument("job", metavar="[JOB]", default="", help="one job only")
_money_command = partial(_command, epilog=_MONEY_EXAMPLES)


@_money_command("stake")
@click.argument("amount", metavar="AMOUNT", help="of the token, as in 12.5")
@_money_options
def stake(amount: str, chosen: MoneyChoice) -> int:
    """Put stake up."""
    with _problems_told(chosen.as_json):
        from gpu_worker.money import commands  # noqa: PLC0415

        return commands.stake(chosen, amount)


@_money_command("unstake")
@click.argument("amount", metavar="[AMOUNT]", required=False, help="of the token (all that is free)")
@_money_options
def unstake(amount: str | None, chosen: MoneyChoice) -> int:
    """Take back stake."""
    with _problems_told(chosen.as_json):
        from gpu_worker.money import commands  # noqa: PLC0415

        return commands.unstake(chosen, amount)


@_money_command("earnings")
@_job_argument
@option("--offline", is_flag=True, help="from the node's folder alone")
@_money_options
def earnings(job: str, offline: bool, chosen: MoneyChoice) -> int:
    """Tell what was earned."""
    with _problems_told(chosen.as_json):
        from gpu_worker.money import commands  # noqa: PLC0415

        return commands.earned_offline(chosen, job) if offline else commands.earnings(chosen, job)


@_money_command("redeem")
@_job_argument
@_money_options
def redeem(job: str, chosen: MoneyChoice) -> int:
    """Have vouchers paid; 1 where one was refused."""
    with _problems_told(chosen.as_json):
        from gpu_worker.money import commands  # noqa: PLC0415

        return commands.redeem(chosen, job)


@_money_command("claim")
@_job_argument
@option("--now", "at_once", is_flag=True, help="though the farm may still pay by itself")
@_money_options
def claim(job: str, at_once: bool, chosen: MoneyChoice) -> int:
    """Claim work without voucher; 1 where that was refused."""
    with _problems_told(chosen.as_json):
        from gpu_worker.money import commands  # noqa: PLC0415

        return commands.claim(chosen, job, at_once)

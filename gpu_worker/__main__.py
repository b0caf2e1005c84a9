# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpu-worker`: run a node, look into a scene, or see what this machine can do."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from farm_protocol.errors import FarmError
from farm_protocol.token_file import refuse_on_command_line
from farm_protocol.version import ShowVersion
from gpu_worker.config import node_config, state_folder
from gpu_worker.devices import Choice
from gpu_worker.logs import configure_logs

EXAMPLES = """examples:
  gpu-worker run --coordinator https://farm.example:8470 --token-file node.token
  gpu-worker run --coordinator https://farm.example:8470 --token-file node.token --device OPTIX
  gpu-worker run --coordinator https://farm.example:8470 --token-file node.token --ray-address auto
  gpu-worker run --coordinator http://127.0.0.1:8700 --token-file node.token --trust-farm 0x5Fb... --owner ann
  FARM_CA_FILE=studio.pem gpu-worker run --coordinator https://render.studio.lan:8700 --token-file node.token
  gpu-worker inspect scene.blend --json
  gpu-worker doctor
"""

MONEY_EXAMPLES = """The chain is reached at FARM_CHAIN_URL. Examples:
  export FARM_CHAIN_URL=https://rpc.example FARM_CHAIN=chain.toml
  export FARM_WALLET=operator.json FARM_WALLET_PASSWORD_FILE=operator.password
  gpu-worker stake 100
  gpu-worker earnings --json
  gpu-worker redeem
  gpu-worker claim JOB
  gpu-worker unstake 40
"""


def main(words: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    try:
        refuse_on_command_line(sys.argv[1:] if words is None else words, "FARM_NODE_TOKEN")
    except FarmError as error:
        print(f"gpu-worker: {error.sentence}", file=sys.stderr)
        return 2
    arguments = build_parser().parse_args(words)
    configure_logs()
    try:
        status = arguments.command(arguments)
    except FarmError as error:
        print(f"gpu-worker: {error.sentence}", file=sys.stderr)
        return 1
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(f"gpu-worker: {named}{error.strerror or error}.", file=sys.stderr)
        return 1
    return int(status)


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(
        prog="gpu-worker",
        description="Renders for a farm on this machine's GPUs or processor cores.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = partial(commands.add_parser, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_run(add("run", help="lease tasks from a farm and render them, until stopped"))
    _add_inspect(add("inspect", help="open a .blend and print what is in it, as JSON"))
    doctor = add("doctor", help="say what this machine can render on, and what it lacks")
    doctor.add_argument("--quiet", action="store_true", help="say nothing where nothing is missing")
    doctor.add_argument("--state-dir", metavar="DIR", help="the node's folder, as for `run`")
    doctor.add_argument("--json", action="store_true", help="say what holds a stranger's scene, for programs")
    doctor.set_defaults(command=_doctor)
    _add_money(commands)
    return parser


def _add_money(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What an operator does with its wallet."""
    what = {
        "stake": "put stake up: nodes are given work as far as it covers",
        "unstake": "take back stake that is behind no agreement",
        "earnings": "what was earned, vouched for and paid",
        "redeem": "have vouchers paid",
        "claim": "claim work that has receipts and no voucher, where a farm is silent",
    }
    for name, told in what.items():
        parser = commands.add_parser(
            name,
            help=told,
            description=f"{told[0].upper()}{told[1:]}.",
            epilog=MONEY_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == "stake":
            parser.add_argument("amount", help="of the token, as in 12.5")
        elif name == "unstake":
            parser.add_argument("amount", nargs="?", help="of the token (all that is free)")
        else:
            parser.add_argument("job", nargs="?", help="one job only")
        if name == "claim":
            parser.add_argument("--now", action="store_true", help="though the farm may still pay by itself")
        if name == "earnings":
            parser.add_argument("--offline", action="store_true", help="from the node's folder alone")
        parser.add_argument("--state-dir", metavar="DIR", help="the node's folder, as for `run`")
        parser.add_argument("--json", action="store_true", help="the answer as JSON")
        add_wallet_options(parser)
        parser.set_defaults(command=_money, what=name)


def _add_run(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--coordinator", metavar="URL", help="the farm's address (or FARM_COORDINATOR)")
    option(
        "--token-file",
        metavar="FILE",
        help="the file with this node's token, from `render-farm node add`; - is standard input "
        "(or FARM_NODE_TOKEN_FILE, or the token itself in FARM_NODE_TOKEN)",
    )
    option("--device", choices=[str(one) for one in Choice], default="auto", help="what to render on (auto)")
    option("--slots", type=int, metavar="N", help="tasks at a time (all GPUs, or one per 4 cores)")
    option("--threads-per-slot", type=int, metavar="N", help="CPU threads of a slot (the cores shared)")
    option(
        "--ray-address",
        metavar="ADDRESS",
        help="use a running Ray cluster, all its GPUs (or `auto`)",
    )
    option(
        "--own",
        action="store_true",
        help="also finish frames and check other nodes' tiles; for nodes of the farm's operator",
    )
    option(
        "--state-dir",
        "--cache",
        metavar="DIR",
        help="where scenes and work are kept, and this node's key and receipts (node.key, receipts.jsonl)",
    )
    option("--cache-size", default="20GB", metavar="SIZE", help="how much of the disk scenes may take (20GB)")
    option("--memory-limit", metavar="SIZE", help="memory of one Blender (the machine's, shared)")
    option("--stall-seconds", type=float, default=1800.0, metavar="S", help="longest silence (1800)")
    option("--task-seconds", type=float, default=86400.0, metavar="S", help="longest task (86400)")
    option(
        "--silence-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="a slot's process with a task that answers nothing for so long is started again (60)",
    )
    option(
        "--price",
        metavar="P",
        help="sell: do paid jobs only, for so much of the token a render unit; with FARM_CHAIN_URL the node "
        "looks at the chain whether a job is paid for",
    )
    add_wallet_options(parser)
    option("--payee", metavar="ADDRESS", help="who is paid (the wallet itself)")
    option("--capacity", type=int, default=1_000_000_000, metavar="U", help="render units to sell in all")
    option("--offer-days", type=float, default=30.0, metavar="D", help="how long an offer holds (30)")
    option(
        "--no-sandbox",
        action="store_true",
        help="open scenes unsandboxed: those of --owner only, at the farm that --trust-farm names",
    )
    option(
        "--trust-farm",
        metavar="KEY",
        help="your own farm's address (0x...), needed without a sandbox (or FARM_TRUST_FARM)",
    )
    option(
        "--owner",
        metavar="NAME",
        help="whose scenes are opened without a sandbox: yours (or FARM_NODE_OWNER)",
    )
    option(
        "--objects",
        action="append",
        metavar="URL",
        help="the farm's object store, where it is at a private address and the farm itself is not "
        "(or FARM_OBJECTS)",
    )
    option(
        "--insecure",
        action="store_true",
        help="plain http beyond this machine, in a network that is private itself (or FARM_INSECURE=1)",
    )
    option("--die-with-parent", action="store_true", help="stop when the process that started this one ends")
    option("--handed-over", metavar="DIR", help=argparse.SUPPRESS)
    option("--child-program", metavar="FILE", help=argparse.SUPPRESS)
    parser.set_defaults(command=_run)


def add_wallet_options(parser: argparse.ArgumentParser) -> None:
    """Which wallet, and which contracts."""
    option = parser.add_argument
    option(
        "--wallet",
        metavar="FILE",
        help="the operator's keystore (or FARM_WALLET); where nothing is sold its address will do: then "
        "FARM_SIGNER_URL signs",
    )
    option("--password-file", metavar="FILE", help="its password (or FARM_WALLET_PASSWORD_FILE)")
    option("--chain", metavar="FILE", help="which contracts: the farm's chain.toml (or FARM_CHAIN)")


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", type=Path, help="a .blend file")
    parser.add_argument("--folder", type=Path, help="the folder Blender may see (the scene's own)")
    parser.add_argument("--json", action="store_true", help="put problems on stdout too, as JSON")
    parser.add_argument("--color-config", default="", help="the OCIO configuration (Blender's own)")
    parser.add_argument(
        "--no-sandbox",
        action="store_true",
        help="open the file unsandboxed (without a sandbox it is not opened)",
    )
    parser.add_argument("--child-program", type=Path, help=argparse.SUPPRESS)
    parser.set_defaults(command=_inspect)


def _run(arguments: argparse.Namespace) -> int:
    # Each command imports only what it needs: Ray alone takes a second.
    from gpu_worker.node import run_node  # noqa: PLC0415

    return run_node(node_config(arguments))


def _inspect(arguments: argparse.Namespace) -> int:
    from gpu_worker.inspect import inspect_scene, problem  # noqa: PLC0415

    try:
        facts = inspect_scene(
            arguments.scene,
            arguments.folder,
            not arguments.no_sandbox,
            arguments.child_program,
            arguments.color_config,
        )
    except FarmError as error:
        if arguments.json:
            print(problem(error))
        raise
    sys.stdout.buffer.write(facts + b"\n")
    return 0


def _money(arguments: argparse.Namespace) -> int:
    from gpu_worker.inspect import problem  # noqa: PLC0415
    from gpu_worker.money import commands  # noqa: PLC0415 - web3 takes seconds to load

    try:
        return int(getattr(commands, arguments.what)(arguments))
    except FarmError as error:
        if arguments.json:
            print(problem(error))
        raise


def _doctor(arguments: argparse.Namespace) -> int:
    from gpu_worker.doctor import report  # noqa: PLC0415

    if arguments.json:
        from gpu_worker import machine  # noqa: PLC0415

        print(json.dumps(machine.document(machine.find()), indent=2))
        return 0
    text, status = report(state_folder(arguments.state_dir))
    if status or not arguments.quiet:
        print(text)
    return status


Command = Callable[[argparse.Namespace], int]

if __name__ == "__main__":
    sys.exit(main())

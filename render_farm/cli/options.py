# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands' options, their help, and the environment they fall back to.

The only place of the client's side that reads the environment.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from farm_protocol.errors import InvalidInput
from farm_protocol.token_file import refuse_on_command_line
from farm_protocol.version import ShowVersion
from render_farm.cli.chain_options import CHAINS, WALLETS, add_chain_actions, add_wallet_actions
from render_farm.cli.job_options import (
    JOB,
    JOB_EXAMPLES,
    add_job,
    add_job_options,
    add_receipts,
    add_scene,
    whole,
)
from render_farm.cli.money_options import PAID, add_budget, add_money
from render_farm.cli.people_options import (
    NODES,
    OWNERS,
    TOKENS,
    add_node_actions,
    add_owner_actions,
    add_token_actions,
)

_EXAMPLES = """examples:
  render-farm render shot.blend                        the scene's own frames and settings
  render-farm render shot.blend --frames 1-24 --output out/shot_####
  render-farm doctor shot.blend                        what would go wrong, before anything is sent
  render-farm up                                       keep a farm running; other commands find it
  render-farm node add workstation-2                   let another machine join it
  render-farm owner add ann                            let somebody else send jobs and add machines
  render-farm job list
  render-farm job statement --last                     what the last paid job cost
  render-farm wallet show                              what your wallet has
  render-farm receipt verify shot-frames/0001.png.receipt.json
"""

_RENDER = f"""examples:
  render-farm render still.blend --frames 1 --tiles 4x2
  render-farm render shot.blend --frames 1-100x5,200 --samples 64 --resolution-percentage 50
  render-farm render shot.blend --format OPEN_EXR --output /renders/shot/####
  render-farm render shot.blend --allow-outside /studio/textures
  render-farm render shot.blend --json | jq .frames
{PAID}
The same command again goes on with a job that was not finished; the frames of a finished one are there
already, and are rendered anew with --again.
Frame numbers take the place of #### as in Blender; without --output frames go to shot-frames/.
Files outside of the scene's folder are sent only after a yes, which is remembered for these files, or with
--allow-outside. Without a sandbox (bubblewrap) the scene is opened only after a yes, or with --trust-file.
"""

RULES = (
    ("audit-floor", "SHARE", "least share of a proven node's tiles that is audited, 0 to 1"),
    ("audit-own", "SHARE", "share of the own node's tiles that is audited, 0 to 1"),
    ("audit-own-first", "SHARE", "share of the audits that the own node does, and no stranger, 0 to 1"),
    ("audit-repeat", "SHARE", "share of the audits that the own node repeats, 0 to 1"),
    ("beacon", "URLS", "servers of a public drand beacon, comma between, instead of the farm's own"),
    ("unit-price", "N", "what quotes say a render unit costs where no node sells, in the smallest unit"),
)
"""Options of `up` that the coordinator takes under the same names."""

_UP = """examples:
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


_QUOTE = """examples:
  render-farm quote shot.blend --frames 1-250
  render-farm quote shot.blend --samples 512 --price 0.02
  render-farm quote shot.blend --json | jq '.units.p50, .finish_seconds'

Renders a few frames very small on the farm's own nodes. In JSON, work is in millionths of a render unit and
money in the token's smallest unit.
"""

_DOCTOR = """examples:
  render-farm doctor shot.blend
  render-farm doctor shot.blend --json | jq .problems

Exits with 1 when the scene cannot be rendered as it is. Sends nothing; files outside of the scene's folder
that `render` would ask for are listed.
"""

_RECEIPT = """examples:
  render-farm receipt verify shot-frames/0001.png.receipt.json
  render-farm receipt verify 0001.png.receipt.json --farm 0x5FbDB2315678afecb367f032d93F642f64180aa3
  for receipt in out/*.receipt.json; do render-farm receipt verify "$receipt" || break; done

Needs no farm and no network. A frame that lies beside its receipt is compared with it. Exits with 1
when anything is wrong.
"""

_AUDIT = """examples:
  render-farm audit list JOB                           who rendered what, what was audited, what came out
  render-farm audit replay JOB                         repeats every choice of the farm, from public data
  render-farm audit list JOB --json | jq '.submissions[] | select(.verdict == "rejected")'

  render-farm audit compare-heads mine.jsonl 0001.png.receipt.json     was one log told to both?

`replay` exits with 1 when the farm chose otherwise than its rule says, `compare-heads` when it signed two
logs. Heads are kept in DIR/heads of a --state-dir DIR, of nodes too. It needs no farm and no network.
"""


_MINUS_VALUES = {"--frames": "-[0-9]", "--seed": "-[0-9]"}
"""Options whose values may start with a minus, and what tells those from other options."""


class UsageError(InvalidInput):
    """The command line cannot be understood."""

    code = "usage"


class _Parser(argparse.ArgumentParser):
    """Complains with an exception, so that --json can answer with an object."""

    def error(self, message: str) -> NoReturn:
        sentence = message[0].upper() + message[1:] if message else "This cannot be understood"
        raise UsageError(f"{sentence}. `{self.prog} --help` shows how it is used.")


def parse(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> argparse.Namespace:
    """Read a command line. Raises UsageError; `--help` prints and exits as usual."""
    known = os.environ if environment is None else environment
    if arguments[:1] != ["chain"]:  # whose --token is the one that is paid with
        _refuse_token(arguments)
    return _parser(known).parse_args(_joined(arguments))


def _refuse_token(arguments: Sequence[str]) -> None:
    try:
        refuse_on_command_line(arguments, "FARM_TOKEN")
    except InvalidInput as error:
        raise UsageError(error.sentence) from error


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--frames -5--1` as `--frames=-5--1`: a value that starts with a minus is no option."""
    words: list[str] = []
    for word in arguments:
        value = words and re.match(_MINUS_VALUES.get(words[-1], "$."), word)
        if value:
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _parser(known: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="render-farm",
        description="Renders Blender scenes on many machines and gives back exactly Blender's picture.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = _common(known)
    _add_render(commands, common, known)
    _add_quote(commands, common, known)
    _add_doctor(commands, common, known)
    _add_up(commands, common, known)
    add_job(_command(commands, "job", help=JOB, epilog=JOB_EXAMPLES), _command, common, known)
    _add_people(commands, common)
    _add_audit(commands, common)
    _add_receipt(commands, known)
    _add_money(commands, common, known)
    return parser


def _common(known: Mapping[str, str]) -> argparse.ArgumentParser:
    """Options of every command."""
    common = _Parser(add_help=False)
    group = common.add_argument_group("which farm")
    group.add_argument(
        "--coordinator",
        metavar="URL",
        default=known.get("FARM_COORDINATOR", ""),
        help="use the farm at this address [FARM_COORDINATOR]",
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        default=known.get("FARM_TOKEN_FILE", ""),
        help="the file with your token there, or - for standard input [FARM_TOKEN_FILE, or the token itself "
        "in FARM_TOKEN]",
    )
    group.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        default=_state_dir(known),
        help="the folder an embedded farm lives in [FARM_STATE_DIR] (default: %(default)s)",
    )
    group.add_argument(
        "--insecure",
        action="store_true",
        default=known.get("FARM_INSECURE", "") not in ("", "0"),
        help="plain http beyond this machine, in a network that is private itself [FARM_INSECURE=1]",
    )
    group.add_argument(
        "--objects",
        metavar="URL",
        action="append",
        default=known.get("FARM_OBJECTS", "").split(),
        help="the farm's object store, where it is in a private network and the farm is not [FARM_OBJECTS]",
    )
    common.set_defaults(ca_file=known.get("FARM_CA_FILE", ""))
    _add_json(common)
    return common


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json", action="store_true", help="print exactly one JSON object; all else goes to stderr"
    )


def _state_dir(known: Mapping[str, str]) -> Path:
    if known.get("FARM_STATE_DIR"):
        return Path(known["FARM_STATE_DIR"])
    base = known.get("XDG_STATE_HOME", "")
    # The XDG specification wants relative values ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "render-farm"


def _command(commands: "argparse._SubParsersAction[_Parser]", name: str, **more: object) -> _Parser:
    return commands.add_parser(
        name,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,  # type: ignore[arg-type]
    )


def _add_render(
    commands: "argparse._SubParsersAction[_Parser]", common: argparse.ArgumentParser, known: Mapping[str, str]
) -> None:
    command = _command(
        commands, "render", parents=[common], help="render a scene and fetch its frames", epilog=_RENDER
    )
    add_scene(command, known)
    add_job_options(command)
    command.add_argument(
        "--output", metavar="PATTERN", default="", help="where frames go (default: SCENE-frames/####)"
    )
    command.add_argument("--again", action="store_true", help="render a job anew that was finished before")
    add_receipts(command)
    add_budget(command, known)


def _add_quote(
    commands: "argparse._SubParsersAction[_Parser]", common: argparse.ArgumentParser, known: Mapping[str, str]
) -> None:
    command = _command(
        commands, "quote", parents=[common], help="say what rendering a scene would take", epilog=_QUOTE
    )
    add_scene(command, known)
    add_job_options(command)
    command.add_argument(
        "--price",
        metavar="P",
        help="what a render unit costs, such as 0.01 (default: what the farm's nodes ask)",
    )


def _add_doctor(
    commands: "argparse._SubParsersAction[_Parser]", common: argparse.ArgumentParser, known: Mapping[str, str]
) -> None:
    command = _command(
        commands,
        "doctor",
        parents=[common],
        help="say what a farm would make of a scene",
        epilog=_DOCTOR,
    )
    add_scene(command, known)


def _add_up(
    commands: "argparse._SubParsersAction[_Parser]", common: argparse.ArgumentParser, known: Mapping[str, str]
) -> None:
    command = _command(commands, "up", parents=[common], help="run a farm until Ctrl-C", epilog=_UP)
    group = command.add_argument_group("outside parts and other machines")
    for name, meaning in (
        ("redis-url", "a Redis-protocol server instead of the embedded store"),
        ("s3-endpoint", "an S3 server instead of the embedded object store"),
        ("s3-public-endpoint", "the S3 server as clients and nodes reach it"),
        ("bind", "host or host:port to listen on (default: 127.0.0.1)"),
        ("public-url", "the coordinator as clients and nodes reach it"),
        ("tls-cert", "a certificate in PEM, for --bind to more than this machine (docs/tls.md)"),
        ("tls-key", "the certificate's key in PEM"),
    ):
        variable = f"FARM_{name.upper().replace('-', '_')}"
        group.add_argument(
            f"--{name}", metavar="X", default=known.get(variable, ""), help=f"{meaning} [{variable}]"
        )
    command.add_argument(
        "--slots",
        metavar="N",
        type=whole,
        default=known.get("FARM_SLOTS"),
        help="tasks the own node renders at once [FARM_SLOTS]",
    )
    command.add_argument("--no-node", action="store_true", help="run no node here")
    command.add_argument(
        "--cut-store",
        action="store_true",
        help="where the store's file is damaged inside, go on with what is before the damage",
    )
    command.add_argument(
        "--hang-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="a part that answers nothing for so long is killed and started again (30)",
    )
    add_money(command, known)
    _add_rules(command, known)


def _add_rules(command: argparse.ArgumentParser, known: Mapping[str, str]) -> None:
    """What the coordinator is told of its audits; it knows the defaults and what can be right."""
    group = command.add_argument_group("how work is verified (default: as docs/verification.md has it)")
    for name, metavar, meaning in RULES:
        variable = f"FARM_{name.upper().replace('-', '_')}"
        group.add_argument(
            f"--{name}", metavar=metavar, default=known.get(variable, ""), help=f"{meaning} [{variable}]"
        )


def _add_people(commands: "argparse._SubParsersAction[_Parser]", common: argparse.ArgumentParser) -> None:
    for name, meaning, examples, add_actions in (
        ("node", "add a machine to the farm, or list them", NODES, add_node_actions),
        ("owner", "let somebody else use the farm, or list who does", OWNERS, add_owner_actions),
        ("token", "see the tokens that were given out, take them back", TOKENS, add_token_actions),
    ):
        actions = _command(commands, name, help=meaning, epilog=examples).add_subparsers(
            dest="action", metavar="ACTION", required=True
        )
        add_actions(partial(_command, actions), common)


def _add_audit(commands: "argparse._SubParsersAction[_Parser]", common: argparse.ArgumentParser) -> None:
    audit = _command(
        commands, "audit", help="what was audited of a job, and whether the rule was kept", epilog=_AUDIT
    )
    actions = audit.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, meaning in (
        ("list", "a job's submissions with node, audit and verdict"),
        ("replay", "repeat the farm's choices and say whether it followed its own rule"),
    ):
        action = _command(actions, name, parents=[common], help=meaning, epilog=_AUDIT)
        action.add_argument("job", metavar="JOB", help="the job's id")
        if name == "replay":
            _add_farm(action)
    compare = _command(
        actions, "compare-heads", help="say whether two were told one log of a farm", epilog=_AUDIT
    )
    compare.add_argument("files", metavar="FILE", type=Path, nargs="+", help="kept heads, receipts, evidence")
    _add_json(compare)


def _add_money(
    commands: "argparse._SubParsersAction[_Parser]", common: argparse.ArgumentParser, known: Mapping[str, str]
) -> None:
    plain = _Parser(add_help=False)
    _add_json(plain)
    for name, meaning, examples, add_actions in (
        ("wallet", "make, show or fund a wallet", WALLETS, add_wallet_actions),
        ("chain", "the contracts that hold the money", CHAINS, add_chain_actions),
    ):
        actions = _command(commands, name, help=meaning, epilog=examples).add_subparsers(
            dest="action", metavar="ACTION", required=True
        )
        add_actions(partial(_command, actions), common, plain, known)


def _add_farm(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--farm", metavar="ADDRESS", default="", help="the address it must be signed by (0x...)"
    )


def _add_receipt(commands: "argparse._SubParsersAction[_Parser]", known: Mapping[str, str]) -> None:
    receipt = _command(commands, "receipt", help="check the receipt of a frame", epilog=_RECEIPT)
    actions = receipt.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = _command(actions, "verify", help="say whether a receipt holds", epilog=_RECEIPT)
    verify.add_argument("file", metavar="FILE", type=Path, help="such as out/0001.png.receipt.json")
    _add_farm(verify)
    verify.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        default=_state_dir(known),
        help="the folder with what you were told of farms' logs before (default: %(default)s)",
    )
    _add_json(verify)

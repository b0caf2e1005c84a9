# SPDX-License-Identifier: GPL-3.0-or-later
"""From the words after `gpu-worker` to an exit status."""

import sys

from frame_splitter.command_line import Group, UsageError, answer, version_option
from frame_splitter.errors import FarmError
from frame_splitter.token_file import refuse_on_command_line

NAME = "gpu-worker"
EXAMPLES = """examples:
  gpu-worker run --coordinator https://farm.example:8470 --token-file node.token
  gpu-worker run --coordinator https://farm.example:8470 --token-file node.token --device OPTIX
  gpu-worker run --coordinator https://farm.example:8470 --token-file node.token --ray-address auto
  gpu-worker run --coordinator http://127.0.0.1:8700 --token-file node.token --trust-farm 0x5Fb... --owner ann
  FARM_CA_FILE=studio.pem gpu-worker run --coordinator https://render.studio.lan:8700 --token-file node.token
  gpu-worker inspect scene.blend --json
  gpu-worker doctor
"""

COMMANDS = {
    "run": "lease tasks from a farm and render them, until stopped",
    "inspect": "open a .blend and print what is in it, as JSON",
    "doctor": "say what this machine can render on, and what it lacks",
    "stake": "put stake up: nodes are given work as far as it covers",
    "unstake": "take back stake that is behind no agreement",
    "earnings": "what was earned, vouched for and paid",
    "redeem": "have vouchers paid",
    "claim": "claim work that has receipts and no voucher, where a farm is silent",
}
ROOT = version_option(
    Group(
        NAME,
        help="Renders for a farm on this machine's GPUs or processor cores.",
        epilog=EXAMPLES,
        # Loaded when it is asked for: help and mistakes are answered at once.
        lazy={name: (f"gpu_worker.commands:{name}", told) for name, told in COMMANDS.items()},
    )
)


def main(words: list[str] | None = None) -> int:
    """Run a command; the exit status: 1 where it failed, 2 where it was not understood."""
    given = sys.argv[1:] if words is None else words
    try:
        _refuse_token(given)
        return int(answer(ROOT, given, NAME) or 0)
    except FarmError as error:
        print(f"{NAME}: {error.sentence}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(f"{NAME}: {named}{error.strerror or error}.", file=sys.stderr)
        return 1


def _refuse_token(words: list[str]) -> None:
    try:
        refuse_on_command_line(words, "FARM_NODE_TOKEN")
    except FarmError as error:
        raise UsageError(error.sentence) from error

# SPDX-License-Identifier: GPL-3.0-or-later
"""From a command line to an exit code: 0 done, 1 failed, 2 not understood, 130 stopped by Ctrl-C."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from frame_splitter.command_line import Group, UsageError, answer, version_option
from frame_splitter.errors import FarmError, InvalidInput
from frame_splitter.token_file import refuse_on_command_line
from render_farm.cli.display.console import Console

FAILED, NOT_UNDERSTOOD, INTERRUPTED = 1, 2, 130
NAME = "render-farm"

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
_COMMANDS = {
    "render": "render a scene and fetch its frames",
    "quote": "say what rendering a scene would take",
    "doctor": "say what a farm would make of a scene",
    "up": "run a farm until Ctrl-C",
    "job": "submit, list, show, cancel, pause, resume, download or pay for a job",
    "node": "add a machine to the farm, or list them",
    "owner": "let somebody else use the farm, or list who does",
    "token": "see the tokens that were given out, take them back",
    "audit": "what was audited of a job, and whether the rule was kept",
    "receipt": "check the receipt of a frame",
    "wallet": "make, show or fund a wallet",
    "chain": "the contracts that hold the money",
}
ROOT = version_option(
    Group(
        NAME,
        help="Renders Blender scenes on many machines and gives back exactly Blender's picture.",
        epilog=_EXAMPLES,
        # Loaded when it is asked for: help and mistakes are answered at once.
        lazy={name: (f"render_farm.cli.commands.{name}:{name}", told) for name, told in _COMMANDS.items()},
    )
)


class Interrupted(FarmError):
    """The command was stopped from outside; `sentence` says how to go on."""

    code = "interrupted"


def run(arguments: Sequence[str]) -> int:
    """Run one command. Never raises for what a user can cause; SystemExit after --help and --version."""
    console = Console("--json" in arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if arguments[:1] != ["chain"]:  # whose --token is the one that is paid with
            _refuse_token(arguments)
        return int(answer(ROOT, arguments, NAME, console) or 0)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        status, code, sentence = _explained(error)
        console.failed(code, sentence)
        return status


def _refuse_token(arguments: Sequence[str]) -> None:
    try:
        refuse_on_command_line(arguments, "FARM_TOKEN")
    except InvalidInput as error:
        raise UsageError(error.sentence) from error


def _explained(error: BaseException) -> tuple[int, str, str]:
    """The exit code, the error's code for programs, and the sentence for people."""
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return INTERRUPTED, Interrupted.code, getattr(error, "sentence", "Stopped.")
    if isinstance(error, FarmError):
        return NOT_UNDERSTOOD if isinstance(error, UsageError) else FAILED, error.code, error.sentence
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return FAILED, "system", f"{named}{error.strerror or error}."
    import traceback  # noqa: PLC0415 - --help needs none

    traceback.print_exception(error)
    return FAILED, "internal", f"This should not happen ({type(error).__name__}); please report it."


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

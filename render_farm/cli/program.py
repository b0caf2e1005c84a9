# SPDX-License-Identifier: GPL-3.0-or-later
"""From a command line to an exit code: 0 done, 1 failed, 2 not understood, 130 stopped by Ctrl-C."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from farm_protocol.errors import FarmError
from render_farm.cli.console import Console, log_to_stderr
from render_farm.cli.options import UsageError, parse

FAILED, NOT_UNDERSTOOD, INTERRUPTED = 1, 2, 130


class Interrupted(FarmError):
    """The command was stopped from outside; `sentence` says how to go on."""

    code = "interrupted"


def run(arguments: Sequence[str]) -> int:
    """Run one command. Never raises for what a user can cause."""
    console = Console("--json" in arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _dispatch(parse(arguments), console)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        status, code, sentence = _explained(error)
        console.failed(code, sentence)
        return status


def _explained(error: BaseException) -> tuple[int, str, str]:
    """The exit code, the error's code for programs, and the sentence for people."""
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return INTERRUPTED, Interrupted.code, getattr(error, "sentence", "Stopped.")
    if isinstance(error, FarmError):
        return NOT_UNDERSTOOD if isinstance(error, UsageError) else FAILED, error.code, error.sentence
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return FAILED, "system", f"{named}{error.strerror or error}."
    traceback.print_exception(error)
    return FAILED, "internal", f"This should not happen ({type(error).__name__}); please report it."


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dispatch(chosen: argparse.Namespace, console: Console) -> int:
    """Load the command's module only now: `--help` and mistakes answer at once."""
    log_to_stderr()
    module = import_module(f"render_farm.cli.{chosen.command}_command")
    code: int = module.run(chosen, console)
    return code

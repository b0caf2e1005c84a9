# SPDX-License-Identifier: GPL-3.0-or-later
"""From a command line to an exit code: 0 done, 1 failed, 2 not understood, 130 stopped by Ctrl-C."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from frame_splitter.errors import FarmError
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
        chosen = parse(arguments)
        return _dispatch(chosen, console)
    except UsageError as error:
        console.failed(error.code, error.sentence)
        return NOT_UNDERSTOOD
    except (KeyboardInterrupt, Interrupted) as error:
        console.failed("interrupted", getattr(error, "sentence", "Stopped."))
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except FarmError as error:
        console.failed(error.code, error.sentence)
        return FAILED
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        console.failed("system", f"{named}{error.strerror or error}.")
        return FAILED


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dispatch(chosen: argparse.Namespace, console: Console) -> int:
    """Load the command's module only now: `--help` and mistakes answer at once."""
    log_to_stderr()
    module = import_module(f"render_farm.cli.{chosen.command}_command")
    code: int = module.run(chosen, console)
    return code

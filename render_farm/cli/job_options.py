# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say what is to be rendered, and the actions of `job`."""

import argparse
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from render_farm.cli.money_options import add_money_actions

JOB = "submit, list, show, cancel, pause, resume, download or pay for a job"

JOB_EXAMPLES = """examples:
  render-farm job submit shot.blend --frames 1-100     leave it to the farm; prints the job's id
  render-farm job list --unfinished
  render-farm job show JOB                             its frames, what was audited, what went wrong
  render-farm job download JOB --output 'frames/####'  the frames that are done
  render-farm job statement --last --check             what the last paid job cost, held against the chain
"""

_SUBMIT = """examples:
  render-farm job submit shot.blend --frames 1-100
  render-farm job submit shot.blend --allow-outside /studio/textures --allow-outside /studio/props
  render-farm job submit shot.blend --json | jq -r .job
"""

_LIST = """examples:
  render-farm job list
  render-farm job list --unfinished --json | jq -r '.jobs[].job'
"""

_DOWNLOAD = """examples:
  render-farm job download JOB
  render-farm job download JOB --output 'frames/####'

Exits with 1 when a receipt is wrong or cannot be had.
"""


def add_receipts(command: argparse.ArgumentParser) -> None:
    """Whether receipts are fetched."""
    command.add_argument(
        "--no-receipts",
        dest="receipts",
        action="store_false",
        help="fetch no receipts (FRAME.receipt.json beside each frame)",
    )


def add_scene(command: argparse.ArgumentParser, known: Mapping[str, str]) -> None:
    """Which scene, and what may be done with its files."""
    command.add_argument("scene", metavar="SCENE", type=Path, help="a .blend file")
    command.add_argument(
        "--allow-missing", action="store_true", help="go on although files the scene uses are missing"
    )
    command.add_argument(
        "--allow-outside",
        metavar="DIR",
        type=Path,
        action="append",
        default=[Path(one) for one in known.get("FARM_ALLOW_OUTSIDE", "").split(os.pathsep) if one],
        help="files below DIR may be sent though they lie outside of the scene's folder; give it again for "
        "more folders [FARM_ALLOW_OUTSIDE, colons between]",
    )
    command.add_argument(
        "--trust-file",
        action="store_true",
        help="open the scene even where this machine has no sandbox: you know who made it",
    )


def add_job_options(command: argparse.ArgumentParser) -> None:
    """What is to be rendered of it."""
    group = command.add_argument_group("what to render (default: as the scene has it)")
    group.add_argument("--frames", metavar="R", help="such as 1-10, 1-100x5, 5,3,1 or -5--1")
    group.add_argument("--tiles", metavar="auto|CxR", default="auto", help="cut each frame, as in 4x2")
    group.add_argument("--samples", metavar="N", type=whole, help="samples a pixel")
    group.add_argument("--seed", metavar="N", type=whole, help="the noise's seed")
    group.add_argument("--resolution-percentage", metavar="P", type=whole, help="scale the frame's size")
    group.add_argument("--format", metavar="F", help="Blender's name of a file format, such as PNG")
    group.add_argument(
        "--exactness",
        metavar="any|bit",
        default="any",
        help="bit: keep the job on CPUs, whose frames equal Blender's bit by bit (default: any)",
    )
    group.add_argument("--slots", metavar="N", type=whole, help="how many tasks to render at once")


def whole(text: str) -> int:
    """A whole number, as argparse reads one."""
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not a whole number")
    return int(text)


_ACTIONS = (
    ("show", "one job with its frames and failures"),
    ("cancel", "end a job; frames that are done stay"),
    ("pause", "start no more tasks of a job"),
    ("resume", "go on with a paused job"),
)


def add_job(
    job: argparse.ArgumentParser,
    command: Callable[..., argparse.ArgumentParser],
    common: argparse.ArgumentParser,
    known: Mapping[str, str],
) -> None:
    """All actions of `job`, each made by `command`."""
    add = partial(command, job.add_subparsers(dest="action", metavar="ACTION", required=True))
    submit = add("submit", parents=[common], help="send a scene and leave it to the farm", epilog=_SUBMIT)
    add_scene(submit, known)
    add_job_options(submit)
    listing = add("list", parents=[common], help="your jobs", epilog=_LIST)
    listing.add_argument("--unfinished", action="store_true", help="only those not ended")
    for name, meaning in _ACTIONS:
        action = add(name, parents=[common], help=meaning, epilog=f"example:\n  render-farm job {name} JOB\n")
        action.add_argument("job", metavar="JOB", help="the job's id")
    download = add("download", parents=[common], help="fetch the frames that are done", epilog=_DOWNLOAD)
    download.add_argument("job", metavar="JOB", help="the job's id")
    download.add_argument(
        "--output", metavar="PATTERN", default="", help="where frames go (default: NAME-frames/####)"
    )
    add_receipts(download)
    add_money_actions(add, common, known)

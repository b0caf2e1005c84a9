# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several commands of `render-farm` take, and what they are given together as."""

import os
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from frame_splitter import shared_options as shared
from frame_splitter.command_line import Decorator, both, option, together, variable
from frame_splitter.errors import InvalidInput
from frame_splitter.ids import JobId
from frame_splitter.option_types import FILE, Read, Whole

if TYPE_CHECKING:
    from frame_splitter.facts import SceneFacts
    from frame_splitter.ids import SceneId
    from frame_splitter.records import Demand, JobSpec
    from render_farm.embedded.state import Folder

PAYING = "paying (default: the job is free, on machines that work for free)"
_WHICH = "which farm"
_WHAT = "what to render (default: as the scene has it)"
EMBEDDED = "(default: the embedded farm's)"


# --- which farm -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FarmChoice:
    """Which farm a command talks to: the one at the address `coordinator`, or the one in `state_dir`.
    `objects` are object stores that the user named; `insecure`: plain http is allowed beyond this machine.
    """

    coordinator: str
    token_file: str
    token: str = field(repr=False)
    state_dir: Path
    insecure: bool
    objects: tuple[str, ...]
    ca_file: str

    @property
    def folder(self) -> "Folder":
        """What an embedded farm has, and what is remembered of others."""
        from render_farm.embedded.supervisor import state_folder  # noqa: PLC0415 - --help needs no farm

        return state_folder(self.state_dir)


def _usual_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification wants relative values ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "render-farm"


def _begin(context: click.Context, parameter: click.Parameter, as_json: bool) -> None:
    """Before any command, though not before its help: where words go, and the log."""
    if context.obj is not None:
        from render_farm.cli.display.console import log_to_stderr  # noqa: PLC0415

        context.obj.as_json |= as_json
        log_to_stderr()


json_option = option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_begin,
    help="print exactly one JSON object; all else goes to stderr",
)
state_dir = partial(
    option, "--state-dir", metavar="DIR", type=FILE, default=_usual_state_dir, envvar="FARM_STATE_DIR"
)
farm_options = both(
    json_option,
    together(
        "farm",
        FarmChoice,
        shared.coordinator(section=_WHICH, help="use the farm at this address"),
        shared.token_file(
            section=_WHICH,
            envvar="FARM_TOKEN_FILE",
            help="the file with your token there, or - for standard input; FARM_TOKEN may be the token",
        ),
        variable("token", "FARM_TOKEN"),
        state_dir(section=_WHICH, help="the folder an embedded farm lives in (default: {default})"),
        shared.insecure(section=_WHICH),
        shared.objects(section=_WHICH),
        shared.ca_file,
    ),
)


# --- which scene, and what of it ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SceneChoice:
    """A .blend file, and what may be done with its files."""

    scene: Path
    allow_missing: bool
    allow_outside: tuple[Path, ...]
    trust_file: bool


scene_options = together(
    "chosen",
    SceneChoice,
    click.argument("scene", metavar="SCENE", type=FILE, help="a .blend file"),
    option("--allow-missing", is_flag=True, help="go on although files the scene uses are missing"),
    option(
        "--allow-outside",
        metavar="DIR",
        type=FILE,
        multiple=True,
        envvar="FARM_ALLOW_OUTSIDE",
        help="files below DIR may be sent though they lie outside of the scene's folder; give it again for "
        "more folders, or colons between in the variable",
    ),
    option(
        "--trust-file",
        is_flag=True,
        help="open the scene even where this machine has no sandbox: you know who made it",
    ),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be rendered, checked as far as it can be without the scene; None: as the scene has it."""

    frames: tuple[int, ...] | None
    tiles: str
    samples: int | None
    seed: int | None
    resolution_percentage: int | None
    format: str | None
    exactness: "Demand"
    slots: int | None

    def spec(self, scene: "SceneId", facts: "SceneFacts", slots: int, name: str) -> "JobSpec":
        """The job to ask for; frames not named are the scene's own."""
        from frame_splitter.frames import FrameRange  # noqa: PLC0415 - --help needs no records
        from frame_splitter.records import JobSpec  # noqa: PLC0415

        own = FrameRange.spanning
        frames = self.frames or own(facts.frame_start, facts.frame_end, facts.frame_step).frames
        return JobSpec(
            scene=scene,
            frames=frames,
            tiles=self.tiles,
            samples=self.samples,
            seed=self.seed,
            resolution_percentage=self.resolution_percentage,
            format=self.format,
            slots=slots,
            name=name[:200],
            exactness=self.exactness,
        )


def _frames(text: str) -> tuple[int, ...]:
    from frame_splitter.frames import FrameRange  # noqa: PLC0415 - --help needs no records

    return FrameRange.parse(text).frames


def _format(text: str) -> str:
    from frame_splitter.formats import image_format  # noqa: PLC0415 - --help needs no records

    return image_format(text)


def _demand(text: str) -> "Demand":
    from frame_splitter.records import Demand  # noqa: PLC0415 - --help needs no records

    try:
        return Demand(text.strip().lower().removesuffix("-exact"))
    except ValueError:
        raise InvalidInput(f"'{text[:40]}' is no exactness to ask for: write bit, or any.") from None


def _tiles(text: str) -> str:
    tiles = text.strip().lower()
    match = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,3})", tiles)
    if tiles != "auto" and (match is None or 0 in (int(match[1]), int(match[2]))):
        raise InvalidInput(f"'{text[:40]}' cuts no frame: write columns x rows, as in 4x2, or auto.")
    return tiles


_what = partial(option, section=_WHAT)
job_options = together(
    "wish",
    Wish,
    _what(
        "--frames", metavar="R", type=Read("frames", _frames), help="such as 1-10, 1-100x5, 5,3,1 or -5--1"
    ),
    _what(
        "--tiles",
        metavar="auto|CxR",
        type=Read("tiles", _tiles),
        default="auto",
        help="cut each frame, as in 4x2",
    ),
    _what("--samples", metavar="N", type=Whole(1, 1 << 24), help="samples a pixel"),
    _what("--seed", metavar="N", type=Whole(-(2**31), 2**31 - 1), help="the noise's seed"),
    _what("--resolution-percentage", metavar="P", type=Whole(1, 32767), help="scale the frame's size"),
    _what(
        "--format",
        metavar="F",
        type=Read("format", _format),
        help="Blender's name of a file format, such as PNG",
    ),
    _what(
        "--exactness",
        metavar="any|bit",
        type=Read("exactness", _demand),
        default="any",
        help="bit: keep the job on CPUs, whose frames equal Blender's bit by bit (default: any)",
    ),
    _what("--slots", metavar="N", type=Whole(1, 100_000), help="how many tasks to render at once"),
)
receipts_option = option(
    "--no-receipts",
    "receipts",
    is_flag=True,
    flag_value=False,
    default=True,
    help="fetch no receipts (FRAME.receipt.json beside each frame)",
)
output_option = partial(option, "--output", metavar="PATTERN", default="")


# --- which job ------------------------------------------------------------------------------------

job_argument = click.argument("job", metavar="JOB", help="the job's id")


def _job_or_last(job: str | None, last: bool) -> JobId | None:
    if job and last:
        raise click.UsageError("Argument --last: not allowed with argument JOB", click.get_current_context())
    if not job and not last:
        raise click.UsageError("One of the arguments JOB --last is required", click.get_current_context())
    return JobId(job) if job else None


which_job: Decorator[Any] = together(
    "job",
    _job_or_last,
    click.argument("job", metavar="JOB", required=False, help="the job's id"),
    option("--last", is_flag=True, help="the newest of your jobs that has money"),
)
"""The job that is named, or None for the newest that has money."""


# --- which contracts, and which wallet ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChainChoice:
    """The file `chain` names the contracts, None for the embedded farm's; the chain is at `chain_url`, which
    may carry a secret, and so has no option.
    """

    chain: Path | None
    chain_url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WalletChoice(ChainChoice):
    """A keystore with its password's file, or the address of a wallet for which `signer_url` signs."""

    wallet: Path | None
    password_file: Path | None
    signer_url: str = field(repr=False)


def chain_of(section: str = "Options") -> tuple[Decorator[Any], ...]:
    """The file that names the contracts, and what the environment says of their chain."""
    told = f"names the contracts; the chain's URL is in FARM_CHAIN_URL {EMBEDDED}"
    return shared.chain(section=section, help=told), shared.chain_url


def wallet_of(section: str, whose: str) -> tuple[Decorator[Any], ...]:
    """A keystore and its password."""
    return (
        shared.wallet(section=section, help=f"the keystore {whose} {EMBEDDED}"),
        shared.password_file(section=section, help=f"its first line is the password {EMBEDDED}"),
    )


chain_options = together("contracts", ChainChoice, *chain_of())


def wallet_options(section: str = "Options") -> Decorator[Any]:
    """A decorator: the command takes a wallet, and the contracts it is for."""
    whose = "of the wallet that pays, or its address: then FARM_SIGNER_URL signs"
    return together("wallet", WalletChoice, *chain_of(section), *wallet_of(section, whose), shared.signer_url)


password_option = shared.password_file(help="its first line is the password (default: it is asked for)")


def _address(text: str) -> str:
    from render_farm.cli.receipts import address  # noqa: PLC0415 - --help needs no receipts

    return address(text)


farm_address = option(
    "--farm",
    "signer",
    metavar="ADDRESS",
    type=Read("address", _address),
    help="the address it must be signed by (0x...)",
)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which farm a command talks to: the one named, the one running on the folder, or one of its own."""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from farm_protocol.errors import FarmError, InvalidInput, Unavailable
from farm_protocol.token_file import read_token
from render_farm.cli.options import UsageError
from render_farm.client import FarmClient
from render_farm.embedded.state import Folder, FolderInUse, RunningFarm
from render_farm.embedded.supervisor import Farm, FarmOptions, state_folder

STARTING_SECONDS = 120.0
"""How long to wait for a farm that another command is just starting."""
PATIENCE = 120.0
"""Seconds a coordinator may be away under a running command."""
FIRST_PATIENCE = 20.0
"""Seconds a coordinator may be away that was named: it may be starting anew, or there may be none."""


@dataclass(frozen=True, slots=True)
class Access:
    """A farm to talk to, which other machines reach at `public_url`. `own` is the farm this command runs
    itself and ends with; None otherwise. `chain` is the URL of an embedded farm's own chain. `temporary`: it
    is another command's, and ends with that one.
    """

    client: FarmClient
    public_url: str
    own: Farm | None = None
    chain: str = ""
    temporary: bool = False


@contextmanager
def open_farm(
    chosen: argparse.Namespace,
    say: Callable[[str], None],
    *,
    node: bool,
    slots: int | None = None,
    money: bool = False,
) -> Iterator[Access]:
    """Find the farm, or start one for as long as the block lasts (with a `node` of `slots` slots, and with
    a chain of its own for `money`).
    """
    if chosen.coordinator:
        more = {"insecure": chosen.insecure, "ca_file": chosen.ca_file, "objects": tuple(chosen.objects)}
        with _connected(chosen.coordinator, _token(chosen), say, **more) as client:
            yield Access(client, chosen.coordinator.rstrip("/"))
        return
    folder = state_folder(chosen.state_dir)
    while True:
        running = find_running(folder, say)
        if running is not None:
            gone = lambda: not folder.in_use()  # noqa: E731
            with _connected(running.url, running.token, say, gone=gone, own=True) as client:
                yield Access(client, running.public_url, chain=running.chain, temporary=running.temporary)
            return
        farm = Farm(folder, FarmOptions(slots=slots, node=node, temporary=True, money=money), say)
        try:
            with (
                farm.running(),
                FarmClient(farm.url, farm.token, patience=PATIENCE, say=say, own=True) as client,
            ):
                yield Access(client, farm.public_url, farm, farm.chain_url)
            return
        except FolderInUse:
            # Another command was faster: join its farm.
            continue


def _token(chosen: argparse.Namespace, known: Mapping[str, str] = os.environ) -> str:
    """The token for the farm that was named: a file's, else FARM_TOKEN's. Raises UsageError."""
    if chosen.token_file:
        try:
            return read_token(chosen.token_file)
        except InvalidInput as error:
            raise UsageError(error.sentence) from error
    if not known.get("FARM_TOKEN"):
        raise UsageError("--coordinator needs --token-file FILE as well (-: standard input), or FARM_TOKEN.")
    return known["FARM_TOKEN"]


@contextmanager
def _connected(url: str, token: str, say: Callable[[str], None], **more: Any) -> Iterator[FarmClient]:
    with FarmClient(url, token, patience=FIRST_PATIENCE, say=say, **more) as quick:
        quick.health()
    with FarmClient(url, token, patience=PATIENCE, say=say, **more) as client:
        yield client


def find_running(folder: Folder, say: Callable[[str], None]) -> RunningFarm | None:
    """The farm that runs on the folder, waited for while it starts; None when there is none."""
    end = time.monotonic() + STARTING_SECONDS
    told = False
    while folder.in_use():
        running = folder.announced()
        if running is not None and _answers(running):
            return running
        if not told:
            say("Waiting for the farm another command is starting ...")
            told = True
        if time.monotonic() > end:
            raise Unavailable(f"A command holds {folder.path}, but its farm does not answer.")
        time.sleep(0.1)
    return None


def _answers(running: RunningFarm) -> bool:
    try:
        with FarmClient(running.url, running.token, patience=0.5, own=True) as client:
            client.health()
    except FarmError:
        return False
    return True

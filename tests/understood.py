# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command line says, without doing it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import click

from frame_splitter.command_line import answer
from render_farm.cli.program import NAME, ROOT


def understood(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    command: click.Command = ROOT,
    name: str = NAME,
) -> dict[str, Any]:
    """What the function of the command is called with, in no environment but this one."""
    known = {"HOME": os.environ.get("HOME", "/"), **(environment or {})}
    with (
        mock.patch.dict(os.environ, known, clear=True),
        mock.patch.object(click.Command, "invoke", lambda self, context: context.params),
    ):
        found: dict[str, Any] = answer(command, words, name)
        return found

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command line says, without doing it."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import click

from command_line.program import answer
from render_farm.cli.program import NAME, ROOT


def environment_of(known: Mapping[str, str]) -> AbstractContextManager[Any]:
    """While the block lasts, this is the environment."""
    return mock.patch.dict(os.environ, {"HOME": os.environ.get("HOME", "/"), **known}, clear=True)


def understood(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    command: click.Command = ROOT,
    name: str = NAME,
) -> dict[str, Any]:
    """What the function of the command is called with, in no environment but this one."""
    with (
        environment_of(environment or {}),
        mock.patch.object(click.Command, "invoke", lambda self, context: context.params),
    ):
        found: dict[str, Any] = answer(command, words, name)
        return found

# SPDX-License-Identifier: GPL-3.0-or-later
"""`--version` of the commands."""

import argparse
from collections.abc import Sequence
from typing import Any


class ShowVersion(argparse.Action):
    """Prints the program's name and version, looked up only then, and ends the command well."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and stop")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Answer."""
        from importlib.metadata import version  # noqa: PLC0415

        print(f"{parser.prog} {version('render-farm')}")
        parser.exit()

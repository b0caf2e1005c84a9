# SPDX-License-Identifier: GPL-3.0-or-later
"""What the values of options may be. What is no number or time at all is a mistake of the command line; one
that cannot be used is InvalidInput, which names the option.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from farm_protocol.errors import InvalidInput

FILE = click.Path(path_type=Path)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def name_of(param: click.Parameter | None) -> str:
    """The option as it is written."""
    return max(param.opts, key=len) if param and param.opts else "It"


class Number(click.ParamType[float]):
    """A number from `least` to `most`."""

    name = "n"

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it. Raises InvalidInput outside of the bounds."""
        number = self.read(value, param, ctx) if isinstance(value, str) else value
        if not self.least <= number <= self.most:
            raise InvalidInput(
                f"{name_of(param)} must lie between {_said(self.least)} and {_said(self.most)}, "
                f"not {_said(number)}."
            )
        return number

    def read(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, whatever its size."""
        try:
            return float(text)
        except ValueError:
            self.fail(f"'{text[:40]}' is not a number", param, ctx)


class Whole(Number):
    """A whole number from `least` to `most`; what may be 0 is counted, and has no sign."""

    name = "n"

    def read(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, whatever its size."""
        sign = "[+-]?" if self.least else ""
        if not re.fullmatch(sign + "[0-9]{1,30}", text):
            self.fail(f"'{text[:40]}' is not a whole number", param, ctx)
        return int(text)


def _said(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


class Share(click.ParamType[str]):
    """A share from 0 to 1, as it was written."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it. Raises InvalidInput for what is none."""
        text = str(value)
        try:
            is_share = 0 <= float(text) <= 1
        except ValueError:
            is_share = False
        if not is_share:
            raise InvalidInput(
                f"{name_of(param)} is '{text[:40]}', but must be a share from 0 to 1, such as 0.1."
            )
        return text


class Span(click.ParamType[int]):
    """A time such as 90s, 30m, 12h or 3d, in seconds."""

    name = "time"

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
        if match is None or int(match[1]) < self._least:
            self.fail(f"'{value[:40]}' is no time: write for example 90d, 12h, 30m or 90s", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


class Read(click.ParamType[Any]):
    """What a function reads, which raises InvalidInput for what it cannot use."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        return self._read(value) if isinstance(value, str) else value


class Url(click.ParamType[str]):
    """A URL with one of these schemes, or nothing."""

    name = "url"

    def __init__(self, *schemes: str) -> None:
        self._schemes = schemes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it. Raises InvalidInput."""
        text = str(value)
        if text and urlsplit(text).scheme not in self._schemes:
            starts = " or ".join(f"{scheme}://" for scheme in self._schemes)
            raise InvalidInput(f"{name_of(param)} is '{text}', but must start with {starts}")
        return text

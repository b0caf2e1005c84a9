# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table from a coordinator's answer to the error it stands for (RFC 9457 problem documents)."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.errors import (
    Conflict,
    FarmError,
    Forbidden,
    InvalidInput,
    NotFound,
    RoundClosed,
    StaleLease,
    Unauthorized,
    Unavailable,
)
from farm_protocol.fields import about, decoder

PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses of what may work in a moment."""

LONGEST = 4096
"""Letters of a sentence."""

_KINDS: tuple[type[FarmError], ...] = (Conflict, Forbidden, InvalidInput, NotFound, Unauthorized)
_SPECIAL: tuple[type[FarmError], ...] = (StaleLease, RoundClosed, Unavailable)
_BY_STATUS = {kind.status: kind for kind in _KINDS}
_BY_CODE = {kind.code: kind for kind in _KINDS + _SPECIAL}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, as application/problem+json."""

    type: Annotated[str, about("always `about:blank`")] = "about:blank"
    title: Annotated[str, about("the status in words")] = ""
    status: Annotated[int, about("HTTP status")] = 0
    code: Annotated[str, about("what went wrong, for programs")] = ""
    detail: Annotated[str, about("what went wrong, for people")] = ""


def is_away(status: int) -> bool:
    """Whether who answers so is there, but not able: nothing is wrong with the request itself."""
    return status >= 500 or status in PASSING


def refusal(status: int, body: bytes, url: str) -> FarmError:
    """What the coordinator at `url` means by an answer that is no success: by its status where it is away,
    else by its code, else by its status. The error has the coordinator's own code.
    """
    if 300 <= status < 400:
        return InvalidInput(f"The coordinator's address {url} moved ({status}): give the new one.")
    try:
        said = decoder(Problem).decode(body)
        silent = f"The coordinator answers {status}."
    except (msgspec.DecodeError, ValueError):
        said, silent = Problem(), f"{url} answers {status}, which is not what a coordinator says."
    error = _kind(status, said.code)((said.detail or said.title or silent)[:LONGEST])
    error.code = said.code[:64] or error.code
    if isinstance(error, Unavailable):
        error.may_pass = status in PASSING
    return error


def _kind(status: int, code: str) -> type[FarmError]:
    if is_away(status):
        return Unavailable
    return _BY_CODE.get(code) or _BY_STATUS.get(status) or InvalidInput

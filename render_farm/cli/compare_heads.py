# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm audit compare-heads`: whether files of several people tell of one log of a farm."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm_protocol.errors import InvalidInput
from render_farm.cli.console import Console
from render_farm.cli.receipts import read_bounded
from render_farm.wording import counted

if TYPE_CHECKING:
    from verification.records import SignedHead


@dataclass(frozen=True, slots=True)
class HeadsCompared:
    """The answer of `audit compare-heads --json`. `shared`: rounds that more than one file tells of."""

    files: tuple[str, ...]
    farms: tuple[str, ...]
    heads: int
    shared: int
    one_log: bool
    contradictions: tuple[str, ...]


def compare(files: Sequence[Path], console: Console) -> int:
    """Compare all heads in the files; 1 where a farm signed two logs, or nothing can be compared."""
    found = {path: tuple(_signed_heads(path)) for path in files}
    heads = {one for some in found.values() for one in some}
    farms = sorted({farm for farm, _ in heads})
    contradictions = tuple(one for farm in farms for one in _contradictions(farm, heads))
    rounds = [{(farm, head.round) for farm, head in some} for some in found.values()]
    shared = len({one for some in rounds for one in some if sum(one in other for other in rounds) > 1})
    names = tuple(map(str, files))
    told = HeadsCompared(names, tuple(farms), len(heads), shared, not contradictions, contradictions)
    console.result(told, "\n".join(_lines(told)))
    return 1 if contradictions else 0


def _contradictions(farm: str, heads: "set[tuple[str, SignedHead]]") -> Iterator[str]:
    from verification.heads import contradictions  # noqa: PLC0415 - takes long to load

    mine = [head for of, head in heads if of == farm]
    yield from (f"{why} The farm {farm} signed both." for _, _, why in contradictions(mine))


def _signed_heads(path: Path) -> "Iterator[tuple[str, SignedHead]]":
    """The heads in a file that their farm signed. Raises InvalidInput for a file without any."""
    from verification.heads import found_in, is_signed  # noqa: PLC0415

    count = 0
    for farm, head in found_in(_documents(path)):
        if farm and is_signed(head, farm):
            count += 1
            yield farm.lower(), head
    if not count:
        raise InvalidInput(f"{path} holds no head of a farm's log that its farm signed.")


def _documents(path: Path) -> list[Any]:
    """One JSON document, or one a line."""
    data = read_bounded(path)
    try:
        return [json.loads(data)]
    except (ValueError, RecursionError):
        return [one for line in data.splitlines() for one in _line(line)]


def _line(line: bytes) -> list[Any]:
    try:
        return [json.loads(line)]
    except (ValueError, RecursionError):
        return []


def _lines(told: HeadsCompared) -> Iterator[str]:
    work = f"{counted(told.heads, 'head')} of {counted(len(told.farms), 'farm')}"
    if told.one_log:
        yield f"No contradiction: {work}, {counted(told.shared, 'round')} in more than one file."
        return
    yield f"The farm signed two logs ({work}); each line is proof against it:"
    yield from (f"  {one}" for one in told.contradictions)

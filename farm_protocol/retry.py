# SPDX-License-Identifier: GPL-3.0-or-later
"""The one retry policy: how long to wait between tries, when to stop, and what is worth another try."""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from farm_protocol.errors import Unavailable

T = TypeVar("T")


def backoff(attempt: int, longest: float, first: float = 0.25) -> float:
    """Seconds to wait after the `attempt`th failure in a row: `first` doubled each time, and spread."""
    wait = min(longest, first * float(2 ** min(attempt - 1, 40)))
    return wait * random.uniform(0.5, 1.0)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Retry:
    """At most so many `tries`, for `patience` seconds; waits grow from `first` to `longest` seconds."""

    tries: float = math.inf
    patience: float = math.inf
    first: float = 0.25
    longest: float = 5.0

    def attempts(self, wait: Callable[[float], bool]) -> Iterator[int]:
        """Count attempts from 0 and wait between them, until all are used up. `wait` waits some seconds, and
        says whether to stop; what it raises ends the counting.
        """
        end = time.monotonic() + self.patience
        for attempt in itertools.count():
            yield attempt
            pause = backoff(attempt + 1, self.longest, self.first)
            if attempt + 1 >= self.tries or time.monotonic() + pause > end or wait(pause):
                return


def insist(
    attempts: Iterable[int], ask: Callable[[], T], away: Callable[[Unavailable], None] = lambda _: None
) -> T:
    """What `ask` gives, asked again where it raises an Unavailable that may pass; `away` is told of each.

    Raises the last one when the `attempts` are used up, and at once what else `ask` raises.
    """
    problem = Unavailable("Nothing was tried.")
    for _ in attempts:
        try:
            return ask()
        except Unavailable as error:
            if not error.may_pass:
                raise
            problem = error
            away(error)
    raise problem

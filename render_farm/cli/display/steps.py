# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command is at, said when it takes longer than a moment."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_SECONDS, NEXT_SECONDS = 1.0, 5.0
"""How long a step takes before it is said, and between two times that it is."""


@contextmanager
def step(say: Callable[[str], None], doing: Callable[[], str]) -> Iterator[None]:
    """While the block lasts: says what `doing` gives (such as "Reading shot.blend, 40 of 100 files") after a
    second, and every few seconds again with the seconds so far.
    """
    over, began = threading.Event(), time.monotonic()

    def tell() -> None:
        pause = FIRST_SECONDS
        while not over.wait(pause):
            so_far = f", {time.monotonic() - began:.0f} s so far" if pause == NEXT_SECONDS else ""
            say(f"{doing()}{so_far} ...")
            pause = NEXT_SECONDS

    telling = threading.Thread(target=tell, name="step", daemon=True)
    telling.start()
    try:
        yield
    finally:
        over.set()
        telling.join()

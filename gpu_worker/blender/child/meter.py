# SPDX-License-Identifier: GPL-3.0-or-later
"""How long work takes on a machine that may have other work, too."""

import time


class Meter:
    """Counts from its making. `threads` are those of a CPU render, None on a GPU.

    Other processes stretch the clock but not the processor's own count: on a CPU the smaller one is taken,
    so that neither a busy machine nor waiting for a disk makes a frame dear.
    """

    def __init__(self, threads: int | None) -> None:
        self._threads = threads
        self._clock, self._processor = time.monotonic(), time.process_time()

    def work(self) -> float:
        """Seconds of work so far, all threads at it."""
        return self._seconds(self._threads or 1)

    def alone(self) -> float:
        """Seconds of work so far, most of it one thread's, as syncing a scene and writing files are."""
        return self._seconds(1)

    def _seconds(self, threads: int) -> float:
        clock = time.monotonic() - self._clock
        if self._threads is None:
            return clock
        return min(clock, (time.process_time() - self._processor) / threads)

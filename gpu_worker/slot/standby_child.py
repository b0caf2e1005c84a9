# SPDX-License-Identifier: GPL-3.0-or-later
"""A second, blank Blender for a slot that has nothing to do.

A child sees one scene in its life, and Blender takes more than a second to load. So while a slot is idle it
starts the child for the next scene; a slot that works starts nothing beside its work.
"""

import threading
from collections.abc import Callable

from gpu_worker.slot.child_workspace import Stage

IDLE_SECONDS = 1.0
"""How long a slot has had nothing to do before its spare is started: the next task is often on its way."""


class Spare:
    """Holds at most one blank stage. Every method may be called from any thread."""

    def __init__(self, make: Callable[[], Stage], idle_seconds: float = IDLE_SECONDS) -> None:
        self._make, self._idle_seconds = make, idle_seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._stage: Stage | None = None
        self._closed = False

    def slot_is_idle(self) -> None:
        """From now on time counts towards starting the spare."""
        with self._lock:
            if self._timer is None and self._stage is None and not self._closed:
                self._timer = threading.Timer(self._idle_seconds, self._start)
                self._timer.daemon = True
                self._timer.start()

    def slot_is_busy(self) -> None:
        """No spare is started now."""
        with self._lock:
            self._cancel()

    def take(self) -> Stage | None:
        """The spare, if there is one that can be given a scene."""
        with self._lock:
            stage, self._stage = self._stage, None
        if stage is not None and not stage.blank:
            stage.close()
            return None
        return stage

    def close(self) -> None:
        """End the spare, and start none any more."""
        with self._lock:
            self._closed = True
            self._cancel()
            stage, self._stage = self._stage, None
        if stage is not None:
            stage.close()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread() and not self._closed:
                self._timer = None
                self._stage = self._make()

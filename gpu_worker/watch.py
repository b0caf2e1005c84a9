# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that owns a child process: reads what it says, counts its memory, and reaps it.

The same thread starts the process, because the kernel ties "die with your parent" to the thread that
forked, and this one lives exactly as long as the child.
"""

import contextlib
import os
import select
import selectors
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from farm_protocol.records import FailureCode
from gpu_worker.failures import TaskError, plain
from gpu_worker.protocol import Event, decode_event
from gpu_worker.usage import LOOK_SECONDS, Allowance, Usage, process_tree

LONGEST_LINE = 32 << 20
"""Bytes of one event: the facts of a scene with thousands of assets are the longest."""

CHATTER_KEPT = 32 << 10
"""Bytes of the child's last output that are kept for a crash report."""

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class WatchedStreams:
    """Descriptors the child writes to."""

    events: int
    chatter: int


Spawn = Callable[[WatchedStreams], "subprocess.Popen[bytes]"]


class Chatter:
    """The last bytes of an output nobody needs until something goes wrong."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Keep `data`, forget the oldest."""
        self._chunks.append(data)
        self._size += len(data)
        while self._size - len(self._chunks[0]) >= CHATTER_KEPT:
            self._size -= len(self._chunks.popleft())

    def last_lines(self, count: int = 8) -> str:
        """The last lines, made printable and bounded."""
        text = b"".join(self._chunks)[-CHATTER_KEPT:].decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return plain(" | ".join(lines[-count:])[-1500:])


class Watch:
    """Runs one process and tells `hear` each event and `end` once, when nothing of it is left."""

    def __init__(
        self,
        spawn: Spawn,
        hear: Callable[[Event], None],
        end: Callable[[TaskError | None, int | None], None],
        allowance: Allowance,
    ) -> None:
        self._spawn, self._hear, self._end = spawn, hear, end
        self._allowance = allowance
        self._usage: Usage | None = None
        self._chatter = Chatter()
        self._line = bytearray()
        self._started = threading.Event()
        self._killed = threading.Event()
        self._reaping = threading.Lock()
        self._reaped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="blender-watch", daemon=True)

    # --- for the owner, any thread --------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, which starts the process."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the process is reaped."""
        if self._thread.ident is not None:
            self._thread.join()

    def send(self, line: bytes) -> None:
        """Write to the child's stdin; a child that is gone is noticed by the thread."""
        self._started.wait()
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(line)
                self._process.stdin.flush()

    def kill(self) -> None:
        """End the process and everything under it."""
        self._killed.set()
        with self._reaping:
            if self._process is not None and not self._reaped:
                _kill_tree(self._process.pid)

    def last_lines(self) -> str:
        """What it printed last."""
        return self._chatter.last_lines()

    @property
    def peak_memory(self) -> int:
        """The most bytes the process tree was seen to hold."""
        return self._usage.peak_memory if self._usage else 0

    @property
    def pid(self) -> int | None:
        """The process that was started."""
        return self._process.pid if self._process else None

    # --- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        cause: TaskError | None = None
        try:
            cause = self._watch()
        except Exception as error:  # whatever it is: a slot must never wait for a thread that is gone
            cause = TaskError(FailureCode.NODE, f"Blender could not be started or watched: {error}")
        finally:
            self._started.set()
            status = self._reap(patient=cause is None)
            self._end(cause, status)

    def _watch(self) -> TaskError | None:
        events, events_in = os.pipe()
        chatter, chatter_in = os.pipe()
        try:
            try:
                self._process = self._spawn(WatchedStreams(events_in, chatter_in))
            finally:
                os.close(events_in)
                os.close(chatter_in)
            self._started.set()
            if self._killed.is_set():
                return None
            return self._follow(events, chatter)
        finally:
            os.close(events)
            os.close(chatter)

    def _follow(self, events: int, chatter: int) -> TaskError | None:
        """Read until the events end. Returns why the child must go, None where it went by itself."""
        assert self._process is not None
        usage = self._usage = Usage(self._process.pid, self._allowance)
        with selectors.DefaultSelector() as selector:
            selector.register(events, selectors.EVENT_READ)
            selector.register(chatter, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(LOOK_SECONDS):
                    data = os.read(key.fd, CHUNK)
                    if key.fd == chatter:
                        self._chatter.add(data) if data else selector.unregister(chatter)
                    elif not data:
                        self._drain(chatter)
                        return None
                    elif (complaint := self._take(data)) is not None:
                        return complaint
                if (complaint := usage.complaint()) is not None:
                    return complaint

    def _drain(self, chatter: int) -> None:
        """The last words of a child that went: read what is there, without waiting for more."""
        os.set_blocking(chatter, False)
        with contextlib.suppress(OSError):
            while data := os.read(chatter, CHUNK):
                self._chatter.add(data)

    def _take(self, data: bytes) -> TaskError | None:
        self._line += data
        lines: list[bytes] = []
        if b"\n" in data:
            *lines, rest = bytes(self._line).split(b"\n")
            self._line = bytearray(rest)
        try:
            if len(self._line) > LONGEST_LINE:
                raise ValueError("a line without end")
            for line in lines:
                self._hear(decode_event(line))
        except ValueError as error:
            return TaskError(
                FailureCode.CRASHED, f"The Blender child broke the protocol and was stopped: {error}"
            )
        return None

    def _reap(self, patient: bool) -> int | None:
        if self._process is None:
            return None
        if patient and not self._killed.is_set():
            # Its events ended: it is about to exit, and its own status says more than our kill.
            _wait_for_exit(self._process.pid, 1.0)
        with self._reaping:
            _kill_tree(self._process.pid)
            status = self._process.wait()
            self._reaped = True
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        return status


def _wait_for_exit(pid: int, seconds: float) -> None:
    """Wait until a child of this process exits, without reaping it: its number stays taken."""
    descriptor = os.pidfd_open(pid)
    try:
        select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)


def _kill_tree(pid: int) -> None:
    """SIGKILL to an unreaped process, its session and whatever left it."""
    tree = process_tree(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for process in tree:
        with contextlib.suppress(psutil.Error):
            process.kill()

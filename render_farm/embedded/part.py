# SPDX-License-Identifier: GPL-3.0-or-later
"""One process of the embedded farm: started, watched, started again when it dies or hangs, stopped with it.

A thread of its own starts the process and waits for its end. The kernel ends the process when that
thread ends, so nothing outlives the farm, even one killed with -9.
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import structlog

from farm_protocol.errors import FarmError, Unavailable
from farm_protocol.files import private_opener
from render_farm.embedded import leash
from render_farm.embedded.health import Patience, Question, Watched, always
from render_farm.embedded.state import Process, RunningFarm

log = structlog.get_logger()

Ready = Callable[[IO[bytes] | None], bool]
"""Asked again and again after the start until it says True; given stdout where `speaks`."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
UNREADY_STOP_SECONDS = 2.0

PYTHON = (sys.executable, "-P", "-m")
"""Runs a module of ours. Without -P Python would look for every module in the folder the user is in first,
which may hold files of whoever sent a scene.
"""

GOOD_RUN = 30.0
"""Seconds after which a process that dies is started again without a longer pause."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to run a part. `command` and `environment` are asked again before every start.

    A part that `speaks` says on stdout that it is ready; others' stdout goes to the log.
    It is asked every `looks_every` seconds whether it is ready, for `start_seconds` at most, and has
    `stop_seconds` after SIGTERM. From then on `answers` is asked now and then. `advice` is what to
    do where it does not start.
    `folder` is where it is started, where it matters.
    """

    name: str
    command: Callable[[], list[str]]
    log: Path
    ready: Ready
    environment: Callable[[], Mapping[str, str]] = field(default=dict)
    start_seconds: float = 60.0
    stop_seconds: float = 10.0
    death_signal: int = signal.SIGKILL
    speaks: bool = False
    looks_every: float = 0.02
    answers: Question = always
    advice: str = ""
    folder: Path | None = None


class PartFailed(Unavailable):
    """A part of the farm cannot be started."""

    code = "part_failed"


class Part:
    """A program kept running. `changed` is called (from the part's thread) at every start and end."""

    def __init__(
        self,
        program: Program,
        changed: Callable[[], None] = lambda: None,
        patience: Patience | None = None,
    ) -> None:
        self.program = program
        self._patience = patience or Patience()
        self.restarts = 0
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._is_ready = False
        self._failure: FarmError | None = None
        self._thread = threading.Thread(target=self._keep, name=f"keep {program.name}", daemon=True)

    def start(self) -> None:
        """Start it; `wait` tells when it is ready."""
        self._thread.start()

    def wait(self) -> None:
        """Wait until the first start succeeded. Raises PartFailed with the end of its log."""
        self._settled.wait()
        if self._failure:
            raise self._failure

    @property
    def ended_by_itself(self) -> bool:
        """Whether its last process ended in order when it was asked to."""
        process = self._process
        return process is not None and process.returncode in (0, -signal.SIGTERM)

    def process(self) -> Process | None:
        """The process that runs now."""
        running = self._process
        if running is None or running.poll() is not None:
            return None
        try:
            return Process(running.pid, psutil.Process(running.pid).create_time())
        except psutil.Error:
            return None

    def ask_to_stop(self, patience: float = 0.0) -> None:
        """SIGTERM, once, and `patience` seconds to heed it; `stop` waits for the end."""
        asked = self._stopping.is_set()
        self._stopping.set()
        process = self._process
        if process is not None and not asked:
            with suppress(ProcessLookupError):
                process.terminate()
        if process is not None and patience:
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL for it and all it started after `stop_seconds`. One that has not
        answered yet holds nothing to put in order, and may not even hear.
        """
        began = time.monotonic()
        self.ask_to_stop()
        if self._process is not None:
            seconds = self.program.stop_seconds
            _end(self._process, seconds if self._is_ready else min(seconds, UNREADY_STOP_SECONDS))
        if self._thread.ident is not None:
            self._thread.join()
        log.info("part_stopped", part=self.program.name, seconds=round(time.monotonic() - began, 2))

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once()
            except (FarmError, OSError, ValueError) as error:
                if not self._settled.is_set():
                    self._failure = _as_failure(self.program, error)
                    self._settled.set()
                    return
                log.warning(
                    "part_start_failed", part=self.program.name, reason=str(_as_failure(self.program, error))
                )
            if self._stopping.is_set():
                break
            pause = FIRST_PAUSE if time.monotonic() - began > GOOD_RUN else min(pause * 2, LONGEST_PAUSE)
            self._stopping.wait(pause)
            self.restarts += 1
        self._settled.set()

    def _run_once(self) -> None:
        """Start the process, wait until it answers, then until it ends."""
        self._is_ready = False
        process = self._process = _spawn(self.program)
        try:
            # Asked to stop in between: stop() may have looked before there was a process.
            if self._stopping.is_set():
                _end(process, 0.0)
            _await_ready(process, self.program, self._stopping)
            self._is_ready = not self._stopping.is_set()
            log.info("part_ready", part=self.program.name, pid=process.pid, restarts=self.restarts)
            self._changed()
            self._settled.set()
            self._watch(process)
        finally:
            _end(process, 0.0)
            if process.stdout is not None:
                process.stdout.close()
        if not self._stopping.is_set():
            log.warning("part_died", part=self.program.name, pid=process.pid, code=process.returncode)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the process ends, or end it where it hangs."""
        watched = Watched(self.program.answers, self._patience)
        while not _ends_within(process, self._patience.every):
            seconds = 0.0 if self._stopping.is_set() else watched.silent()
            if seconds and not self._stopping.is_set():
                log.warning(
                    "part_hangs",
                    part=self.program.name,
                    pid=process.pid,
                    silent_seconds=round(seconds),
                    consequence="it is killed and started again",
                )
                _end(process, 0.0)
                return


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a process, so long at most; whether it ended."""
    if process.poll() is None:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:  # whoever stopped it was quicker
            return True
        try:
            select.select([descriptor], [], [], seconds)
        finally:
            os.close(descriptor)
    return process.poll() is not None


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    command = program.command()
    tied = [sys.executable, "-I", "-S", str(leash.__file__), str(os.getpid()), str(int(program.death_signal))]
    with open(program.log, "ab", opener=private_opener) as output:
        return subprocess.Popen(
            [*tied, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program.speaks else output,
            stderr=output,
            env={**os.environ, **program.environment()},
            start_new_session=True,
            cwd=program.folder,
        )


def _await_ready(process: subprocess.Popen[bytes], program: Program, stopping: threading.Event) -> None:
    end = time.monotonic() + program.start_seconds
    while not program.ready(process.stdout):
        if process.poll() is not None:
            raise PartFailed(f"{program.name} ended at its start (code {process.returncode}).")
        if time.monotonic() > end:
            raise PartFailed(f"{program.name} does not answer after {program.start_seconds:g} seconds.")
        if stopping.wait(program.looks_every):
            return


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    """See the process end, within `patience` seconds by itself, and end whatever it started: it leads
    a session of its own, so its group is theirs.
    """
    if process.poll() is None and patience > 0:
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            log.info("part_killed", pid=process.pid, after=patience)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _as_failure(program: Program, error: Exception) -> FarmError:
    if isinstance(error, FarmError) and not isinstance(error, PartFailed):
        # It was not even started, and that is said.
        return error
    tail = ""
    try:
        with program.log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
            tail = file.read().decode("utf-8", "replace").strip()
    except OSError:
        pass
    last = " ".join(tail.splitlines()[-3:])[-600:]
    reason = str(error) or type(error).__name__
    ending = f" It ends with: {last}" if last else ""
    advice = f" {program.advice}" if program.advice else ""
    return PartFailed(f"{reason} Its log is {program.log}.{ending}{advice}")


def end_leftovers(farm: RunningFarm | None) -> None:
    """End processes of a farm that was killed, where the kernel left any."""
    for name, left in (farm.parts if farm else {}).items():
        with suppress(psutil.Error):
            process = psutil.Process(left.pid)
            if abs(process.create_time() - left.started) > 1.0:
                continue
            log.warning("leftover_killed", part=name, pid=left.pid)
            for child in [*process.children(recursive=True), process]:
                with suppress(psutil.Error):
                    child.kill()
            process.wait(10)

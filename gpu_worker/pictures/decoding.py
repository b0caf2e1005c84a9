# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding pictures in a process of its own, so that a hostile EXR can hurt nothing but that process."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from farm_protocol.audits import CheckReport
from farm_protocol.fields import Digest, Tile, decoder
from farm_protocol.records import FailureCode
from gpu_worker.blender.process import Wrap
from gpu_worker.failures import TaskError
from gpu_worker.pictures.requests import (
    Answer,
    Check,
    Compare,
    Finished,
    FinishedFile,
    Look,
    Picture,
    Request,
    Stitch,
    Take,
)
from gpu_worker.sandbox import bubblewrap, inner_user
from gpu_worker.sandbox.control_groups import Bounds, Group, groups

LONGEST_ANSWER = 1 << 20
ANSWER_SECONDS = 900.0
OWN_MEMORY = 1 << 30
"""Bytes beside the pictures: the program itself, and the files it reads and writes."""


class BadPicture(TaskError):
    """A picture cannot be used. `pieces` are the numbers of the stitched pieces that are to blame."""

    def __init__(self, reason: str, pieces: tuple[int, ...] = ()) -> None:
        super().__init__(FailureCode.BAD_OUTPUT, reason)
        self.pieces = pieces


class PictureDied(BadPicture):
    """The process did not survive a request. `by_system`: it was killed from outside, as systems that run
    out of memory do, so that the picture need not be the reason.
    """

    def __init__(self, reason: str, by_system: bool) -> None:
        super().__init__(f"The process that decodes pictures did not survive this one ({reason}).")
        self.by_system = by_system


class Pictures:
    """Asks the picture process, which is started when first needed and again when it died.

    Used from the thread of the slot's task only: the kernel ties the process's life to the thread that
    started it. `memory` is its limit in bytes; `wrap` puts its command into a sandbox.
    """

    def __init__(
        self, memory: int, wrap: Wrap = lambda command: command, seconds: float = ANSWER_SECONDS
    ) -> None:
        self._memory = memory
        self._wrap = wrap
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._group = Group()

    def start(self) -> None:
        """Start the process, so that the first picture does not wait for it."""
        self._running()

    def check(self, path: Path, width: int, height: int) -> None:
        """Raise BadPicture unless `path` is a finite picture of `width` x `height` pixels."""
        self._ask(Check(str(path), width, height))

    def check_finished(self, files: tuple[FinishedFile, ...]) -> None:
        """Raise BadPicture unless all files are whole pictures."""
        self._ask(Finished(files))

    def take(self, pictures: tuple[Picture, ...]) -> Digest:
        """Check pictures and cut them; the pixel root over them as they are then, in order."""
        _let_write(picture.target for picture in pictures if picture.target)
        root = self._ask(Take(pictures)).root
        if root is None:
            raise BadPicture("The process that decodes pictures gave no pixel root.")
        return root

    def look(self, request: Look) -> CheckReport:
        """What is found in a submitted tile. Raises PictureDied, and TaskError where this machine is the
        reason.
        """
        _let_write([request.evidence] if request.evidence else [])
        report = self._ask(request).report
        if report is None:
            raise PictureDied("it gave no report", by_system=False)
        return report

    def differences(self, pairs: tuple[tuple[Path, Path], ...], any_order: bool = False) -> tuple[str, ...]:
        """What differs in each pair of written pictures (`any_order`: by more than the order in which a GPU
        adds); '' where they show the same.
        """
        asked = Compare(tuple((str(one), str(other)) for one, other in pairs), any_order)
        found = self._ask(asked).different
        if len(found) != len(pairs):
            raise BadPicture("The process that decodes pictures compared others than it was asked to.")
        return found

    def stitch(self, pieces: list[tuple[Path, Tile]], area: Tile, canvas: Tile, target: Path) -> None:
        """Check all `pieces`, which lie in `area`, and write them as one picture of the `canvas` to `target`.
        Raises BadPicture naming the bad ones.
        """
        _let_write([str(target)])
        named = tuple((str(path), tile) for path, tile in pieces)
        self._ask(Stitch(named, area, canvas, str(target)))

    def kill(self) -> None:
        """End what is being decoded, from any thread: whoever waits for it gets BadPicture."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._group.remove()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def _ask(self, request: Request) -> Answer:
        answer = self._exchange(msgspec.json.encode(request) + b"\n")
        if answer.good:
            return answer
        if answer.fault == "memory":
            self.close()
            raise TaskError(FailureCode.OUT_OF_MEMORY, answer.reason)
        if answer.fault:
            raise TaskError(FailureCode.NODE, answer.reason)
        raise BadPicture(answer.reason, answer.pieces)

    def _exchange(self, request: bytes) -> Answer:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = _read_line(process.stdout.fileno(), time.monotonic() + self._seconds)
            return decoder(Answer).decode(line)
        except (OSError, ValueError) as error:
            killed = _status(process) in (-signal.SIGKILL, 128 + signal.SIGKILL)
            self.close()
            raise PictureDied(str(error), by_system=killed) from error

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            program = [sys.executable, "-I", "-m", "gpu_worker.pictures.program", str(self._memory)]
            launcher = [sys.executable, "-I", "-S", str(bubblewrap.LAUNCHER), str(os.getpid())]
            command = self._wrap(program)
            self._group = groups().make(Bounds(self._memory + OWN_MEMORY, bubblewrap.MOST_PROCESSES))
            self._process = subprocess.Popen(
                [*launcher, *self._group.joins, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
            )
        return self._process


def _let_write(targets: Iterable[str]) -> None:
    for target in targets:
        inner_user.let_write(Path(target))


_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # Pictures go back to the system when they are done with, whatever their size.
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "LANG": "C.UTF-8",
}


def _status(process: "subprocess.Popen[bytes]") -> int | None:
    """How a process ended that is ending; None where it is not."""
    try:
        return process.wait(1.0)
    except subprocess.TimeoutExpired:
        return None


def _read_line(descriptor: int, deadline: float) -> bytes:
    """One bounded line. Raises ValueError where none comes in time."""
    line = b""
    wait: Callable[[float], object] = lambda left: select.select([descriptor], [], [], left)[0]  # noqa: E731
    while not line.endswith(b"\n"):
        if not wait(max(0.0, deadline - time.monotonic())):
            raise ValueError("it took too long")
        data = os.read(descriptor, 1 << 16)
        line += data
        if not data or len(line) > LONGEST_ANSWER:
            raise ValueError("it ended" if not data else "it answered too much")
    return line

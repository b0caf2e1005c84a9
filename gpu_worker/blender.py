# SPDX-License-Identifier: GPL-3.0-or-later
"""The parent's side of a Blender child: starts it, speaks with it, and outlives whatever it does."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from farm_protocol.audits import SampleRange
from farm_protocol.fields import Tile
from farm_protocol.records import FailureCode, Lease, TaskOutput
from gpu_worker.child.confining import WRITES
from gpu_worker.failures import Cancelled, TaskError
from gpu_worker.fleeting import FleetingFolders
from gpu_worker.groups import Bounds, Group, groups
from gpu_worker.protocol import Done, Event, Failed, ProgressEvent, Ready
from gpu_worker.sandbox import LAUNCHER, MOST_PROCESSES
from gpu_worker.usage import Allowance, starved
from gpu_worker.watch import Watch, WatchedStreams

CHILD_PROGRAM = Path(__file__).with_name("blender_child.py")

Wrap = Callable[[list[str]], list[str]]
OnProgress = Callable[[int, int], None]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a child may take. `memory` is bytes resident of its whole process tree; `stall_seconds`
    the longest silence during a command, `total_seconds` the longest command, `disk` bytes in the
    folders it writes to.
    """

    memory: int
    stall_seconds: float = 1800.0
    total_seconds: float = 24 * 3600.0
    start_seconds: float = 120.0
    disk: int = 64 << 30


@dataclass(frozen=True, slots=True)
class Device:
    """What a child renders on: a backend of Cycles, the GPU's index among those it sees, CPU threads."""

    backend: str = "CPU"
    index: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class ChildCommand:
    """How the child is started: program, sandbox and variables. `wrap` puts a command into a sandbox;
    `threads` is how many CPU threads it will be told to use, 0 for all; `writes` the folders on disk it may
    fill, `fleeting` those that the sandbox has in memory.
    """

    program: Path = CHILD_PROGRAM
    wrap: Wrap = lambda command: command
    variables: Mapping[str, str] | None = None
    threads: int = 0
    writes: tuple[Path, ...] = ()
    fleeting: tuple[Path, ...] = ()


_CODES = {
    "scene": FailureCode.SCENE,
    "device": FailureCode.DEVICE,
    "gpu_memory": FailureCode.GPU_MEMORY,
    "gpu_fault": FailureCode.CRASHED,
    "bad_input": FailureCode.BAD_INPUT,
}
_SPOILED = frozenset({"device", "gpu_memory", "gpu_fault"})
"""Failures after which a child's GPU context is not to be trusted: the child goes."""


class BlenderChild:
    """One child process. Used by one thread at a time, except `kill`, which any thread may call.

    Every method but `kill` and `close` raises TaskError: CRASHED, HUNG, OUT_OF_MEMORY, or what the
    child says failed. After the first three, and after `kill`, the child is gone for good.
    """

    def __init__(self, limits: ChildLimits, command: ChildCommand | None = None) -> None:
        self.limits = limits
        self._command = command or ChildCommand()
        self._news = threading.Condition()
        self._ready: Ready | None = None
        self._answer: Done | Failed | None = None
        self._last_heard = time.monotonic()
        self._verdict: TaskError | None = None
        self._on_progress: OnProgress | None = None
        self._ended = False
        self._busy = False
        self._fleeting = FleetingFolders(self._command.fleeting)
        self._group = Group()
        allowance = Allowance(
            limits.memory,
            limits.disk,
            self._command.writes,
            self._fleeting.filled,
            self._starved,
            lambda: self._group.bounds_memory,
        )
        self._watch = Watch(self._spawn, self._hear, self._end, allowance)
        self.commands_done = 0

    # --- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process and return at once; Blender takes about a second to load."""
        self._last_heard = time.monotonic()
        self._watch.start()

    def ready(self) -> Ready:
        """Wait until the child has loaded Blender."""
        with self._news:
            self._await(lambda: self._ready is not None, self.limits.start_seconds, self.limits.start_seconds)
            assert self._ready is not None
            return self._ready

    def fill(self, folder: Path, lay: Callable[[Path], None]) -> None:
        """Have `lay` put something into a folder in memory that it was started with, once it is ready and
        before it opens anything. Raises TaskError (NODE) where that fails.
        """
        self.ready()
        try:
            self._fleeting.fill(folder, lay)
        except (OSError, KeyError) as error:
            # Where it is gone meanwhile, so are its folders.
            raise self._verdict or TaskError(
                FailureCode.NODE, f"{folder.name} could not be copied into the sandbox's memory: {error}"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether it can still take a command."""
        return not self._ended and self._verdict is None

    @property
    def peak_memory(self) -> int:
        """The most bytes its process tree was seen to hold."""
        return self._watch.peak_memory

    @property
    def pid(self) -> int | None:
        """The process, or its sandbox's."""
        return self._watch.pid

    def kill(self) -> None:
        """End it now; a command under way raises Cancelled."""
        self._condemn(Cancelled())

    def close(self) -> None:
        """End it now and wait until it and everything under it is gone."""
        self._condemn(Cancelled())
        self._watch.join()

    # --- commands -----------------------------------------------------------------------------------

    def inspect(self, blend: Path) -> bytes:
        """The facts of a .blend, as JSON that is not yet decoded."""
        return bytes(self._carry_out({"cmd": "inspect", "blend": str(blend)}).facts)

    def device_name(self, device: Device) -> str:
        """What Cycles calls a device. What was open is forgotten."""
        return self._carry_out({"cmd": "device", "device": asdict(device)}).device_name

    def warm(self, device: Device, path: Path, on_progress: OnProgress) -> Done:
        """Render the node's own scenes on a device, in the empty folder `path`. Forgets what was open."""
        command: dict[str, object] = {"cmd": "warm", "device": asdict(device), "path": str(path)}
        return self._carry_out(command, on_progress)

    def open(self, blend: Path, device: Device) -> Done:
        """Hold a scene warm. Does nothing where it is open already."""
        return self._carry_out({"cmd": "open", "blend": str(blend), "device": asdict(device)})

    def render(self, lease: Lease, region: Tile, path: Path, on_progress: OnProgress) -> Done:
        """Render `region` of the lease's frame to `path`: a file for linear output, else a folder."""
        final = lease.task.output is TaskOutput.FINAL
        command = _frame_command("render", lease, path)
        command |= {"region": asdict(region), "output": "final" if final else "linear"}
        return self._write(command, path, on_progress)

    def audit(
        self,
        lease: Lease,
        crops: tuple[Tile, ...],
        sparse: SampleRange | None,
        path: Path,
        on_progress: OnProgress,
    ) -> Done:
        """Render `crops` of the lease's frame with all samples, and its tile with the samples `sparse`,
        to files in the folder `path`.
        """
        command = _frame_command("audit", lease, path)
        command |= {"crops": [asdict(crop) for crop in crops], "sparse": sparse and asdict(sparse)}
        command |= {"region": asdict(lease.task.tile)}
        return self._write(command, path, on_progress)

    def probe(self, lease: Lease, path: Path, on_progress: OnProgress) -> Done:
        """Render the frames of the lease's probe very small, in the folder `path`, which is left empty."""
        assert lease.probe is not None
        final = lease.task.output is TaskOutput.FINAL
        command = _frame_command("probe", lease, path)
        command |= asdict(lease.probe) | {"output": "final" if final else "linear"}
        return self._write(command, path, on_progress)

    def finish(self, lease: Lease, merged: Path, path: Path, on_progress: OnProgress) -> Done:
        """Denoise, composite and write the frame whose stitched EXR is `merged` under the folder `path`."""
        command = _frame_command("finish", lease, path)
        command |= {"canvas": asdict(lease.canvas), "merged": str(merged)}
        return self._write(command, path, on_progress)

    def _write(self, command: dict[str, object], path: Path, on_progress: OnProgress) -> Done:
        """Carry out a command that writes to `path`, where the files then are."""
        self.ready()
        self._fleeting.make(path)
        done = self._carry_out(command, on_progress)
        self._fleeting.bring_out(path)
        return done

    def _carry_out(self, command: dict[str, object], on_progress: OnProgress | None = None) -> Done:
        self.ready()
        with self._news:
            self._answer, self._on_progress, self._busy = None, on_progress, True
            self._last_heard = time.monotonic()
        self._watch.send(json.dumps(command).encode() + b"\n")
        with self._news:
            self._await(
                lambda: self._answer is not None, self.limits.stall_seconds, self.limits.total_seconds
            )
            answer, self._busy = self._answer, False
        self.commands_done += 1
        if isinstance(answer, Failed):
            error = TaskError(_CODES.get(answer.code, FailureCode.SCENE), answer.message)
            if answer.code in _SPOILED:
                self._condemn(error)
            raise error
        assert answer is not None
        return answer

    def _await(self, arrived: Callable[[], bool], stall: float, total: float) -> None:
        """Wait, holding `_news`, until something arrived or the child's time is up."""
        latest = time.monotonic() + total
        while not arrived():
            if self._verdict is not None and self._ended:
                raise self._verdict
            left = min(latest, self._last_heard + stall) - time.monotonic()
            if left <= 0 and self._verdict is None:
                self._verdict = _hung(time.monotonic() >= latest, stall, total)
                self._watch.kill()
            self._news.wait(max(left, 0.05) if self._verdict is None else None)

    # --- what the watching thread calls -----------------------------------------------------------------

    def _spawn(self, streams: WatchedStreams) -> "subprocess.Popen[bytes]":
        options = ["--events-fd", str(streams.events), "--threads", str(self._command.threads)]
        program = [sys.executable, "-I", "-u", str(self._command.program), *options]
        command = self._command.wrap(program)
        self._group = groups().make(self._bounds())
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *self._group.joins, *command],
            stdin=subprocess.PIPE,
            stdout=streams.chatter,
            stderr=streams.chatter,
            pass_fds=(streams.events,),
            env={**(self._command.variables or {}), **self._confining()},
            start_new_session=True,
        )

    def _confining(self) -> dict[str, str]:
        """Where the child may write, for itself to keep to (`gpu_worker.child.confining`)."""
        writes = "\n".join(map(str, (*self._command.writes, *self._command.fleeting)))
        return {WRITES: writes} if writes else {}

    def _starved(self) -> bool:
        return self._group.ran_out_of_memory()

    def _bounds(self) -> Bounds:
        """One CPU more than it was told to use, for what it does beside rendering."""
        threads = self._command.threads
        return Bounds(self.limits.memory, MOST_PROCESSES, threads + 1 if threads else None)

    def _hear(self, event: Event) -> None:
        report = None
        with self._news:
            self._last_heard = time.monotonic()
            if isinstance(event, Ready) and self._ready is None:
                # Nobody's scene is open yet.
                self._fleeting.open(self._watch.pid or 0)
                self._ready = event
            elif self._busy and isinstance(event, ProgressEvent):
                report = self._on_progress
            elif self._busy and self._answer is None and isinstance(event, (Done, Failed)):
                self._answer = event
            else:
                raise ValueError("it spoke out of turn")
            self._news.notify_all()
        if report is not None and isinstance(event, ProgressEvent):
            report(event.done, event.total)

    def _end(self, cause: TaskError | None, status: int | None) -> None:
        self._fleeting.close()
        hungry = starved(self.limits.memory) if self._group.ran_out_of_memory() else None
        self._group.remove()
        with self._news:
            self._ended = True
            self._verdict = self._verdict or cause or hungry or self._crashed(status)
            self._news.notify_all()
        tell = log.debug if isinstance(self._verdict, Cancelled) else log.warning
        tell("blender_child_ended", pid=self.pid, status=status, reason=self._verdict.sentence)

    def _crashed(self, status: int | None) -> TaskError:
        last = self._watch.last_lines()
        sentence = f"Blender ended {_how(status)}."
        return TaskError(FailureCode.CRASHED, f"{sentence} Its last words: {last}" if last else sentence)

    def _condemn(self, verdict: TaskError) -> None:
        with self._news:
            self._verdict = self._verdict or verdict
        self._watch.kill()


def _frame_command(name: str, lease: Lease, path: Path) -> dict[str, object]:
    return {
        "cmd": name,
        "frame": lease.task.frame,
        "settings": asdict(lease.settings),
        "asked": lease.asked,
        "width": lease.width,
        "height": lease.height,
        "area": asdict(lease.area),
        "canvas": asdict(lease.canvas),
        "path": str(path),
    }


def _hung(whole: bool, stall: float, total: float) -> TaskError:
    if whole:
        return TaskError(FailureCode.HUNG, f"Blender took longer than {total:.0f} s and was stopped.")
    return TaskError(FailureCode.HUNG, f"Blender made no progress for {stall:.0f} s and was stopped.")


def _how(status: int | None) -> str:
    """How a process ended, in words. A sandbox passes on 128 + signal as its own exit status."""
    if status is None:
        return "before it started"
    number = -status if status < 0 else status - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"with exit status {status}"
    hint = " (perhaps the system ran out of memory)" if name == "SIGKILL" else ""
    return f"by {name}{hint}"

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU does to this farm's promises, measured in one go: repeats, bounds, kernels, speed, audits.

    python benchmarks/gpu_check.py                       # 8 minutes at most, all devices that Cycles sees
    python benchmarks/gpu_check.py --scenes bmw27.blend --output results --json
    python benchmarks/gpu_check.py --dry                 # in small, with stand-ins for GPUs: for tests

Prints rows for docs/exactness.md and docs/performance.md. Every step is a process of its own with a time
limit; one that fails is a row of the table "Not measured" and stops no other. Rows are written to rows.jsonl
and tables.md in OUTPUT as they come, so that a run that is cut off leaves what it found. Needs Blender's
Python module, numpy and OpenEXR, and no network (docs/gpu-check.md).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_check_msgspec import stand_in  # noqa: E402

stand_in()

from benchmarks import gpu_check_machine, gpu_check_pictures, gpu_check_speed  # noqa: E402
from benchmarks.gpu_check_child import ChildError  # noqa: E402
from benchmarks.gpu_check_records import (  # noqa: E402
    CPU,
    Device,
    NotThere,
    Row,
    Setup,
    as_json,
    from_json,
    markdown,
)

Measure = Callable[[Setup, Device], Iterator[Row]]

MEASURES: dict[str, Measure] = {
    "machine": gpu_check_machine.machine,
    "scenes": gpu_check_machine.scenes,
    "kernels": gpu_check_speed.kernels,
    "repeats": gpu_check_pictures.repeats,
    "between": gpu_check_pictures.between,
    "adaptive": gpu_check_pictures.adaptive,
    "volumes": gpu_check_pictures.volumes,
    "cryptomatte": gpu_check_pictures.cryptomatte,
    "bytes": gpu_check_pictures.in_bytes,
    "denoising": gpu_check_pictures.denoising,
    "speed": gpu_check_speed.speed,
    "audit": gpu_check_speed.audit,
    "pair": gpu_check_speed.pair,
    "persistent": gpu_check_speed.persistent,
}

WITHOUT_KERNELS = {"machine", "scenes", "kernels", "between", "cryptomatte"}
"""Steps that render nothing, and the one that compiles."""

DRY_PATIENCE = 5
"""A dry run is for tests, whose machines are busy with others."""

LEAST = 3.0
"""Seconds: with less left no step is begun."""


@dataclass(frozen=True)
class Step:
    """One measure on one device, with the seconds it may take."""

    measure: str
    device: str
    seconds: float

    @property
    def name(self) -> str:
        """For rows and files."""
        return f"{self.measure}: {self.device}"


Chain = list[Step]
"""Steps one after the other."""


def plan(setup: Setup) -> list[list[Chain]]:
    """Groups of chains, by importance. The chains of one group run side by side: what is timed alone comes
    after all that only looks at pictures, for which a GPU's kernels may take minutes to compile.
    """
    gpus = [device.name for device in setup.gpus]
    variants = [device.name for device in setup.variants]
    pictures = {
        "repeats": 90.0,
        "adaptive": 60.0,
        "cryptomatte": 20.0,
        "bytes": 40.0,
        "denoising": 40.0,
        "volumes": 30.0,
    }

    def chain(device: str) -> Chain:
        return [Step(measure, device, seconds) for measure, seconds in pictures.items()]

    def each(measure: str, seconds: float, devices: list[str]) -> list[list[Chain]]:
        return [[[Step(measure, device, seconds)]] for device in devices]

    return [
        *each("scenes", 60, [CPU]),
        *each("machine", 30, [CPU]),
        [chain(CPU), *([Step("kernels", device, 300), *chain(device)] for device in gpus)],
        *each("between", 20, gpus),
        *each("speed", 60, [CPU, *gpus]),
        *each("audit", 30, gpus),
        *each("pair", 45, gpus),
        *each("persistent", 30, gpus),
        *each("kernels", 30, [CPU]),
        *each("audit", 60, [CPU]),
        *each("persistent", 60, [CPU]),
        *each("repeats", 60, variants),
        *each("between", 20, variants),
    ]


# --- a step, in a process of its own ----------------------------------------------------------------------


def carry_out(folder: Path, measure: str, device: str) -> None:
    """Print the rows of one step as JSON lines, as they come. Ends at once when the parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    setup = Setup.load(folder)
    if device == CPU:
        os.nice(10)  # Kernels that compile meanwhile are timed.
    try:
        for row in MEASURES[measure](setup, setup.device(device)):
            print(as_json(replace(row, step=f"{measure}: {device}")), flush=True)
    except (ChildError, NotThere) as error:
        sys.exit(" / ".join(str(error).split("\n")))


def _end_with_parent() -> None:
    sys.stdin.read()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with the Blender that it has started
    os.kill(os.getpid(), signal.SIGKILL)  # the group is of whoever started this step by hand


# --- the run ------------------------------------------------------------------------------------------------


class Run:
    """Carries out steps until the time is up, and writes what they find."""

    def __init__(self, setup: Setup, output: Path, budget: float) -> None:
        self.setup, self.output = setup, output
        self.rows: list[Row] = []
        self._ends = time.monotonic() + budget
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopping = False
        output.mkdir(parents=True, exist_ok=True)
        (output / "rows.jsonl").write_text("")

    def all(self) -> None:
        """Every step of the plan. Whatever is raised meanwhile, `Stopped` too, ends the steps that run."""
        for group in plan(self.setup):
            with ThreadPoolExecutor(len(group)) as pool:
                try:
                    list(pool.map(self._chain, group))
                except BaseException:
                    self._stop()
                    raise

    def _stop(self) -> None:
        """Begin no step any more, and kill those that run."""
        with self._lock:
            self._stopping = True
            for process in self._running:
                _kill(process)

    def _chain(self, steps: Chain) -> None:
        for step in steps:
            if self._stopping:
                return
            began = time.monotonic()
            self._one(step)
            with self._lock:
                self._show(step, time.monotonic() - began)

    def _show(self, step: Step, seconds: float) -> None:
        mine = [row for row in self.rows if row.step == step.name]
        print(f"# {step.name}, {seconds:.1f} s\n\n{markdown(mine)}\n", file=sys.stderr, flush=True)
        (self.output / "tables.md").write_text(markdown(self.rows) + "\n")

    def _one(self, step: Step) -> None:
        limit = step.seconds * DRY_PATIENCE if self.setup.dry else step.seconds
        seconds = min(limit, self._ends - time.monotonic())
        if seconds < LEAST:
            self._missing(step, "no time left")
        elif not self._is_ready(step):
            self._missing(step, "the device's kernels were not ready")
        else:
            self._attempt(step, seconds)

    def _is_ready(self, step: Step) -> bool:
        device = self.setup.device(step.device)
        free = step.measure in WITHOUT_KERNELS or device not in self.setup.gpus
        return free or gpu_check_speed.ready(self.setup, device).exists()

    def _attempt(self, step: Step, seconds: float) -> None:
        with (self.setup.folder / f"{step.measure}-{step.device.replace(' ', '-')}.log").open("w+") as log:
            process = self._begun(step, log)
            if process is None:
                return
            assert process.stdout is not None
            reading = threading.Thread(target=self._take, args=(process.stdout,))
            reading.start()
            try:
                status = process.wait(seconds)
                why = "" if status == 0 else _last_line(log) or f"ended with status {status}"
            except subprocess.TimeoutExpired:
                why = f"stopped after {seconds:.0f} s"
            finally:
                self._end(process)
            reading.join()
            if why:
                self._missing(step, "stopped from outside" if self._stopping else why)

    def _begun(self, step: Step, log: IO[str]) -> "subprocess.Popen[str] | None":
        """The step's process, in a group of its own; None where all is over."""
        command = [sys.executable, "-u", __file__, "--step", step.measure, step.device]
        with self._lock:
            if self._stopping:
                return None
            process = subprocess.Popen(
                [*command, "--folder", str(self.setup.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                # A Blender that is killed leaves a folder there.
                env=os.environ | {"TMPDIR": str(self.setup.folder)},
            )
            self._running.add(process)
            return process

    def _end(self, process: "subprocess.Popen[str]") -> None:
        """Kill what is left of a step, and forget it."""
        with self._lock:
            self._running.discard(process)
            _kill(process)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _take(self, lines: IO[str]) -> None:
        for line in lines:
            self._add(from_json(line))

    def _missing(self, step: Step, why: str) -> None:
        self._add(Row("missing", {"step": step.name, "why": why}, step.name))

    def _add(self, row: Row) -> None:
        with self._lock:
            self.rows.append(row)
            with (self.output / "rows.jsonl").open("a") as file:
                file.write(as_json(row) + "\n")


def _kill(process: "subprocess.Popen[str]") -> None:
    """The step and its Blenders, which are in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return lines[-1][-400:] if lines else ""


class Stopped(BaseException):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stopped(number: int, _: object) -> None:
    """A polite end, once: what was found is printed, however often somebody asks."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", nargs="*", type=Path, default=[], help="more scenes, such as bmw27.blend")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", "out/gpu-check")))
    parser.add_argument("--budget-s", type=float, default=480)
    parser.add_argument("--dry", action="store_true", help="tiny, and the CPU stands in for GPUs")
    parser.add_argument("--child", default="", help="with --dry: the stand-in's Blender child program")
    parser.add_argument("--json", action="store_true", help="JSON rows instead of tables on stdout")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        carry_out(chosen.folder, *chosen.step)
        return
    for path in chosen.scenes:
        if not path.is_file():
            parser.error(f"--scenes: there is no file {path}")
    for number in SIGNALS:
        signal.signal(number, stopped)
    try:
        measure(chosen)
    except Stopped as stop:
        print("Stopped.", file=sys.stderr)
        sys.exit(128 + stop.number)
    except gpu_check_machine.NoGpu as error:
        sys.exit(str(error))


def measure(chosen: argparse.Namespace) -> None:
    """Find the devices, carry out the steps, and print what they found, as far as they came."""
    began = time.monotonic()
    extra = tuple(str(path.resolve()) for path in chosen.scenes)
    devices = gpu_check_machine.stand_ins(chosen.child) if chosen.dry else gpu_check_machine.devices()
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as scratch:
        setup = Setup(Path(scratch), chosen.dry, devices, extra)
        setup.save()
        run = Run(setup, chosen.output, chosen.budget_s - (time.monotonic() - began))
        try:
            run.all()
        finally:
            found = [json.loads(as_json(row)) for row in run.rows]
            print(json.dumps(found, indent=1) if chosen.json else markdown(run.rows), flush=True)


if __name__ == "__main__":
    main()

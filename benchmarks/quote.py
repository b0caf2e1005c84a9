# SPDX-License-Identifier: GPL-3.0-or-later
"""How often what a job really took lies in the band of its quote, and what the probes cost.

    python benchmarks/quote.py collect calibration FILE     probes and renders the jobs to calibrate on
    python benchmarks/quote.py collect measured FILE        the same for the jobs they are measured on
    python benchmarks/quote.py table FILE                   quotes from a file's probes beside its renders
    python benchmarks/quote.py fit FILE                     errors of the prediction, to calibrate from

Each job is probed in one Blender and rendered in another, both fresh, with one thread, by the node's code.
"Real" is processor time of the rendering child from its first frame to its last, syncing and writing files
included, without loading Blender and the .blend; so other work on the machine disturbs it little.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quote_jobs import CALIBRATION, MEASURED, Job
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.probes import ProbeOrder, ProbeReport
from farm_protocol.records import JobSpec, Lease, Task, TaskKind, TaskOutput
from frame_splitter import exactness, split, tiles
from gpu_worker.blender import BlenderChild, ChildCommand, ChildLimits, Device
from payments.forecast import Cut, Forecast, Sampling, forecast, probed_frames
from payments.pricing import MICRO
from render_farm.quoting import sampling_of
from tests.reference import make_variants

LISTS = {"calibration": CALIBRATION, "measured": MEASURED}
THREADS = 1


@dataclass(frozen=True)
class Seen:
    """A job with its probe's report, the processor seconds of its frames, and the speed of the process that
    rendered them, in micro-units a second.
    """

    job: Job
    pixels: int
    sampling: Sampling
    report: ProbeReport
    probe_seconds: float
    real_seconds: tuple[float, ...]
    real_speed: int
    probe_memory: int
    real_memory: int


@contextmanager
def _child() -> Iterator[BlenderChild]:
    command = ChildCommand(threads=THREADS, variables=dict(os.environ))
    child = BlenderChild(ChildLimits(memory=8 << 30), command)
    child.start()
    try:
        yield child
    finally:
        child.close()


def _processor_seconds(child: BlenderChild) -> float:
    found = psutil.Process(child.pid)
    times = [one.cpu_times() for one in (found, *found.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _leases(job: Job, facts: SceneFacts) -> tuple[Lease, list[Lease]]:
    spec = JobSpec(SceneId("s"), job.frames, samples=job.samples, resolution_percentage=job.percentage)
    settings = split.pin(spec, facts)
    plan = exactness.classify(facts, settings)
    width, height = tiles.frame_size(facts, job.percentage)
    area, canvas = tiles.border_area(facts, width, height)

    def lease(kind: TaskKind, frame: int) -> Lease:
        task = Task(TaskId("t"), JobId("j"), kind, frame, area, 0, plan.output)
        place = (SceneId("s"), OwnerId("o"), settings, width, height, area, canvas)
        return Lease(task, LeaseToken(1), "s", 10.0, *place)

    order = ProbeOrder(probed_frames(job.frames), len(job.frames), 60.0)
    probe = replace(lease(TaskKind.PROBE, job.frames[0]), probe=order)
    return probe, [lease(TaskKind.RENDER, frame) for frame in job.frames]


def look_at(job: Job, variants: Path, folder: Path) -> Seen:
    """Probe a job and render it."""
    blend = job.blend(variants)
    with _child() as child:
        facts = decode(child.inspect(blend), SceneFacts)
        probe, renders = _leases(job, facts)
        child.open(blend, Device(threads=THREADS))
        (folder / "probe").mkdir()
        done = child.probe(probe, folder / "probe", lambda *_: None)
    with _child() as child:
        child.open(blend, Device(threads=THREADS))
        real = []
        for number, lease in enumerate(renders):
            place = folder / str(number)
            place.mkdir()
            linear = lease.task.output is TaskOutput.LINEAR
            before = _processor_seconds(child)
            rendered = child.render(
                lease, lease.area, place / "tile.exr" if linear else place, lambda *_: None
            )
            # As the child's own meter does; Blender's other engines ask nobody how many threads to use.
            real.append(min(rendered.seconds, _processor_seconds(child) - before))
        (folder / "speed").mkdir()
        brief = replace(probe, probe=replace(probe.probe, most_seconds=0.0)) if probe.probe else probe
        real_speed = child.probe(brief, folder / "speed", lambda *_: None).speed
    report = ProbeReport(done.speed, done.measures)
    memory = rendered.peak_memory
    return Seen(
        job,
        probe.area.area,
        sampling_of(facts),
        report,
        done.seconds,
        tuple(real),
        real_speed,
        done.peak_memory,
        memory,
    )


def collect(jobs: tuple[Job, ...], file: Path) -> None:
    """Look at all jobs; each is added to the file as soon as it is done."""
    with tempfile.TemporaryDirectory() as folder:
        variants = Path(folder) / "variants"
        variants.mkdir()
        make_variants(variants, *sorted({job.scene for job in jobs if job.variant}))
        for number, job in enumerate(jobs):
            place = Path(folder) / f"job-{number}"
            place.mkdir()
            seen = look_at(job, variants, place)
            with file.open("a") as lines:
                lines.write(json.dumps(asdict(seen)) + "\n")
            print(f"{job}: probe {seen.probe_seconds:.2f} s, real {sum(seen.real_seconds):.2f} s", flush=True)


def _read(file: Path) -> list[Seen]:
    return [decode(line, Seen) for line in file.read_text().splitlines()]


def predicted(seen: Seen) -> Forecast:
    """What the node that probed would take."""
    cuts = [Cut(1, seen.pixels)] * len(seen.job.frames)
    return forecast(seen.report, seen.job.frames, seen.pixels, cuts, seen.sampling)


def _row(seen: Seen) -> tuple[list[str], bool, bool]:
    """A line of the table; whether the band held, and whether the probe was as cheap as it is to be."""
    said, frames = predicted(seen), len(seen.job.frames)
    middle, real = _units(seen)
    held = middle * said.low <= real <= middle * said.high
    probe = seen.probe_seconds * seen.report.speed / MICRO
    told = [
        seen.job.scene,
        f"{seen.job.percentage} %",
        str(seen.job.samples),
        str(frames),
        f"{real:.2f}",
        f"{middle * said.low:.2f}",
        f"{middle:.2f}",
        f"{middle * said.high:.2f}",
        "yes" if held else "**no**",
        f"{100 * probe / real:.0f} %",
        f"{probe / (real / frames):.2f}",
    ]
    return told, held, probe <= max(0.02 * real, real / frames)


def _units(seen: Seen) -> tuple[float, float]:
    """The quote's middle, and what the job really took; each by the speed its own process measured."""
    said = sum(predicted(seen).seconds) * seen.report.speed
    return said / MICRO, sum(seen.real_seconds) * seen.real_speed / MICRO


def table(file: Path) -> None:
    """Print a line a job, and how often the bands held."""
    heads = (
        "scene",
        "size",
        "samples",
        "frames",
        "real",
        "P10",
        "P50",
        "P90",
        "inside",
        "probe",
        "in frames",
    )
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    rows = [_row(seen) for seen in _read(file)]
    for told, _, _ in rows:
        print("| " + " | ".join(told) + " |")
    held, cheap = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(f"\n{held} of {len(rows)} inside; {cheap} probes within 2 % of the job or one frame's work.")


def fit(file: Path) -> None:
    """Print how far predictions are off, to calibrate from."""
    for sampling in Sampling:
        some = [seen for seen in _read(file) if seen.sampling is sampling]
        errors = [math.log(real / said) for said, real in map(_units, some)]
        for seen, error in zip(some, errors, strict=True):
            print(f"{error:+.3f} {predicted(seen).spread:.3f} {seen.job}")
        if errors:
            mean = statistics.fmean(errors)
            print(f"{sampling}: {len(errors)} jobs, mean {mean:+.3f}, rms {_rms(errors):.3f}\n")


def _rms(errors: list[float]) -> float:
    return math.sqrt(statistics.fmean(error**2 for error in errors))


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("collect", "table", "fit"))
    parser.add_argument("what", nargs="*")
    options = parser.parse_args()
    if options.do == "collect":
        collect(LISTS[options.what[0]], Path(options.what[1]))
    elif options.do == "table":
        table(Path(options.what[0]))
    else:
        fit(Path(options.what[0]))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe's child says it measured, held against the order, and as a file beside the result."""

from dataclasses import replace
from pathlib import Path

from farm_protocol.fields import encode
from farm_protocol.probes import ProbeReport
from farm_protocol.records import FailureCode, Lease
from gpu_worker.checking import Rendered
from gpu_worker.failures import TaskError
from gpu_worker.protocol import Done

FILE = "probe.json"


def checked(done: Done, lease: Lease) -> Done:
    """What the child measured. Raises TaskError for measures of frames that were not asked for, or none."""
    if lease.probe is None:
        raise TaskError(FailureCode.NODE, "The probe does not say which frames to look at.")
    if not done.measures or not done.speed:
        raise TaskError(FailureCode.BAD_OUTPUT, "Blender measured nothing.")
    if not {measure.frame for measure in done.measures} <= set(lease.probe.frames):
        raise TaskError(FailureCode.BAD_OUTPUT, "Blender measured frames that were not asked for.")
    return done


def rendered(before: Rendered, done: Done, folder: Path) -> Rendered:
    """The task's result with its report, which is also its only file, in `folder`."""
    report = ProbeReport(done.speed, done.measures)
    (folder / FILE).write_bytes(encode(report) + b"\n")
    return replace(before, names=(FILE,), probe=report)

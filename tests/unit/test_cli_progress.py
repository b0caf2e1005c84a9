# SPDX-License-Identifier: GPL-3.0-or-later
"""What the display says of a job, from its events."""

import time

import pytest

from render_farm.cli.progress import Status
from render_farm.job_events import ProgressEvent, TaskEvent


def leased(task: str, frame: int = 1, slot: str = "cpu-0", node: str = "n1") -> TaskEvent:
    return TaskEvent(task, "render", frame, "leased", node, slot)


def ended(task: str, state: str = "accepted") -> TaskEvent:
    return TaskEvent(task, "render", 1, state, "n1", "cpu-0")


def test_work_counts_accepted_tasks_and_samples_under_way() -> None:
    status = Status(total=4, frames_total=2)
    assert status.fraction == 0
    for task in ("a", "b"):
        status.task(leased(task))
    status.task(ended("a"))
    status.progress(ProgressEvent("b", 1, 8, 16, "n1", "cpu-0"))
    assert status.fraction == pytest.approx(1.5 / 4)


def test_events_told_twice_count_once() -> None:
    status = Status(total=2, frames_total=1)
    for _ in range(2):
        status.task(leased("a"))
        status.task(ended("a"))
    assert status.fraction == 0.5


def test_a_task_taken_back_counts_no_more() -> None:
    status = Status(total=2, frames_total=1)
    status.task(leased("a"))
    status.task(ended("a"))
    status.task(ended("a", "ready"))
    assert status.fraction == 0


def test_slots_say_what_they_do() -> None:
    status = Status(total=3, frames_total=1)
    status.task(leased("a"))
    status.task(leased("b", 7, "cpu-1"))
    status.progress(ProgressEvent("b", 7, 3, 16, "n1", "cpu-1"))
    assert status.activity() == [("cpu-0", "frame 1"), ("cpu-1", "frame 7, 3 of 16 samples")]
    status.task(ended("a"))
    status.task(leased("c", 2, "cpu-0", "n2"))
    assert status.activity() == [
        ("n1/cpu-0", "-"),
        ("n1/cpu-1", "frame 7, 3 of 16 samples"),
        ("n2/cpu-0", "frame 2"),
    ]


def test_the_time_left_follows_the_pace_of_this_run() -> None:
    status = Status(total=10, frames_total=1, at_start=0.5, began=time.monotonic() - 10)
    assert status.seconds_left is None
    for number in range(6):
        status.task(ended(str(number)))
    # A tenth of the work took ten seconds, four tenths are left.
    assert status.seconds_left == pytest.approx(40, abs=1)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the display says of a job, from its events."""

import io
import time

import pytest
from rich.console import Console

from render_farm.cli.display.progress import LiveDisplay, Status
from render_farm.cli.verdicts import Audits
from render_farm.job_events import AuditEvent, ProgressEvent, TaskEvent, VerdictEvent


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


def test_a_tile_counts_from_its_submission_until_it_is_rejected() -> None:
    status = Status(total=2, frames_total=1)
    status.task(leased("a"))
    for state in ("submitted", "auditing", "accepted"):
        status.task(ended("a", state))
        assert status.fraction == 0.5
        assert status.activity() == [("cpu-0", "-")]
    status.task(ended("a", "auditing"))
    status.task(ended("a", "ready"))
    assert status.fraction == 0


@pytest.mark.parametrize(("kind", "doing"), [("audit", "auditing"), ("check", "checking")])
def test_audits_and_checks_are_shown_but_are_no_work_of_the_job(kind: str, doing: str) -> None:
    status = Status(total=2, frames_total=1)
    status.task(TaskEvent("x", kind, 3, "leased", "n1", "cpu-0"))
    status.progress(ProgressEvent("x", 3, 1, 2, "n1", "cpu-0"))
    assert status.activity() == [("cpu-0", f"{doing} frame 3, 1 of 2 samples")]
    assert status.fraction == 0
    status.task(TaskEvent("x", kind, 3, "accepted", "n1", "cpu-0"))
    assert status.fraction == 0
    assert status.activity() == [("cpu-0", "-")]


def test_finishing_is_named_and_counts() -> None:
    status = Status(total=2, frames_total=1)
    status.task(TaskEvent("f", "finish", 3, "leased", "n1", "cpu-0"))
    assert status.activity() == [("cpu-0", "finishing frame 3")]
    status.task(TaskEvent("f", "finish", 3, "accepted", "n1", "cpu-0"))
    assert status.fraction == 0.5


def test_audits_told_twice_count_once() -> None:
    audits = Audits()
    assert not audits
    for _ in range(2):
        audits.audit(AuditEvent("j.f1.t0", 1, "n1", "ordered"))
        audits.audit(AuditEvent("j.f1.t0", 1, "n1", "done", "n2"))
        audits.verdict(VerdictEvent("j.f1.t0", 1, "n1", "rejected", "differs", "No."))
    audits.audit(AuditEvent("j.f1.t0", 1, "n3", "ordered"))
    audits.verdict(VerdictEvent("j.f1.t0", 1, "n3", "accepted", "accepted", "Equal."))
    assert str(audits) == "2 audited, 1 rejected"


def test_the_live_display_draws_audits() -> None:
    status = Status(total=2, frames_total=1)
    status.audits.audit(AuditEvent("j.f1.t0", 1, "n1", "ordered"))
    status.task(TaskEvent("x", "audit", 3, "leased", "n1", "[red]"))
    drawn = io.StringIO()
    live = LiveDisplay(status)
    try:
        Console(file=drawn, width=100).print(live._draw())
    finally:
        live.close()
    assert "1 audited, 0 rejected" in drawn.getvalue()
    assert "auditing frame 3" in drawn.getvalue()
    assert "[red]" in drawn.getvalue()


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

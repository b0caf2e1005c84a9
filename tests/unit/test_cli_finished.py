# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said, and done, where a job was rendered before."""

from dataclasses import replace
from pathlib import Path

import pytest

from farm_protocol.fields import decode
from farm_protocol.records import JobState
from farm_protocol.transfer import ObjectLost
from render_farm.api_models import Job
from render_farm.cli.finished import give_back, newest_finished
from render_farm.cli.following import Outcome
from render_farm.cli.outputs import Targets
from render_farm.cli.program import run
from tests.unit.test_cli_client import job_json

JOB = decode(job_json("complete"), Job)


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    paths = {frame: tmp_path / f"{frame}.png" for frame in (1, 2)}
    return Targets(paths, frozenset(), {}, ".png")


def given(targets: Targets, fetched: list[Path]) -> tuple[Outcome | None, str]:
    """The outcome, where following the job writes the files of `fetched`; and what is said."""
    said: list[str] = []
    outcome = Outcome(JOB, {}, 0.0)

    def follow() -> Outcome:
        for path in fetched:
            path.write_text("fetched")
        return outcome

    return give_back(JOB, targets, follow, said.append), " ".join(said)


def test_files_that_stay_as_they_were_are_there_already(targets: Targets) -> None:
    for path in targets.frames.values():
        path.write_text("frame")
    outcome, said = given(targets, [])
    assert outcome is not None
    assert said.startswith("All 2 frames are there already: job j1 of ")
    assert said.endswith("nothing was rendered now. --again renders it anew.")


def test_files_that_had_to_be_fetched_are_told_apart(targets: Targets) -> None:
    targets.frames[1].write_text("frame")
    _, said = given(targets, [targets.frames[2]])
    assert said.startswith("1 of 2 frames were there already, the others were fetched")


def test_a_farm_that_has_lost_a_frame_renders_anew(targets: Targets) -> None:
    said: list[str] = []

    def follow() -> Outcome:
        raise ObjectLost("The object store has no 1.png (404).", "0" * 64)

    assert give_back(JOB, targets, follow, said.append) is None
    assert "no 1.png" in said[0]


def test_only_jobs_that_ended_well_are_given_back() -> None:
    failed, first, second = (replace(JOB, job=name) for name in ("j3", "j2", "j1"))
    jobs = [replace(failed, state=JobState.FAILED), first, second]
    assert newest_finished(jobs, paid=False) == first
    assert newest_finished(jobs, paid=True) is None
    assert newest_finished([jobs[0]], paid=False) is None


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("render-farm 0.")

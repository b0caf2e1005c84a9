# SPDX-License-Identifier: GPL-3.0-or-later
"""The same command after the last frame was there, and commands that share a farm."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND_SECONDS, SAMPLES, LiveFarm

pytestmark = [pytest.mark.farm, pytest.mark.timeout(600)]

OPTIONS = ("--samples", 4, "--resolution-percentage", 10, "--slots", 1)


def words(frames: str, output: Path) -> tuple[object, ...]:
    return ("render", SAMPLES / "orbit.blend", "--frames", frames, "--output", output / "####", *OPTIONS)


@contextmanager
def interrupted(process: "subprocess.Popen[str]", after: str) -> Iterator[list[str]]:
    """Ctrl-C once the command has said `after`; afterwards its exit is awaited."""
    said: list[str] = []
    assert process.stderr
    for line in process.stderr:
        said.append(line)
        if line.startswith(after):
            break
    os.killpg(process.pid, signal.SIGINT)
    try:
        yield said
        said += process.stderr.read().splitlines()
        assert process.wait(120) == 130, said
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_after_the_last_frame_and_the_same_command_again(tmp_path: Path) -> None:
    farm = LiveFarm(tmp_path / "state")
    with interrupted(farm.command(*words("1", tmp_path), start_new_session=True), "Frame 1"):
        pass
    frame = tmp_path / "0001.png"
    written = frame.stat().st_mtime_ns
    log = tmp_path / "state" / "logs" / "node.log"
    rendered = log.read_text().count("task_rendered")
    again = farm.command(*words("1", tmp_path), "--json")
    out, said = again.communicate(timeout=COMMAND_SECONDS)
    assert again.returncode == 0, said
    assert [one["frame"] for one in json.loads(out)["frames"]] == [1]
    assert "there already" in said or "was not finished" in said
    assert frame.stat().st_mtime_ns == written
    assert log.read_text().count("task_rendered") == rendered

    frame.unlink()
    fetched = farm.json(*words("1", tmp_path))
    assert frame.exists()
    assert fetched["job"] == json.loads(out)["job"]
    assert farm.json(*words("1", tmp_path), "--again")["job"] != fetched["job"]


def test_a_command_that_joined_is_told_what_becomes_of_its_job(tmp_path: Path) -> None:
    """It goes on with the farm of the first command, and when that has ended, with one of its own."""
    farm = LiveFarm(tmp_path / "state")
    first = farm.command(*words("1-2000", tmp_path / "first"), start_new_session=True)
    assert first.stderr
    assert any(line.startswith("Frame ") for line in first.stderr)

    leaving = farm.command(*words("40", tmp_path / "leaving"), start_new_session=True)
    with interrupted(leaving, "Job ") as said:
        pass
    assert "goes on for as long as the command runs whose farm this is" in said[-1]

    staying = farm.command(*words("50-51", tmp_path / "staying"), "--json")
    assert staying.stderr
    assert any(line.startswith("Job ") for line in staying.stderr)
    with interrupted(first, "Frame ") as ended:
        pass
    assert "keeps its finished frames" in ended[-1]
    out, errors = staying.communicate(timeout=COMMAND_SECONDS)
    assert staying.returncode == 0, errors
    assert [one["frame"] for one in json.loads(out)["frames"]] == [50, 51]

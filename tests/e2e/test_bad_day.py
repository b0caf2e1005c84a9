# SPDX-License-Identifier: GPL-3.0-or-later
"""Things die while an animation renders, and its frames still equal Blender's."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import COMMAND_SECONDS, SAMPLES, LiveFarm, running
from tests.support.reference import Plain, assert_same_picture, render_plainly

pytestmark = [pytest.mark.farm, pytest.mark.timeout(900)]

FRAMES = tuple(range(1, 25))
SETTINGS = {"samples": 4, "resolution_percentage": 15}
OPTIONS = ("--samples", 4, "--resolution-percentage", 15, "--slots", 2)


def kill_a_rendering_child(farm: LiveFarm) -> int:
    """kill -9 for one of the Blenders of the farm's node."""
    node = psutil.Process(farm.parts()["node"])
    children = [
        process
        for process in node.children(recursive=True)
        if any(word.endswith("child_program.py") for word in process.cmdline())
        and not process.cmdline()[0].endswith("bwrap")
    ]
    busiest = max(children, key=lambda process: sum(process.cpu_times()[:2]))
    busiest.kill()
    return busiest.pid


def test_a_child_a_node_and_a_coordinator_die_in_one_run(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--slots", 2) as farm:
        before = farm.parts()
        scene, output = SAMPLES / "orbit.blend", tmp_path / "farm" / "####"
        render = farm.command("render", scene, "--frames", "1-24", "--output", output, *OPTIONS, "--json")
        acts = {
            2: lambda: kill_a_rendering_child(farm),
            7: lambda: os.kill(farm.parts()["node"], signal.SIGKILL),
            14: lambda: os.kill(farm.parts()["coordinator"], signal.SIGKILL),
        }
        done = 0
        assert render.stderr
        for line in render.stderr:
            done += line.startswith("Frame ")
            acts.pop(done, lambda: None)()
        out, _ = render.communicate(timeout=COMMAND_SECONDS)
        assert render.returncode == 0, farm.logs()
        assert not acts
        after = farm.parts()
        assert before["node"] != after["node"]
        assert before["coordinator"] != after["coordinator"]
        assert before["valkey"] == after["valkey"]
    answer = json.loads(out)
    assert [frame["frame"] for frame in answer["frames"]] == list(FRAMES)
    render_plainly(Plain(scene, tmp_path / "plain", FRAMES, **SETTINGS))
    for frame in FRAMES:
        name = f"{frame:04d}.png"
        assert_same_picture(tmp_path / "farm" / name, tmp_path / "plain" / name)


def test_ctrl_c_and_the_same_command_again(tmp_path: Path) -> None:
    """The command's own farm stops with it; the second run renders only what was missing."""
    farm = LiveFarm(tmp_path / "state")
    scene, output = SAMPLES / "orbit.blend", tmp_path / "farm" / "####"
    words = ("render", scene, "--frames", "1-8", "--output", output, *OPTIONS, "--json")
    render = farm.command(*words, start_new_session=True)
    assert render.stderr
    for line in render.stderr:
        if line.startswith("Frame "):
            os.killpg(render.pid, signal.SIGINT)
            break
    out, errors = render.communicate(timeout=120)
    assert render.returncode == 130, errors
    assert json.loads(out)["error"]
    assert not (tmp_path / "state" / "farm.json").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "farm").glob("*.png")}
    assert kept
    answer = farm.json(*words[:-1])
    assert [frame["frame"] for frame in answer["frames"]] == list(range(1, 9))
    for name, written in kept.items():
        assert (tmp_path / "farm" / name).stat().st_mtime_ns == written
    log = (tmp_path / "state" / "logs" / "node.log").read_text()
    finished = [line for line in log.splitlines() if "task_submitted" in line and ".finish" in line]
    assert len(finished) == 8
    render_plainly(Plain(scene, tmp_path / "plain", tuple(range(1, 9)), **SETTINGS))
    for name in kept:
        assert_same_picture(tmp_path / "farm" / name, tmp_path / "plain" / name)

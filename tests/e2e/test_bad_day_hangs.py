# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a farm hang or die one after the other while an animation renders: its frames equal Blender's."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import COMMAND_SECONDS, SAMPLES, LiveFarm, running
from tests.support.reference import Plain, assert_same_picture, render_plainly

pytestmark = [pytest.mark.farm, pytest.mark.timeout(900)]

SETTINGS = {"samples": 4, "resolution_percentage": 15}
OPTIONS = ("--samples", 4, "--resolution-percentage", 15, "--slots", 2)


def of_the_nodes_ray(farm: LiveFarm, name: str) -> psutil.Process:
    """A process of the node's Ray; of several slots one that renders."""
    below = psutil.Process(farm.parts()["node"]).children(recursive=True)
    found = [one for one in below if one.name().startswith(name)]
    return max(found, key=lambda one: sum(child.cpu_times().user for child in one.children(recursive=True)))


def stop(farm: LiveFarm, part: str) -> Callable[[], None]:
    return lambda: os.kill(farm.parts()[part], signal.SIGSTOP)


def send(farm: LiveFarm, name: str, number: signal.Signals) -> Callable[[], None]:
    return lambda: of_the_nodes_ray(farm, name).send_signal(number)


def render_through(farm: LiveFarm, tmp_path: Path, frames: int, acts: dict[int, Callable[[], None]]) -> None:
    """Render while what is in `acts` happens, each once so many frames are there; compare."""
    scene, output = SAMPLES / "orbit.blend", tmp_path / "farm" / "####"
    render = farm.command("render", scene, "--frames", f"1-{frames}", "--output", output, *OPTIONS, "--json")
    done, said = 0, []
    assert render.stderr
    for line in render.stderr:
        said.append(line)
        done += line.startswith("Frame ")
        acts.pop(done, lambda: None)()
    out, _ = render.communicate(timeout=COMMAND_SECONDS)
    assert render.returncode == 0, f"{out}\n{''.join(said[-30:])}\n{farm.logs()}"
    assert not acts
    assert [frame["frame"] for frame in json.loads(out)["frames"]] == list(range(1, frames + 1))
    render_plainly(Plain(scene, tmp_path / "plain", tuple(range(1, frames + 1)), **SETTINGS))
    for frame in range(1, frames + 1):
        name = f"{frame:04d}.png"
        assert_same_picture(tmp_path / "farm" / name, tmp_path / "plain" / name)


def test_every_part_hangs_once_in_one_run(tmp_path: Path) -> None:
    # Another address than 127.0.0.1, so that a relay stands before the object store.
    with running(tmp_path / "state", "--slots", 2, "--bind", "127.0.0.2", "--hang-seconds", 4) as farm:
        before = farm.parts()
        parts = ("coordinator", "seaweed", "node", "relay", "valkey")
        acts = {2 + 3 * number: stop(farm, part) for number, part in enumerate(parts)}
        render_through(farm, tmp_path, 16, acts)
        after = farm.parts()
        assert {part for part in parts if before[part] != after[part]} == set(parts)


def test_every_part_of_the_nodes_ray_dies_or_hangs_once_in_one_run(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--slots", 2, "--hang-seconds", 4) as farm:
        node = farm.parts()["node"]
        acts = {
            2: send(farm, "raylet", signal.SIGKILL),
            5: send(farm, "gcs_server", signal.SIGKILL),
            8: send(farm, "ray::Slot", signal.SIGKILL),
            11: send(farm, "ray::Slot", signal.SIGSTOP),
        }
        render_through(farm, tmp_path, 14, acts)
        assert farm.parts()["node"] == node, "the node itself need not be started again"
        log = (farm.state / "logs" / "node.log").read_text()
        assert log.count('"ray_lost"') == 2
        assert '"slot_replaced"' in log

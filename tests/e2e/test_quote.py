# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm quote` against a whole farm."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import SAMPLES, LiveFarm

pytestmark = [pytest.mark.farm, pytest.mark.timeout(900)]
ORBIT = SAMPLES / "orbit.blend"
SMALL = ("--samples", 8, "--resolution-percentage", 25)


def test_a_quote_of_a_scene_and_then_its_frame(farm: LiveFarm, tmp_path: Path) -> None:
    quote = farm.json("quote", ORBIT, "--trust-file", "--frames", "1-4", *SMALL, "--price", "2")
    units, cost = quote["units"], quote["cost"]
    assert quote["state"] == "ready"
    assert quote["frames"] == [1, 2, 3, 4]
    assert 0 < units["p10"] < units["p50"] < units["p90"]
    assert cost["p50"] == units["p50"] * 2 * 10**18 // 10**6
    assert quote["slots"] == 2
    assert 0 < quote["finish_seconds"]["p50"] < quote["slot_seconds"]["p50"] + 10
    assert quote["probe_units"] < units["p50"] / 4 * 1.5
    jobs = [job["job"] for job in farm.json("job", "list")["jobs"]]
    assert quote["quote"] not in jobs
    # The slot that probed renders the same as ever.
    farm.render(ORBIT, tmp_path, "--frames", "1", *SMALL)


def test_the_words_are_for_people(farm: LiveFarm) -> None:
    process = farm.command("quote", ORBIT, "--trust-file", "--frames", "1", *SMALL)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert [line.split(":")[0] for line in out.splitlines()[:4]] == ["Work", "Price", "One slot", "Done in"]


def test_a_price_that_is_none_is_said(farm: LiveFarm) -> None:
    process = farm.command("quote", ORBIT, "--trust-file", "--frames", "1", *SMALL, "--price", "cheap")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "'cheap' is no amount" in errors


def tasks(farm: LiveFarm) -> list[str]:
    """What the farm's slots are at now."""
    slots = [slot for node in farm.json("node", "list")["nodes"] for slot in node["slots"]]
    return [slot["task"] for slot in slots if slot["task"]]


def _waits(process: "subprocess.Popen[str]") -> bool:
    assert process.stderr
    return any("very small" in line for line in process.stderr)


def test_ctrl_c_ends_the_probes(farm: LiveFarm) -> None:
    """A quote that would probe for long: its slot is free again soon after."""
    process = farm.command("quote", ORBIT, "--trust-file", "--frames", "1", "--samples", 100_000)
    assert _waits(process)
    ends = time.monotonic() + 120
    while not any(task.endswith(".probe") for task in tasks(farm)):
        assert time.monotonic() < ends
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    ends = time.monotonic() + 60
    while tasks(farm):
        assert time.monotonic() < ends

# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo DEVICE=emulated-gpu` shows, alone and with CHEAT=..., with a few tiles."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.farm, pytest.mark.timeout(600)]


def demo(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=580)


def test_honest_nodes_are_audited_and_never_rejected() -> None:
    done = demo("tests.emulated.demo", "--audited", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(r"(\d+) tiles were audited in (\d+) crops: 0 rejected\. 0 pixels differed", done.stdout)
    assert told, done.stdout
    assert 8 <= int(told[1]) <= int(told[2])
    (audits, frames) = map(float, re.findall(r"([0-9.]+) % of (?:that|what)", done.stdout))
    assert 0 < audits < 20
    assert 0 < frames < 20


def test_a_cheat_on_such_a_device_is_rejected_and_slashed() -> None:
    done = demo("tests.cheats.demo", "half-samples", "--frames", "4", "--device", "emulated-gpu")
    assert done.returncode == 0, done.stdout + done.stderr
    told, rejected, accepted = map(
        int, re.search(r"lied (\d+) times: (\d+) rejected, (\d+) accepted", done.stdout).groups()
    )
    assert told == rejected > 0
    assert accepted == 0
    assert re.search(r"It lost [0-9.]+ RND of its stake: transaction 0x[0-9a-f]{64}\.", done.stdout)
    assert done.stdout.endswith("4 frames equal Blender's up to the order of sums.\n")

# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo CHEAT=...` shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cheats.cheats import CHEATS

REPOSITORY = Path(__file__).resolve().parents[2]


def demo(cheat: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.cheats.demo", cheat, "--frames", "6"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=280)


def test_a_name_that_is_none_lists_them_all() -> None:
    done = demo("honesty")
    assert done.returncode == 2
    assert "no cheat 'honesty'" in done.stderr
    shown = re.findall(r"CHEAT=(\S+)", done.stderr)
    assert set(shown) == {name for name, one in CHEATS.items() if not (one.broken or one.audits)}


@pytest.mark.farm
def test_the_cheat_is_rejected_and_slashed_its_work_redone_and_the_frames_are_blenders() -> None:
    done = demo("half-samples")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"from node liar was rejected: .* It is rendered again\.", done.stdout), done.stdout
    told, rejected, accepted = map(
        int, re.search(r"lied (\d+) times: (\d+) rejected, (\d+) accepted", done.stdout).groups()
    )
    assert told == rejected > 0
    assert accepted == 0
    earned = re.search(r"The liar was paid ([0-9.]+) RND for honest tiles", done.stdout).group(1)
    lost = re.search(r"It lost ([0-9.]+) RND of its stake: transaction 0x[0-9a-f]{64}\.", done.stdout).group(
        1
    )
    back = re.search(r"The artist got ([0-9.]+) RND of that", done.stdout).group(1)
    assert 0 < float(back) <= float(earned) < float(lost)
    assert done.stdout.endswith("6 frames equal Blender's.\n")

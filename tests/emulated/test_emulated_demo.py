# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo DEVICE=emulated-gpu` shows, alone and with CHEAT=..., with a few tiles."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from frame_splitter import exr

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.farm, pytest.mark.timeout(600)]


def demo(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *words]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment, timeout=580
        )
    except subprocess.TimeoutExpired as late:
        said = b"".join(part or b"" for part in (late.stdout, late.stderr)).decode()
        pytest.fail(f"It goes on and on, and said so far: {said}")


def test_honest_nodes_are_audited_and_never_rejected(tmp_path: Path) -> None:
    done = demo("tests.emulated.demo", "--audited", "8", "--output", str(tmp_path / "frames"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("No GPU takes part: the CPU adds ")
    told = re.search(r"(\d+) tiles were audited in (\d+) crops: 0 rejected\. 0 pixels differed", done.stdout)
    assert told, done.stdout
    assert 8 <= int(told[1]) <= int(told[2])
    (audits, frames) = map(float, re.findall(r"([0-9.]+) % of (?:that|what)", done.stdout))
    assert 0 < audits < 20
    assert 0 < frames < 20
    light = re.search(r"about ([0-9.]+)e-7 of a pixel's light\.", done.stdout)
    assert light, done.stdout
    assert 0.5 < float(light[1]) < 20
    left = sorted((tmp_path / "frames").iterdir())
    assert done.stdout.endswith(f"The frames are in {tmp_path}/frames/ - open {left[0]}\n")
    assert all(exr.read(path).width == 64 for path in left)


def test_a_cheat_on_such_a_device_is_rejected_and_slashed() -> None:
    done = demo("tests.cheats.demo", "half-samples", "--frames", "4", "--device", "emulated-gpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("No GPU takes part: the CPU adds ")
    told, rejected, accepted = map(
        int, re.search(r"lied (\d+) times: (\d+) rejected, (\d+) accepted", done.stdout).groups()
    )
    assert told == rejected > 0
    assert accepted == 0
    assert re.search(r"It lost [0-9.]+ RND of its stake: transaction 0x[0-9a-f]{64}\.", done.stdout)
    assert done.stdout.endswith("4 frames equal Blender's up to the order of sums.\n")


@pytest.mark.parametrize("words", [("tests.emulated.demo",), ("tests.cheats.demo", "half-samples")], ids=str)
def test_ctrl_c_is_a_sentence_and_leaves_nothing(words: tuple[str, ...]) -> None:
    # Sockets need short paths.
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = os.environ | {"TMPDIR": scratch, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", *words]
        running = subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=True, **pipes)
        told = next(line for line in running.stdout if line.startswith("Two nodes"))
        family = psutil.Process(running.pid).children(recursive=True)
        for _ in range(2):
            os.killpg(running.pid, signal.SIGINT)
        _, errors = running.communicate(timeout=120)
        assert running.returncode == 130, errors
        assert (told != "", errors) == (True, "Stopped.\n")
        assert len(family) > 3
        assert psutil.wait_procs(family, 30)[1] == []
        assert list(Path(scratch).glob("render-farm-demo-*")) == []

# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of verification, in small: its renders are real, and so are its figures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "benchmarks" / "verification.py"


def run(folder, *options):
    line = [sys.executable, str(PROGRAM), "--quick", "--folder", str(folder), *options]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


@pytest.mark.blender
def test_honest_tiles_are_equal_and_whole_cheats_are_caught(tmp_path):
    (found,) = json.loads(run(tmp_path, "--json"))
    assert found["crops"] == 6
    assert found["crops_different"] == found["suspects_different"] == 0
    assert found["whole"]["half samples"]["both"] == 1
    assert found["whole"]["black"]["both"] == 1
    assert found["cost"]["share"] > 0
    rendered = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.exr"))
    assert "| half samples | 1 | " in run(tmp_path)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.exr")) == rendered


@pytest.mark.blender
def test_honest_tiles_of_an_emulated_device_are_within_the_bound_and_cheats_are_not(tmp_path):
    (found,) = json.loads(run(tmp_path, "--json", "--device", "emulated-gpu"))
    assert found["crops"] == 48
    assert found["apart"] > 0.3
    assert 0 < found["bound"] < 1
    assert found["crops_different"] == found["suspects_different"] == 0
    whole = found["whole"]
    assert whole["half samples"]["both"] == whole["other seed"]["both"] == whole["black"]["both"] == 1
    assert all(row["both"] == row["in_bits"] for row in found["local"] if row["places"])


def test_golems_measures_know_equal_pictures_and_other_ones():
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.verification_golem import histograms, ssim
    finally:
        sys.path.remove(str(ROOT))
    rng = numpy.random.default_rng(1)
    one, other = rng.uniform(0, 255, (40, 60)), rng.uniform(0, 255, (40, 60))
    assert ssim(one, one).min() == pytest.approx(1)
    assert ssim(one, one).shape == (34, 54)
    assert abs(ssim(one, other).mean()) < 0.1
    assert numpy.allclose(ssim(one, other), ssim(other, one))
    assert histograms(one, one) == pytest.approx(1)
    assert histograms(one, one * 0) < 0.5

# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished files of the emulated GPU are plain Blender's but for rounding; a fault still shows under it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_worker.blender.process import BlenderChild, ChildCommand, ChildLimits
from gpu_worker.pictures.same_files import difference
from tests.emulated.stand import EMULATED
from tests.support.by_hand import Children, job_of
from tests.support.reference import Plain, make_variants, render_plainly

pytestmark = pytest.mark.blender

FRAME = 4
SCENES = ("plain", "denoised", "denoised_float", "adaptive", "png16", "exr_half", "filmic_curves", "bloom")
"""8 and 16 bit, half and float; denoised, adaptive, composited."""

OTHERWISE = (("plain", "denoised"), ("denoised", "plain"), ("plain", "filmic_curves"), ("plain", "bloom"))
"""As if denoising, the file's colours or its compositor were forgotten, or done to a frame without."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    make_variants(folder, *SCENES)
    return folder


@pytest.fixture(scope="module")
def plain(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    render_plainly(*(Plain(scenes / f"{name}.blend", folder / name, (FRAME,)) for name in SCENES))
    return folder


@pytest.fixture(scope="module")
def emulated() -> Iterator[Children]:
    variables = dict(os.environ)
    limits = ChildLimits(memory=4 << 30)
    gpu = BlenderChild(limits, ChildCommand(program=EMULATED, variables=variables))
    cpu = BlenderChild(limits, ChildCommand(variables=variables))
    gpu.start()
    cpu.start()
    yield Children(gpu, cpu)
    gpu.close()
    cpu.close()


@pytest.fixture(scope="module")
def finished(scenes: Path, emulated: Children, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The frame of each scene, in tiles of the emulated GPU, finished on the CPU."""
    folder = tmp_path_factory.mktemp("finished")
    jobs = {name: job_of(emulated, scenes / f"{name}.blend", (FRAME,)) for name in SCENES}
    return {name: job.render(FRAME, folder / name)[0] for name, job in jobs.items()}


def blenders(plain: Path, name: str) -> Path:
    (path,) = (plain / name).iterdir()
    return path


@pytest.mark.parametrize("name", SCENES)
def test_a_finished_frame_is_blenders_but_for_rounding(
    finished: dict[str, Path], plain: Path, name: str
) -> None:
    assert difference(finished[name], blenders(plain, name), True) == ""


def test_rounding_is_left_in_floats_so_that_bits_would_not_do(finished: dict[str, Path], plain: Path) -> None:
    one, other = finished["denoised_float"], blenders(plain, "denoised_float")
    assert difference(one, other).startswith("differs in ")


@pytest.mark.parametrize(("made", "wanted"), OTHERWISE)
def test_what_was_forgotten_in_finishing_shows(
    finished: dict[str, Path], plain: Path, made: str, wanted: str
) -> None:
    assert "differs" in difference(finished[made], blenders(plain, wanted), True)

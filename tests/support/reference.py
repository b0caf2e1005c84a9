# SPDX-License-Identifier: GPL-3.0-or-later
"""One plain Blender process as the reference, and the comparison of its files with the farm's."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import OpenImageIO as oiio  # noqa: N813

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plain:
    """One scene rendered by a Blender that knows nothing of the farm, into FOLDER/####.ext, or each
    frame `apart` into FOLDER/FRAME/####.ext."""

    blend: Path
    folder: Path
    frames: tuple[int, ...] = (1,)
    samples: int | None = None
    seed: int | None = None
    resolution_percentage: int | None = None
    format: str | None = None
    apart: bool = False


def run(program: str, *arguments: str) -> None:
    """One of the programs in this folder, by its module, with its output shown only where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.{program}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, f"{program} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def render_plainly(*jobs: Plain) -> None:
    """Render the jobs, one after the other, in one Blender process."""
    run("support.plain_blender", *(json.dumps(_as_json(job)) for job in jobs))


def _as_json(job: Plain) -> dict[str, Any]:
    return {**job.__dict__, "blend": str(job.blend), "folder": str(job.folder)}


def make_variants(folder: Path, *names: str) -> None:
    """The .blend files of tests/variants/ (all of them where no name is given)."""
    run("variants", str(folder), *names)


def pixels(path: Path) -> dict[str, numpy.ndarray[Any, Any]]:
    """Every channel of every part of a picture, as stored: no scaling, no colour management."""
    found: dict[str, numpy.ndarray[Any, Any]] = {}
    source = oiio.ImageInput.open(str(path))
    assert source, f"{path}: {oiio.geterror()}"
    index = 0
    while source.seek_subimage(index, 0):
        spec = source.spec()
        image = source.read_image(index, 0, 0, spec.nchannels, spec.format)
        assert image is not None, f"{path}: {source.geterror()}"
        image = image.reshape(spec.height, spec.width, spec.nchannels)
        found |= {name: image[:, :, number] for number, name in enumerate(spec.channelnames)}
        index += 1
    source.close()
    return found


def assert_same_picture(ours: Path, plain: Path) -> None:
    """Both files hold the same channels with the same numbers in every pixel."""
    mine, theirs = pixels(ours), pixels(plain)
    assert list(mine) == list(theirs)
    for name, expected in theirs.items():
        assert mine[name].shape == expected.shape, f"{name}: {mine[name].shape}, Blender {expected.shape}"
        assert mine[name].dtype == expected.dtype
        different = int((mine[name].view(_bits(expected)) != expected.view(_bits(expected))).sum())
        assert not different, f"{ours.name}, {name}: {different} of {expected.size} pixels differ"


def _bits(array: numpy.ndarray[Any, Any]) -> Any:
    """Unsigned integers of the same width: floats are compared bit by bit, NaN and -0 included."""
    return numpy.dtype(f"u{array.dtype.itemsize}")

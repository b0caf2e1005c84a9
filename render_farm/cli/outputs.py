# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the frames of a job go on the artist's disk, and where nothing may go."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from frame_splitter.errors import InvalidInput
from frame_splitter.outputs import frame_path, refuse_overwrite, safe_relative

RECEIPT_ENDING = ".receipt.json"


@dataclass(frozen=True, slots=True)
class Targets:
    """The path of each frame, and the files no output may touch."""

    frames: dict[int, Path]
    inputs: frozenset[str]

    def other(self, frame: int, name: str) -> Path:
        """Where a File Output node's file goes: beside its frame, under its own relative name.

        Raises InvalidInput for a name that climbs out, or meets a frame or a file of the scene.
        """
        folder = self.frames[frame].parent
        path = folder / safe_relative(name)
        real = os.path.realpath(path)
        if not Path(real).is_relative_to(os.path.realpath(folder)):
            raise InvalidInput(f"The scene's File Output '{name}' leads out of {folder} through a link.")
        if real in self.inputs or any(real == os.path.realpath(one) for one in self.frames.values()):
            raise InvalidInput(
                f"The scene's File Output '{name}' would overwrite {path}: it was not fetched."
            )
        if path.name.lower().endswith(RECEIPT_ENDING):
            raise InvalidInput(
                f"The scene's File Output '{name}' is named as receipts are: it was not fetched."
            )
        return path

    def receipt(self, frame: int) -> Path:
        """Where a frame's receipt goes: beside the frame. Raises InvalidInput for a file of the scene."""
        path = self.frames[frame].with_name(self.frames[frame].name + RECEIPT_ENDING)
        if os.path.realpath(path) in self.inputs:
            raise InvalidInput(f"The receipt of frame {frame} would overwrite {path}, which the scene reads.")
        return path


def targets(
    pattern: str, default_stem: str, frames: Sequence[int], extension: str, inputs: Iterable[str]
) -> Targets:
    """The paths of all frames. Raises InvalidInput where two meet or one is a file of the scene."""
    pattern = os.path.expanduser(pattern) if pattern else f"{default_stem}-frames/####"
    paths = {frame: os.path.abspath(frame_path(pattern, frame, extension)) for frame in frames}
    known = frozenset(os.path.realpath(path) for path in inputs)
    refuse_overwrite(paths, known)
    for frame, path in paths.items():
        if Path(path).is_dir():
            raise InvalidInput(f"Frame {frame} would be written to {path}, which is a folder.")
    return Targets({frame: Path(path) for frame, path in paths.items()}, known)

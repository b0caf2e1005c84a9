# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the frames of a job go on the artist's disk, and where nothing may go."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile

from farm_protocol.errors import InvalidInput
from frame_splitter.formats import KNOWN_ENDINGS
from frame_splitter.outputs import OUTPUT_FOLDERS, frame_path, refuse_overwrite, safe_relative, view_of
from frame_splitter.templates import escape, fill_in
from render_farm.cli.written import Written, has_receipt

RECEIPT_ENDING = ".receipt.json"
MOST_FILES, MOST_BYTES = 500, 32 << 30
"""Of one frame: its views and what File Output nodes wrote, all together."""

Fill = Callable[[str, int], str]
"""A pattern with its templates filled in for a frame."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The path of each frame (of its first view, where views are files of their own, before its suffix),
    the patterns they are made of, the files no output may touch, and those that may be replaced.
    """

    frames: dict[int, Path]
    inputs: frozenset[str]
    patterns: dict[int, str]
    extension: str
    written: Written = field(default_factory=Written)

    def main(self, frame: int, name: str) -> Path:
        """Where the frame itself goes that a node named so: with the suffix of its view.

        Raises InvalidInput for a name of another kind.
        """
        view = view_of(str(safe_relative(name)), frame, self.extension)
        if view is None:
            return self.frames[frame]
        suffix, extension = view
        if not self._is_pictures(f"{suffix}{extension}"):
            raise InvalidInput(f"The farm's file '{name}' is not called as pictures are: it was not fetched.")
        return Path(os.path.abspath(frame_path(self.patterns[frame], frame, extension, suffix)))

    def other(self, frame: int, name: str) -> Path:
        """Where a file beside the frame's first goes: another view, named as the first is, or what a File
        Output node wrote, beside its frame, under its own relative name.

        Raises InvalidInput for a name that climbs out, is hidden or no picture's, or meets a frame, a file of
        the scene, or one that this program did not write.
        """
        view = view_of(str(safe_relative(name)), frame, self.extension)
        path = self.main(frame, name) if view else self._below(frame, name)
        real = os.path.realpath(path)
        if real in self.inputs or any(real == os.path.realpath(one) for one in self.frames.values()):
            raise InvalidInput(f"The scene's file '{name}' would overwrite {path}: it was not fetched.")
        if path.name.lower().endswith(RECEIPT_ENDING):
            raise InvalidInput(f"The scene's file '{name}' is named as receipts are: it was not fetched.")
        return path

    def _is_pictures(self, name: str) -> bool:
        """Whether a name ends as pictures' do: with no ending only where the scene's frames have none, and
        then with a frame's number, as Blender writes them.
        """
        ending = PurePosixPath(f"x{name}").suffix.lower()
        if self.extension or ending:
            return ending in KNOWN_ENDINGS
        return "." not in name

    def _below(self, frame: int, name: str) -> Path:
        folder = self.frames[frame].parent
        relative = safe_relative(name)
        if len(relative.parts) < 2 or relative.parts[0] not in OUTPUT_FOLDERS:
            raise InvalidInput(
                f"The scene's file '{name}' is none a File Output node writes: it was not fetched."
            )
        if any(part.startswith(".") for part in relative.parts):
            raise InvalidInput(f"The scene's file '{name}' would be hidden: it was not fetched.")
        numbered = self.extension or relative.suffix or relative.name[-4:].isdecimal()
        if not self._is_pictures(relative.name) or not numbered:
            raise InvalidInput(
                f"The scene's file '{name}' is not called as pictures are: it was not fetched."
            )
        path = folder / relative
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise InvalidInput(f"The scene's File Output '{name}' leads out of {folder} through a link.")
        return path

    def claim(self, path: Path) -> None:
        """See that a file may be written: nothing is there, or what this program wrote as it left it; of a
        frame also what lies beside its receipt. Raises InvalidInput.
        """
        if self.written.is_own(path):
            return
        if path not in self.frames.values() or not has_receipt(path, self._receipt(path)):
            raise InvalidInput(
                f"{path} is there already, and this program did not write it, or it was changed since: move "
                f"it away, or choose another --output."
            )

    def prepare(self) -> None:
        """Make the folders of all frames, and see that files can be written there, over none but our own.
        Raises InvalidInput.
        """
        for path in self.frames.values():
            self.claim(path)
        for folder in dict.fromkeys(path.parent for path in self.frames.values()):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise InvalidInput(f"Frames cannot be written to {folder}: {error.strerror}.") from error

    def receipt(self, frame: int) -> Path:
        """Where a frame's receipt goes: beside the frame. Raises InvalidInput for a file of the scene."""
        path = self._receipt(self.frames[frame])
        if os.path.realpath(path) in self.inputs:
            raise InvalidInput(f"The receipt of frame {frame} would overwrite {path}, which the scene reads.")
        return path

    @staticmethod
    def _receipt(path: Path) -> Path:
        return path.with_name(path.name + RECEIPT_ENDING)


def _without_scene(pattern: str, frame: int) -> str:
    return fill_in(pattern, {})


def targets(
    pattern: str,
    default_stem: str,
    frames: Sequence[int],
    extension: str,
    inputs: Iterable[str],
    fill: Fill = _without_scene,
    written: Written | None = None,
) -> Targets:
    """The paths of all frames. Raises InvalidInput where two meet or one is a file of the scene, and for an
    extension that is no picture's: a farm may have named it.
    """
    if extension and extension not in KNOWN_ENDINGS:
        raise InvalidInput(f"Frames that end in '{extension[:40]}' are no pictures: none is fetched.")
    pattern = os.path.expanduser(pattern) if pattern else f"{escape(default_stem)}-frames/####"
    patterns = {frame: fill(pattern, frame) for frame in frames}
    paths = {frame: os.path.abspath(frame_path(patterns[frame], frame, extension)) for frame in frames}
    known = frozenset(os.path.realpath(path) for path in inputs)
    refuse_overwrite(paths, known)
    for frame, path in paths.items():
        if Path(path).is_dir():
            raise InvalidInput(f"Frame {frame} would be written to {path}, which is a folder.")
    there = {frame: Path(path) for frame, path in paths.items()}
    return Targets(there, known, patterns, extension, written or Written())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame ranges as people write them: `1-10`, `1-100x5`, `5,3,1`, `-5--1`, and mixes with commas."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from farm_protocol.errors import InvalidInput

FIRST_FRAME = -1_048_574
LAST_FRAME = 1_048_574
MAX_FRAMES = 100_000
MAX_TEXT = 1 << 20

_PIECE = re.compile(
    r"(?P<start>[+-]?[0-9]{1,20})(?:\s*-\s*(?P<end>[+-]?[0-9]{1,20})(?:\s*[xX]\s*(?P<step>[0-9]{1,20}))?)?",
    re.ASCII,
)
_EXAMPLE = "Write frames as 1-10, 1-100x5 (every fifth), 5,3,1 or -5--1."
_MISTAKES = (
    (re.compile(r"[:/]"), "for every fourth frame write 1-10x4"),
    (re.compile(r"\.\."), "for a range write 1-10"),
    (re.compile(r"\."), "frames are whole numbers"),
    (re.compile(r"[;\s]"), "separate frames with commas, as in 1,3,5-10"),
    (re.compile(r"[xX]\s*-"), "the step counts frames and has no sign: to go down write 10-1x2"),
)


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frame numbers in the order they were asked for, each once.

    Raises InvalidInput when a number lies outside Blender's limits or there are more than
    `MAX_FRAMES`.
    """

    frames: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise InvalidInput(f"There are no frames to render. {_EXAMPLE}")
        if len(self.frames) > MAX_FRAMES:
            raise _too_many()
        for frame in self.frames:
            _check_bounds(frame)
        if len(set(self.frames)) != len(self.frames):
            object.__setattr__(self, "frames", tuple(dict.fromkeys(self.frames)))

    @classmethod
    def parse(cls, text: str) -> "FrameRange":
        """Read a range. The number of frames is bounded before anything is expanded."""
        if len(text) > MAX_TEXT:
            raise InvalidInput("The frame range is longer than a million characters.")
        if not text.strip():
            raise InvalidInput(f"The frame range is empty. {_EXAMPLE}")
        ranges = [_parse_piece(piece.strip(), text) for piece in text.split(",")]
        if sum(len(numbers) for numbers in ranges) > MAX_FRAMES:
            raise _too_many()
        return cls(tuple(dict.fromkeys(frame for numbers in ranges for frame in numbers)))

    @classmethod
    def spanning(cls, start: int, end: int, step: int = 1) -> "FrameRange":
        """Frames from `start` up to and including `end`, as a scene's own range is meant."""
        if step < 1:
            raise InvalidInput(f"The frame step is {step}, but must be 1 or more.")
        numbers = range(start, end + 1, step)
        if len(numbers) > MAX_FRAMES:
            raise _too_many()
        if not numbers:
            raise InvalidInput(f"The frame range {start} to {end} is empty: its end lies before its start.")
        return cls(tuple(numbers))

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[int]:
        return iter(self.frames)

    def __str__(self) -> str:
        """The shortest of the usual spellings; `FrameRange.parse` reads it back to an equal value."""
        return ",".join(_spell(run) for run in _runs(self.frames))


def _parse_piece(piece: str, text: str) -> range:
    match = _PIECE.fullmatch(piece)
    if match is None:
        raise InvalidInput(f"'{_shown(text)}' is not a frame range: {_hint(piece)}. {_EXAMPLE}")
    start = _check_bounds(int(match["start"]))
    end = _check_bounds(int(match["end"])) if match["end"] else start
    step = int(match["step"]) if match["step"] else 1
    if step == 0:
        raise InvalidInput(f"'{_shown(piece)}' has a step of 0: for every frame write {start}-{end}.")
    return range(start, end + 1, step) if start <= end else range(start, end - 1, -step)


def _hint(piece: str) -> str:
    if not piece:
        return "there is nothing between two commas, or after the last one"
    for mistake, hint in _MISTAKES:
        if mistake.search(piece):
            return hint
    return f"'{_shown(piece)}' is neither a frame nor a range"


def _shown(text: str) -> str:
    """As much of a stranger's text as fits in a sentence, on one line."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text[:60])
    return clean + ("..." if len(text) > 60 else "")


def _check_bounds(frame: int) -> int:
    if not FIRST_FRAME <= frame <= LAST_FRAME:
        raise InvalidInput(
            f"Frame {frame} does not exist: Blender counts from {FIRST_FRAME} to {LAST_FRAME}."
        )
    return frame


def _too_many() -> InvalidInput:
    return InvalidInput(f"A job holds at most {MAX_FRAMES} frames: split the range over several jobs.")


def _runs(frames: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    """Cut into the longest runs of one step; two frames make a run only where they are neighbours."""
    at = 0
    while at < len(frames):
        end = _run_end(frames, at)
        if end - at < 3 and not (end - at == 2 and abs(frames[at + 1] - frames[at]) == 1):
            end = at + 1
        yield frames[at:end]
        at = end


def _run_end(frames: tuple[int, ...], at: int) -> int:
    if at + 1 >= len(frames):
        return at + 1
    step = frames[at + 1] - frames[at]
    end = at + 2
    while end < len(frames) and frames[end] - frames[end - 1] == step:
        end += 1
    return end


def _spell(run: tuple[int, ...]) -> str:
    if len(run) == 1:
        return str(run[0])
    step = abs(run[1] - run[0])
    return f"{run[0]}-{run[-1]}" + (f"x{step}" if step > 1 else "")

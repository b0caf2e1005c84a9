# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that decodes pictures: strangers' EXRs are opened here and nowhere else on a node.

It reads one JSON request a line on stdin and writes one JSON answer a line on stdout, under a memory
limit set before anything is decoded. `gpu_worker.pictures.decoding` starts and questions it.
"""

import contextlib
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from farm_protocol.audits import CheckOrder, CheckReport
from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile, decoder
from frame_splitter import counts, exr, stitch
from gpu_worker.pictures.requests import (
    Answer,
    Check,
    Compare,
    Finished,
    Look,
    Picture,
    Request,
    Stitch,
    Take,
)
from verification.compare.passes import with_first_samples
from verification.protocol.pixel_root import image_root, joint_root


def answer(request: Request, limits: exr.Limits) -> Answer:
    """Do what is asked; a picture that cannot be used is an answer, not an exception."""
    try:
        if isinstance(request, Check):
            exr.check(Path(request.path), request.width, request.height, limits)
        elif isinstance(request, Take):
            roots = [image_root(_take(picture, limits)) for picture in request.pictures]
            return Answer(True, root=joint_root(roots))
        elif isinstance(request, Look):
            return Answer(True, report=_look(request, limits))
        elif isinstance(request, Compare):
            return _compare(request)
        elif isinstance(request, Finished):
            _check_finished(request)
        else:
            return _stitch(request, limits)
    except InvalidInput as error:
        return Answer(False, error.sentence)
    return Answer(True)


def _check_finished(request: Finished) -> None:
    # Late: not every node finishes frames.
    from gpu_worker.pictures import finished_files  # noqa: PLC0415

    for file in request.files:
        finished_files.check(file)


def _take(picture: Picture, limits: exr.Limits) -> exr.Image:
    """The picture as it is delivered."""
    image = exr.check(Path(picture.path), picture.width, picture.height, limits)
    if picture.first:
        first = exr.check(Path(picture.first), picture.width, picture.height, limits)
        image = with_first_samples(image, first)
    if picture.target:
        image = exr.crop(counts.plain_counts(image, picture.samples), picture.tile)
        exr.write(Path(picture.target), image)
    return image


def _look(request: Look, limits: exr.Limits) -> CheckReport:
    # Late: only a few nodes are ever asked.
    from verification.compare.comparison import AuditedFiles, look  # noqa: PLC0415

    audits = [
        AuditedFiles(
            audit.task,
            audit.order,
            tuple(map(Path, audit.crops)),
            Path(audit.sparse) if audit.sparse else None,
            audit.own,
            audit.same_class,
        )
        for audit in request.audits
    ]
    return look(
        Path(request.path),
        request.tile,
        request.samples,
        CheckOrder(request.pixel_root, request.channels, sums=request.sums),
        audits,
        Path(request.evidence) if request.evidence else None,
        limits=limits,
    )


def _compare(request: Compare) -> Answer:
    # Late: one frame in a hundred is compared.
    from gpu_worker.pictures.same_files import difference  # noqa: PLC0415

    found = tuple(difference(Path(one), Path(other), request.any_order) for one, other in request.pairs)
    return Answer(True, different=found)


def _stitch(request: Stitch, limits: exr.Limits) -> Answer:
    """Tiles to one picture. Pieces that are no use by themselves are named; where they only do not
    fit together, all are.
    """
    pieces: list[tuple[Tile, exr.Image]] = []
    bad: list[int] = []
    reason = ""
    for number, (path, tile) in enumerate(request.pieces):
        try:
            pieces.append((tile, exr.check(Path(path), tile.width, tile.height, limits)))
        except InvalidInput as error:
            bad.append(number)
            reason = reason or error.sentence
    if bad:
        return Answer(False, reason, tuple(bad))
    try:
        merged = stitch.stitch(pieces, request.area, request.canvas)
    except InvalidInput as error:
        return Answer(False, error.sentence, tuple(range(len(pieces))))
    exr.write(Path(request.target), merged, compress=False)
    return Answer(True)


def _answer_safely(line: bytes, limits: exr.Limits) -> Answer:
    try:
        return answer(decoder(Request).decode(line), limits)  # type: ignore[arg-type]
    except MemoryError:
        return Answer(
            False, "The picture needs more memory than this node gives to pictures.", fault="memory"
        )
    except OSError as error:
        return Answer(False, f"A picture could not be read or written: {error}", fault="node")


def serve(read: Callable[[], bytes], write: Callable[[bytes], object], limits: exr.Limits) -> None:
    """Answer requests until there are no more."""
    while line := read():
        write(msgspec.json.encode(_answer_safely(line, limits)) + b"\n")


def main() -> None:
    """`python -m gpu_worker.pictures.program MEMORY_LIMIT`, in bytes."""
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        answers = open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115
        serve(sys.stdin.buffer.readline, answers.write, exr.Limits(decoded_bytes=memory // 3))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts are fetched with their frames, checked, and kept beside them."""

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from farm_protocol import files
from farm_protocol.errors import FarmError, InvalidInput, NotFound
from farm_protocol.hashing import hash_file
from render_farm.api_models import Job
from render_farm.cli.log_watch import LogWatch
from render_farm.cli.outputs import Targets
from render_farm.client.farm_client import FarmClient

if TYPE_CHECKING:
    from verification.receipts.records import Receipt

# `verification.receipts.receipt` is imported where it is used: what recovers signers takes long to load.

MOST_SAID = 5
"""Findings of one receipt that are said; a receipt that is wrong in one way is often wrong in many."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt on disk (None where there is none to keep), a sentence for each thing wrong with it, and
    why there can be none.
    """

    path: Path | None
    problems: tuple[str, ...] = ()
    note: str = ""


class Receipts:
    """The receipts of one job's frames. Safe to use from several threads."""

    def __init__(self, client: FarmClient, job: Job, targets: Targets, watch: LogWatch | None = None) -> None:
        self._client, self._job, self._targets, self._watch = client, job, targets, watch
        self._lock, self._told = threading.Lock(), False

    def prepare(self) -> None:
        """Load what checks signatures, beside the waiting for the first frame."""
        from farm_protocol.typed_data import address_of  # noqa: PLC0415
        from verification.receipts.receipt import verify  # noqa: F401, PLC0415

        # The library behind is loaded by its first use, whatever that is.
        address_of(b"\x01" * 32)

    def keep(self, frame: int, sha256: str) -> Kept:
        """Fetch, check and write the receipt of a frame whose file has this sha256."""
        try:
            document = self._client.receipt(self._job.job, frame)
            problems = self._problems(document, frame, sha256)
            path = self._targets.receipt(frame)
            write_receipt(path, document)
        except NotFound as error:
            return Kept(None, note=self._noted(f"No receipt: {error.sentence}"))
        except FarmError as error:
            return Kept(None, (f"Frame {frame} has no receipt: {error.sentence}",))
        return Kept(path, tuple(f"The receipt of frame {frame} is wrong: {one}" for one in problems))

    def _noted(self, note: str) -> str:
        """The note, the first time: what has no receipt mostly has none for all of its frames."""
        with self._lock:
            first, self._told = not self._told, True
        return note if first else ""

    def _problems(self, document: bytes, frame: int, sha256: str) -> list[str]:
        from verification.receipts.receipt import verify  # noqa: PLC0415

        receipt = read_receipt(document)
        wrong = [*self._strayed(receipt, frame, sha256), *verify(document, self._farm)]
        return shortened(wrong or [*self._other_log(receipt)])

    def _other_log(self, receipt: "Receipt") -> Iterator[str]:
        """A receipt that holds, but by another log of the farm than this user was told."""
        from verification.receipts.witness import SplitView  # noqa: PLC0415

        try:
            if self._watch is not None:
                self._watch.heed_receipt(receipt)
        except SplitView as error:
            yield error.sentence

    def _strayed(self, receipt: "Receipt", frame: int, sha256: str) -> Iterator[str]:
        """A true receipt, but of something else than what was asked for."""
        if (receipt.job, receipt.frame) != (self._job.job, frame):
            yield f"It is that of frame {receipt.frame} of job {receipt.job}."
        if receipt.scene != self._job.scene or receipt.settings != self._job.settings:
            yield "It is of another scene or other settings than this job's."
        if receipt.files[0].sha256 != sha256:
            yield "It names another file than the one the farm delivered."

    @property
    def _farm(self) -> str:
        with self._lock:
            return self._address

    @cached_property
    def _address(self) -> str:
        return self._client.rules().address


def address(text: str) -> str:
    """A farm's address as it was typed. Raises InvalidInput for what is none."""
    if not re.fullmatch("0x[0-9a-fA-F]{40}", text):
        raise InvalidInput(f"'{text[:80]}' is no farm's address: those are 0x and 40 hexadecimal digits.")
    return text


def read_receipt(document: bytes) -> "Receipt":
    """What a receipt says. Raises InvalidInput for what is none."""
    from verification.receipts.records import read  # noqa: PLC0415

    return read(document).receipt


def shortened(problems: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    if len(problems) <= MOST_SAID:
        return problems
    return [*problems[:MOST_SAID], f"{len(problems) - MOST_SAID} more things are wrong with it."]


def read_bounded(path: Path) -> bytes:
    """A file as a receipt may be long. Raises InvalidInput for one that cannot be read or is longer."""
    from verification.receipts.records import MOST_BYTES  # noqa: PLC0415

    try:
        return files.read_bounded(path, MOST_BYTES, "is longer than any receipt")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


def write_receipt(path: Path, document: bytes) -> None:
    """Write a receipt whole or not at all. Raises FarmError where something else is in its place, or the
    disk does not take it.
    """
    if os.path.lexists(path) and _older(path) == document:
        return
    try:
        with files.replaced(path, durable=False) as file:
            file.write(document)
    except OSError as error:
        raise FarmError(f"{path} cannot be written: {error.strerror}.") from error


def _older(path: Path) -> bytes:
    """The receipt that is there; nothing else is replaced."""
    try:
        if path.is_symlink() or not path.is_file():
            raise InvalidInput(f"{path} is no plain file.")
        document = read_bounded(path)
        read_receipt(document)
    except InvalidInput as error:
        raise InvalidInput(f"{path} is there already and is no receipt: it was left as it is.") from error
    return document


def beside(path: Path) -> Path | None:
    """The frame a receipt was written for, where it lies beside it."""
    frame = path.with_name(path.name.removesuffix(".receipt.json"))
    return frame if frame != path and frame.is_file() else None


def is_file(path: Path, sha256: str) -> bool:
    """Whether the file at `path` has that sha256."""
    return hash_file(path).sha256 == sha256

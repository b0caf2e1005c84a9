# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames are fetched while others still render, each as soon as it is done."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.fields import StoredFile
from farm_protocol.ids import JobId
from render_farm.answers import Frame
from render_farm.cli.outputs import MOST_BYTES, MOST_FILES, Targets
from render_farm.cli.receipts import Kept, Receipts
from render_farm.client import FarmClient, has
from render_farm.job_events import FrameEvent

DoneFrame = Frame | FrameEvent
"""A frame as a list or an event tells of it."""

FETCHES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """A frame on disk, with what File Output nodes wrote beside it, sentences on what was not fetched,
    and its receipt where one was asked for.
    """

    frame: DoneFrame
    path: Path
    others: tuple[Path, ...]
    refused: tuple[str, ...]
    receipt: Kept | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Sentences on what is wrong with the receipt."""
        return self.receipt.problems if self.receipt else ()


def receipt_path(fetched: Fetched) -> str:
    """The path of its receipt; empty where there is none."""
    return str(fetched.receipt.path) if fetched.receipt and fetched.receipt.path else ""


class Fetcher:
    """Fetches each frame of a job once, in threads. In those, `saved` is called for each as soon as it is
    on disk (its receipt follows), and `say` with a sentence for what could not be fetched or is wrong.
    """

    def __init__(
        self,
        client: FarmClient,
        job: JobId,
        targets: Targets,
        saved: Callable[[Fetched], None],
        say: Callable[[str], None],
        receipts: Receipts | None = None,
    ) -> None:
        self._client, self._job, self._targets = client, job, targets
        self._saved, self._say, self._receipts = saved, say, receipts
        self._pool = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="fetch")
        self._futures: dict[tuple[int, str], Future[Fetched]] = {}
        self._latest: dict[int, tuple[int, str]] = {}
        self._written: dict[int, tuple[int, str]] = {}
        self._lock = threading.Lock()
        self.last = time.monotonic()
        if receipts is not None:
            self._pool.submit(receipts.prepare)

    def take(self, frame: DoneFrame) -> None:
        """Fetch a frame that is done, unless that very file is fetched already. One that is rendered again
        is no longer there until it is told with other files, which then take the place of the first.
        """
        if frame.frame not in self._targets.frames:
            return
        with self._lock:
            self._latest.pop(frame.frame, None)
            if not frame.files:
                return
            key = self._latest[frame.frame] = (frame.frame, frame.files[0].sha256)
            known = self._futures.get(key)
            # A frame that could not be fetched is tried again when it is told again.
            failed = known is not None and known.done() and known.exception() is not None
            if known is None or failed or self._written[frame.frame] != key:
                older = [one for (number, _), one in self._futures.items() if number == frame.frame]
                self._futures[key] = self._pool.submit(self._fetch, frame, older)
                self._written[frame.frame] = key

    def settle(self) -> None:
        """Wait until everything taken so far is fetched, or has failed."""
        wait(self._futures.values())

    def finish(self) -> dict[int, Fetched]:
        """Wait for all files. Raises the first thing that went wrong, after all others are there."""
        self.settle()
        return {frame: self._futures[key].result() for frame, key in sorted(self._latest.items())}

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, frame: DoneFrame, older: list[Future[Fetched]]) -> Fetched:
        # All write to one path: the last that was told must be the last that writes.
        wait(older)
        try:
            fetched = self._fetch_all(frame)
        except FarmError as error:
            self._say(f"Frame {frame.frame}: {error.sentence}")
            raise
        self._saved(fetched)
        return self._with_receipt(fetched) if self._receipts else fetched

    def _with_receipt(self, fetched: Fetched) -> Fetched:
        """The frame is there; its receipt may have to wait for a beacon's round."""
        assert self._receipts is not None
        receipt = self._receipts.keep(fetched.frame.frame, fetched.frame.files[0].sha256)
        for sentence in (*receipt.problems, *([receipt.note] if receipt.note else [])):
            self._say(sentence)
        notes = (receipt.note,) if receipt.note else ()
        return replace(fetched, refused=(*fetched.refused, *notes), receipt=receipt)

    def _fetch_all(self, frame: DoneFrame) -> Fetched:
        if len(frame.files) > MOST_FILES or sum(file.size for file in frame.files) > MOST_BYTES:
            raise FarmError("The farm names more files than a frame can have: none was fetched.")
        path = self._targets.main(frame.frame, frame.files[0].name)
        self._file(frame, 0, path)
        others, refused = [], []
        for index, file in enumerate(frame.files[1:], 1):
            try:
                target = self._targets.other(frame.frame, file.name)
                self._claim(file, target)
            except InvalidInput as error:
                refused.append(error.sentence)
            else:
                self._file(frame, index, target)
                others.append(target)
        self.last = time.monotonic()
        return Fetched(frame, path, tuple(others), tuple(refused))

    def _file(self, frame: DoneFrame, index: int, target: Path) -> None:
        def renewed() -> StoredFile:
            now = next((one for one in self._client.frames(self._job) if one.frame == frame.frame), None)
            if now is None or len(now.files) <= index:
                raise FarmError(f"The farm no longer has frame {frame.frame}.")
            return now.files[index]

        if self._claim(frame.files[index], target):
            self._client.download(frame.files[index], target, renewed)
            self._targets.written.add(target)

    def _claim(self, file: StoredFile, target: Path) -> bool:
        """Whether a file must be written. One that is there already with these contents is left as it is, and
        is not ours for that. Raises InvalidInput where another is there.
        """
        if has(target, file):
            return False
        self._targets.claim(target)
        return True

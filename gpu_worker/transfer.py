# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to and from the object store over signed links."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import urllib3

from frame_splitter.errors import FarmError, InvalidInput, Unavailable
from frame_splitter.fields import StoredFile
from frame_splitter.records import Upload
from gpu_worker.coordinator import backoff, checked_url

CHUNK = 1 << 20
TIMEOUT = urllib3.Timeout(connect=10, read=60)
DOWNLOAD_TRIES = 6


class LinkExpired(FarmError):
    """The store refused a signed link: a fresh one may work."""

    code = "link_expired"
    status = 403


class ObjectLost(InvalidInput):
    """The store has the object no more, or gives other bytes for it: `sha256` is what should be there."""

    def __init__(self, sentence: str, sha256: str) -> None:
        super().__init__(sentence)
        self.sha256 = sha256

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross from a slot's process to the agent's."""
        return ObjectLost, (self.sentence, self.sha256)


_pool = urllib3.PoolManager(maxsize=8, retries=False)


def download(file: StoredFile, target: Path, stopped: threading.Event) -> None:
    """Fetch `file` to `target` (a new file), bounded by its size and checked by its sha256.

    Leaves nothing behind on failure. Raises Unavailable where the store does not answer, LinkExpired,
    ObjectLost where it has nothing there or other bytes, OSError where they cannot be written.
    """
    checked_url(file.url)
    for attempt in range(1, DOWNLOAD_TRIES + 1):
        try:
            _download_once(file, target, stopped)
            return
        except Unavailable:
            if attempt == DOWNLOAD_TRIES or stopped.wait(backoff(attempt, longest=10.0)):
                raise


def _download_once(file: StoredFile, target: Path, stopped: threading.Event) -> None:
    try:
        with target.open("xb") as sink:
            digest, size = _receive(file, sink.write, stopped)
        if (digest, size) != (file.sha256, file.size):
            raise ObjectLost(f"The store gave other bytes for {file.name} than it was given.", file.sha256)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _receive(file: StoredFile, write: Callable[[bytes], object], stopped: threading.Event) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        response = _pool.request("GET", file.url, preload_content=False, redirect=False, timeout=TIMEOUT)
        try:
            if response.status == 404:
                raise ObjectLost(f"The object store has lost {file.name}.", file.sha256)
            _check_status(response.status, f"fetching {file.name}")
            while chunk := response.read(CHUNK, decode_content=False):
                size += len(chunk)
                if size > file.size:
                    wrong = f"The store gave other bytes: {file.name} is larger than its {file.size}."
                    raise ObjectLost(wrong, file.sha256)
                if stopped.is_set():
                    raise Unavailable("The download was stopped.")
                digest.update(chunk)
                write(chunk)
        finally:
            response.close()
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"The object store does not answer: {str(error)[:300]}") from error
    return digest.hexdigest(), size


def upload(path: Path, to: Upload) -> None:
    """PUT a file as signed. Raises Unavailable, LinkExpired, or InvalidInput where it is refused."""
    headers = {**to.headers, "Content-Length": str(os.path.getsize(path))}
    try:
        with path.open("rb") as body:
            response = _pool.request(
                "PUT", checked_url(to.url), body=body, headers=headers, redirect=False, timeout=TIMEOUT
            )
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"The object store does not answer: {str(error)[:300]}") from error
    _check_status(response.status, f"storing {to.name}")


def _check_status(status: int, doing: str) -> None:
    if status == 403:
        raise LinkExpired(f"The object store refused the link for {doing}.")
    if status >= 500 or status in (408, 429):
        raise Unavailable(f"The object store answered {status} when {doing}.")
    if status >= 300:
        raise InvalidInput(f"The object store answered {status} when {doing}.")

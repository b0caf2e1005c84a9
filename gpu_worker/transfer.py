# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to and from the object store over signed links."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import urllib3

from farm_protocol import web
from farm_protocol.errors import FarmError, InvalidInput, Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.links import LARGEST_OBJECT, LinkRefused, Links, checked_headers
from farm_protocol.records import Upload
from gpu_worker.coordinator import backoff

CHUNK = 1 << 20
TIMEOUT = urllib3.Timeout(connect=10, read=60)
DOWNLOAD_TRIES = 6
AWAY = "The object store does not answer."

log = structlog.get_logger()


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


class _Store:
    """Where links may lead, and connections that lead nowhere else."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.pool = web.pool(maxsize=8, ca_file=links.ca_file, allows=links.allows)


_store = _Store(Links())


def follow(links: Links) -> None:
    """Follow these links only, in this process. Before, only those of this machine itself are followed."""
    global _store  # noqa: PLW0603 - a slot has a process of its own, and says so once
    _store = _Store(links)


def download(file: StoredFile, target: Path, stopped: threading.Event) -> None:
    """Fetch `file` to `target` (a new file), bounded by its size and checked by its sha256.

    Leaves nothing behind on failure. Raises LinkRefused for a link that is not followed, Unavailable where
    the store does not answer, LinkExpired, ObjectLost where it has nothing there or other bytes, OSError
    where they cannot be written.
    """
    _store.links.checked(file.url)
    if file.size > LARGEST_OBJECT:
        raise LinkRefused("The farm named a file that is larger than any object may be.")
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
        response = _request("GET", file.url)
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
        raise _away(error) from error
    return digest.hexdigest(), size


def _request(method: str, url: str, **more: Any) -> urllib3.BaseHTTPResponse:
    return _store.pool.request(
        method, url, preload_content=False, redirect=False, timeout=TIMEOUT, decode_content=False, **more
    )


def _away(error: Exception) -> Unavailable:
    """What the farm may hear of a store that cannot be asked: no word of the socket's, which would tell what
    else is at an address. The log has it.
    """
    log.info("object_store_away", reason=str(error)[:300])
    return Unavailable(AWAY)


def upload(path: Path, to: Upload) -> None:
    """PUT a file as signed. Raises LinkRefused, Unavailable, LinkExpired, or InvalidInput where the store
    does not want it. What the store says beside its status is not read.
    """
    size = os.path.getsize(path)
    given = checked_headers(to.headers)
    headers = {name: value for name, value in given.items() if name.lower() != "content-length"}
    try:
        with path.open("rb") as body:
            # An empty body must be bytes: a file would be sent in chunks, which the store refuses.
            response = _request(
                "PUT",
                _store.links.checked(to.url),
                body=body if size else b"",
                headers={**headers, "Content-Length": str(size)},
            )
        response.close()
    except urllib3.exceptions.HTTPError as error:
        raise _away(error) from error
    _check_status(response.status, f"storing {to.name}")


def _check_status(status: int, doing: str) -> None:
    if status == 403:
        raise LinkExpired(f"The object store refused the link for {doing}.")
    if status >= 500 or status in (408, 429):
        log.info("object_store_away", status=status, when=doing)
        raise Unavailable(AWAY)
    if not 200 <= status < 300:
        log.info("object_store_refuses", status=status, when=doing)
        raise InvalidInput(f"The object store did not do what was asked when {doing}.")

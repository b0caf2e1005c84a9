# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole files to and from the object store, over links that the coordinator signed.

The links carry their own permission: no token is sent along. A download is believed only when its size and
sha256 are those that the coordinator named.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3

from farm_protocol.errors import FarmError, InvalidInput, Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.files import replaced
from farm_protocol.links import LARGEST_OBJECT, LinkRefused, checked_headers
from farm_protocol.problems import is_away

CHUNK = 1 << 20
TIMEOUT = urllib3.Timeout(connect=10, read=60)
DAMAGED_TRIES = 3
"""How often a file is fetched whose bytes are others: what damaged them may have been on the way."""

AWAY = "The object store does not answer."


class LinkExpired(FarmError):
    """The store refused a signed link: a fresh one may work."""

    code = "link_expired"
    status = 403


class ObjectLost(InvalidInput):
    """The store has the object no more: `sha256` is what should be there."""

    code = "lost_download"

    def __init__(self, sentence: str, sha256: str) -> None:
        super().__init__(sentence)
        self.sha256 = sha256

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross from a slot's process to the agent's."""
        return type(self), (self.sentence, self.sha256)


class ObjectDamaged(ObjectLost):
    """The store gives other bytes for the object than it was given."""

    code = "damaged_download"


class StoreRefuses(InvalidInput):
    """The store does not do what was asked. `said` has its status and words, which are for this machine's
    user only: the sentence may be told to the farm.
    """

    code = "store_refuses"
    said = ""


class StoreAway(Unavailable):
    """The store does not answer. `said` has the status or the socket's words, which would tell the farm what
    else is at an address: the sentence has none of them.
    """

    def __init__(self, said: str = "") -> None:
        super().__init__(AWAY)
        self.said = said


class Transfer:
    """Uploads and downloads by the connections that `pool_for` has for a link; it raises LinkRefused for one
    that is not followed. `attempts` counts how often something is asked, and waits in between.
    """

    def __init__(self, pool_for: Callable[[str], urllib3.PoolManager]) -> None:
        self._pool_for = pool_for

    def download(
        self, file: StoredFile, target: Path, attempts: Iterator[int], stopped: threading.Event
    ) -> None:
        """Fetch `file` to `target`, complete and checked or not at all.

        Raises LinkRefused, LinkExpired, ObjectLost, StoreRefuses, StoreAway, Unavailable where it was
        `stopped`, and OSError where the disk does not take it.
        """
        if file.size > LARGEST_OBJECT:
            raise LinkRefused("The farm named a file that is larger than any object may be.")
        problem: FarmError = StoreAway()
        for attempt in attempts:
            try:
                return self._fetch(file, target, stopped)
            except ObjectDamaged as error:
                problem = error
                if attempt + 1 >= DAMAGED_TRIES:
                    break
            except Unavailable as error:
                problem = error
        raise problem

    def upload(self, path: Path, url: str, headers: Mapping[str, str], attempts: Iterator[int]) -> None:
        """PUT a file as signed. Raises LinkRefused, LinkExpired, StoreRefuses, StoreAway, and OSError where
        it cannot be read.
        """
        signed = {
            name: value
            for name, value in checked_headers(headers).items()
            if name.lower() != "content-length"
        }
        problem: Unavailable = StoreAway()
        for _ in attempts:
            try:
                return self._put(path, url, signed)
            except Unavailable as error:
                problem = error
        raise problem

    def _fetch(self, file: StoredFile, target: Path, stopped: threading.Event) -> None:
        with self._asked("GET", file.url) as response:
            if response.status == 404:
                raise ObjectLost(f"The object store has lost {file.name}.", file.sha256)
            _check_status(response, f"fetching {file.name}")
            # What is fetched can be fetched again: nothing is lost where a power cut leaves it incomplete.
            with replaced(target, durable=False) as sink:
                _receive(response, file, sink.write, stopped)

    def _put(self, path: Path, url: str, headers: Mapping[str, str]) -> None:
        with path.open("rb") as body:
            size = os.fstat(body.fileno()).st_size
            length = {"Content-Length": str(size)}
            # An empty body must be bytes: a file would be sent in chunks, which the store refuses.
            with self._asked(
                "PUT", url, body=body if size else b"", headers={**headers, **length}
            ) as response:
                _check_status(response, f"storing {path.name}")

    @contextlib.contextmanager
    def _asked(self, method: str, url: str, **more: Any) -> Iterator[urllib3.BaseHTTPResponse]:
        """The store's answer, unread. Raises StoreAway where the connection breaks, now or later."""
        try:
            response = self._pool_for(url).request(
                method,
                url,
                preload_content=False,
                redirect=False,
                timeout=TIMEOUT,
                decode_content=False,
                **more,
            )
            try:
                yield response
            finally:
                _let_go(response)
        except urllib3.exceptions.HTTPError as error:
            raise StoreAway(str(error)[:300]) from error


def _receive(
    response: urllib3.BaseHTTPResponse,
    file: StoredFile,
    write: Callable[[bytes], object],
    stopped: threading.Event,
) -> None:
    digest, size = hashlib.sha256(), 0
    while chunk := response.read(CHUNK, decode_content=False):
        size += len(chunk)
        if size > file.size:
            wrong = f"The store gave other bytes: {file.name} is larger than its {file.size}."
            raise ObjectDamaged(wrong, file.sha256)
        if stopped.is_set():
            raise Unavailable("The download was stopped.")
        digest.update(chunk)
        write(chunk)
    if (digest.hexdigest(), size) != (file.sha256, file.size):
        raise ObjectDamaged(f"The store gave other bytes for {file.name} than it was given.", file.sha256)


def _check_status(response: urllib3.BaseHTTPResponse, doing: str) -> None:
    status = response.status
    if status in (401, 403):
        raise LinkExpired(f"The object store refused the link for {doing}.")
    if is_away(status):
        raise StoreAway(f"{status} when {doing}")
    if not 200 <= status < 300:
        error = StoreRefuses(f"The object store did not do what was asked when {doing}.")
        error.said = f"{status}: {_words(response)}"
        raise error


def _words(response: urllib3.BaseHTTPResponse) -> str:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return response.read(300, decode_content=False).decode("utf-8", "replace")
    return ""


def _let_go(response: urllib3.BaseHTTPResponse) -> None:
    """Keep the connection for the next, where nothing is left on it."""
    if response.length_remaining == 0:
        response.read(1)  # An answer without a body counts as unread until then, and the next would fail.
    else:
        response.close()
    response.release_conn()

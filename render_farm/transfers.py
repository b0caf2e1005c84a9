# SPDX-License-Identifier: GPL-3.0-or-later
"""Files to and from the object store, by links the coordinator signed.

The store's links carry their own permission: the farm's token is never sent along. A download is
believed only when its size and sha256 are those the coordinator named.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import urllib3

from farm_protocol import web
from farm_protocol.addresses import origin_of
from farm_protocol.errors import FarmError, InvalidInput, Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.links import Links, checked_headers

CHUNK = 1 << 20
_AGAIN = frozenset({429, 500, 502, 503, 504})
_LOST = (urllib3.exceptions.HTTPError, OSError)


class LinkExpired(FarmError):
    """The store no longer accepts the link: a fresh one is needed."""

    code = "link_expired"


class LostDownload(FarmError):
    """The object store has the file no more."""

    code = "lost_download"


class DamagedDownload(FarmError):
    """What came is not what the coordinator named."""

    code = "damaged_download"


class Waits(Protocol):
    """Counts attempts and waits between them (`render_farm.connection.Connection`)."""

    url: str

    def attempts(self) -> Iterator[int]:
        """0, 1, 2 ... until patience is used up."""


class Transfers:
    """Uploads and downloads of whole files, tried again while the store is away."""

    def __init__(self, waits: Waits, links: Callable[[], Links], ca_file: str = "") -> None:
        self._waits, self._links = waits, links
        # Those to the farm's own address, which its user named.
        self._pool = web.pool(maxsize=16, ca_file=ca_file)
        self._elsewhere: tuple[Links, urllib3.PoolManager] | None = None

    def close(self) -> None:
        """Drop the connections."""
        self._pool.clear()
        if self._elsewhere:
            self._elsewhere[1].clear()

    def _pool_for(self, url: str) -> urllib3.PoolManager:
        """Connections that may be made for a link. Raises InvalidInput and LinkRefused."""
        if not url.startswith(("http://", "https://")):
            raise InvalidInput("The coordinator gave a link that is not http.")
        if origin_of(url) == origin_of(self._waits.url):
            return self._pool
        if self._elsewhere is None:
            found = self._links()
            self._elsewhere = found, web.pool(maxsize=16, ca_file=found.ca_file, allows=found.allows)
        self._elsewhere[0].checked(url)
        return self._elsewhere[1]

    def upload(self, path: Path, url: str, headers: Mapping[str, str]) -> None:
        """PUT a file. Raises LinkExpired, or FarmError with what the store says."""
        for _ in self._waits.attempts():
            try:
                status, answer = self._put(path, url, headers)
            except urllib3.exceptions.HTTPError:
                continue
            if status in _AGAIN:
                continue
            if status == 403:
                raise LinkExpired(f"The link to upload {path.name} is no longer valid.")
            if status >= 300:
                raise FarmError(f"The object store refused {path.name} ({status}): {answer[:300]}")
            return
        raise Unavailable(f"The object store does not answer, {path.name} could not be uploaded.")

    def _put(self, path: Path, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            response = self._pool_for(url).request(
                "PUT",
                url,
                # An empty body must be bytes: a file would be sent in chunks, which the store refuses.
                body=file if size else b"",
                headers={**_without_length(headers), "Content-Length": str(size)},
                redirect=False,
                timeout=urllib3.Timeout(connect=5.0, read=120.0),
                decode_content=False,
                preload_content=False,
            )
        try:
            return response.status, response.read(1000).decode("utf-8", "replace")
        finally:
            _let_go(response)

    def download(self, file: StoredFile, target: Path) -> None:
        """Fetch `file` to `target`, complete and checked or not at all.

        Raises LinkExpired, DamagedDownload, Unavailable, or FarmError when the disk does not take it.
        """
        damaged: FarmError | None = None
        for attempt in self._waits.attempts():
            try:
                return self._fetch(file, target)
            except urllib3.exceptions.HTTPError:
                damaged = None
            except DamagedDownload as error:
                damaged = error
                if attempt >= 3:
                    break
        raise damaged or Unavailable(f"The object store does not answer, {target.name} could not be fetched.")

    def _fetch(self, file: StoredFile, target: Path) -> None:
        response = self._pool_for(file.url).request(
            "GET",
            file.url,
            preload_content=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=5.0, read=60.0),
            decode_content=False,
        )
        try:
            if response.status in (401, 403):
                raise LinkExpired(f"The link to {target.name} is no longer valid.")
            if response.status in _AGAIN:
                raise urllib3.exceptions.HTTPError(str(response.status))
            if response.status == 404:
                raise LostDownload(
                    f"The farm's object store has lost {target.name}: render that frame again, with "
                    "`render-farm render` and --frames."
                )
            if response.status != 200:
                raise DamagedDownload(f"The object store has no {target.name} ({response.status}).")
            _write(response, file, target)
        finally:
            _let_go(response)


def _without_length(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a link to upload, where all are of the kind that S3 signs. Raises LinkRefused."""
    return {
        name: value for name, value in checked_headers(headers).items() if name.lower() != "content-length"
    }


def _let_go(response: urllib3.BaseHTTPResponse) -> None:
    """Keep the connection for the next, where nothing is left on it."""
    if response.closed or response.length_remaining:
        response.close()
    response.release_conn()


def _write(response: urllib3.BaseHTTPResponse, file: StoredFile, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise FarmError(f"{target} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "wb") as part:
            _copy_checked(response, part.fileno(), file, target)
        # mkstemp's files are private; a frame gets the mode any new file of this user would have.
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except urllib3.exceptions.HTTPError:
        raise
    except OSError as error:
        raise FarmError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _copy_checked(response: urllib3.BaseHTTPResponse, handle: int, file: StoredFile, target: Path) -> None:
    digest, size = hashlib.sha256(), 0
    for chunk in response.stream(CHUNK):
        size += len(chunk)
        if size > file.size:
            break
        digest.update(chunk)
        _write_all(handle, chunk)
    if size != file.size or digest.hexdigest() != file.sha256:
        raise DamagedDownload(f"{target.name} came damaged from the object store.")


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _umask() -> int:
    """The process's umask. There is no way to ask but to set it; Linux tells in /proc."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    return 0o022

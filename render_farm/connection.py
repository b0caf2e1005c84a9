# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's one way to the coordinator: JSON over kept-alive HTTP, with patience.

A coordinator that is restarting refuses connections for a moment; requests wait for it, up to
`patience` seconds, instead of failing.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import urllib3

from farm_protocol import web
from farm_protocol.addresses import require_encrypted
from farm_protocol.errors import (
    Conflict,
    FarmError,
    Forbidden,
    InvalidInput,
    NotFound,
    StaleLease,
    Unauthorized,
    Unavailable,
)
from farm_protocol.fields import decode, decoder, encode

T = TypeVar("T")

SILENT_SECONDS = 3.0
"""How long something is waited for before that is said."""

Say = Callable[[str], None]

ANSWER_LIMIT = 256 << 20
"""Bytes of the longest answer read; a job of 100,000 frames stays below half of it."""

_AGAIN = frozenset({429, 502, 503, 504})
_BY_STATUS = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: InvalidInput,
    503: Unavailable,
}
_BY_CODE = {kind.code: kind for kind in (*_BY_STATUS.values(), StaleLease)}
_LOST = (urllib3.exceptions.HTTPError, OSError)


class Stopped(FarmError):
    """The waiting was ended from another thread."""

    code = "stopped"


class Gone(Unavailable):
    """The farm has ended: nobody will answer at its address any more."""

    code = "farm_gone"


class Outage:
    """Says once that something is waited for, after a while, and that it is there again. Safe to use from
    several threads.
    """

    def __init__(self, say: Say) -> None:
        self._say, self._lock = say, threading.Lock()
        self._since: float | None = None
        self._told = False

    def goes_on(self, reason: str) -> None:
        """It did not answer, for this reason (a sentence)."""
        with self._lock:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            tell = not self._told and now - self._since >= SILENT_SECONDS
            self._told = self._told or tell
        if tell:
            self._say(f"{reason} Waiting for it ...")

    def is_over(self) -> None:
        """It answered."""
        if self._since is None:
            return
        with self._lock:
            told, self._told, self._since = self._told, False, None
        if told:
            self._say("It answers again.")


class Connection:
    """Requests to one coordinator as one token's bearer, with a sentence to `say` where that takes long. Safe
    to use from several threads.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience: float = 60.0,
        gone: Callable[[], bool] = lambda: False,
        say: Say = lambda _: None,
        insecure: bool = False,
        ca_file: str = "",
    ) -> None:
        self.url, self.insecure, self.ca_file, self.peer = _checked(url), insecure, ca_file, ""
        require_encrypted(self.url, "The farm's address", insecure)
        self.patience, self._gone = patience, gone
        self._outage = Outage(say)
        self.stopped = threading.Event()
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._pool = web.pool(maxsize=16, ca_file=ca_file, met=self._met)

    def _met(self, address: str) -> None:
        """The address that the coordinator answers from."""
        self.peer = address

    def close(self) -> None:
        """End all waiting and drop the connections."""
        self.stopped.set()
        self._pool.clear()

    def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        """GET `path` under /api/v1 and decode the answer as `kind`."""
        return decode(self._ask("GET", path, None, {}, query), kind)

    def fetch(self, path: str) -> bytes:
        """GET `path` under /api/v1 as it is, where every byte counts."""
        return self._ask("GET", path, None, {}, None)

    def post(self, path: str, kind: type[T], body: object = None, *, key: str = "") -> T:
        """POST a record. `key` makes a creation idempotent, so that it may be sent again."""
        headers = {"Idempotency-Key": key} if key else {}
        return decode(self._ask("POST", path, encode(body if body is not None else {}), headers, None), kind)

    def delete(self, path: str, kind: type[T]) -> T:
        """DELETE `path` under /api/v1 and decode the answer as `kind`."""
        return decode(self._ask("DELETE", path, None, {}, None), kind)

    def stream(self, path: str, headers: Mapping[str, str], silence: float) -> "Stream":
        """Open an endless answer; raises FarmError, or Lost where trying again may help.

        `silence` seconds without a byte count as lost.
        """
        timeout = urllib3.Timeout(connect=5.0, read=silence)
        try:
            response = self._pool.request(
                "GET",
                self._at(path),
                headers={**self._headers, **headers},
                preload_content=False,
                redirect=False,
                timeout=timeout,
            )
            if response.status != 200:
                raise self._no_stream(response.status, _bounded(response))
        except _LOST as error:
            self._outage.goes_on(self._silence)
            raise Lost(self._silence) from error
        self._outage.is_over()
        return Stream(response)

    def _no_stream(self, status: int, answer: bytes) -> FarmError:
        refusal = _refused(status, answer, self.url)
        if status not in _AGAIN:
            return refusal
        # The store behind the coordinator is away for a moment, as it may be.
        self._outage.goes_on(refusal.sentence)
        return Lost(refusal.sentence)

    @property
    def _silence(self) -> str:
        return f"The coordinator at {self.url} does not answer."

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None,
    ) -> bytes:
        refusal: FarmError = Unavailable(self._silence)
        for _ in self.attempts():
            try:
                status, answer = self._once(method, path, body, headers, query)
            except _LOST as error:
                if told := web.distrusted(error, self.url):
                    raise InvalidInput(told) from error
                self._outage.goes_on(self._silence)
                continue
            if status in _AGAIN:
                refusal = _refused(status, answer, self.url)
                self._outage.goes_on(refusal.sentence)
                continue
            self._outage.is_over()
            if status >= 300:
                raise _refused(status, answer, self.url)
            return answer
        raise refusal

    def attempts(self) -> Iterator[int]:
        """Count attempts from 0, waiting longer before each, until `patience` is used up."""
        end = time.monotonic() + self.patience
        attempt = 0
        while True:
            yield attempt
            pause = min(2.0, 0.05 * 2**attempt) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            if time.monotonic() + pause > end:
                return
            if self.stopped.wait(pause):
                raise Stopped("The command was ended while it waited for the coordinator.")
            if self._gone():
                raise Gone(f"The farm at {self.url} has stopped.")
            attempt += 1

    def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None,
    ) -> tuple[int, bytes]:
        sent = {**self._headers, **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        response = self._pool.request(
            method,
            self._at(path, query),
            body=body,
            headers=sent,
            preload_content=False,
            redirect=False,  # a token goes to the coordinator and to nobody else
            timeout=urllib3.Timeout(connect=5.0, read=120.0),
        )
        return response.status, _bounded(response)

    def _at(self, path: str, query: Mapping[str, str] | None = None) -> str:
        return f"{self.url}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")


class Lost(Unavailable):
    """The connection broke or was never made; trying again may help."""


class Stream:
    """Lines of an endless answer, as they come."""

    LINE_LIMIT = 16 << 20

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def lines(self) -> Iterator[str]:
        """Each line without its end. Raises Lost when the connection breaks or falls silent."""
        rest = b""
        try:
            while chunk := self._response.read1(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                if len(rest) > self.LINE_LIMIT:
                    raise InvalidInput("The coordinator sends a line without an end.")
                for line in whole:
                    yield line.rstrip(b"\r").decode("utf-8", "replace")
        except (*_LOST, ValueError, AttributeError) as error:
            # ValueError and AttributeError: closed from another thread while it was read.
            raise Lost("The coordinator fell silent.") from error

    def close(self) -> None:
        """Drop the connection; a reader in another thread gets Lost."""
        self._response.close()


def _checked(url: str) -> str:
    try:
        parsed = urllib3.util.parse_url(url)
        good = parsed.scheme in ("http", "https") and bool(parsed.host)
    except urllib3.exceptions.LocationParseError:
        good = False
    if not good:
        raise InvalidInput(f"'{url[:200]}' is not a coordinator's address: write http://host:port.")
    return url.rstrip("/")


def _bounded(response: Any) -> bytes:
    data = bytearray()
    try:
        for chunk in response.stream(1 << 16):
            data += chunk
            if len(data) > ANSWER_LIMIT:
                raise InvalidInput("The coordinator's answer is too long.")
    finally:
        if len(data) > ANSWER_LIMIT:
            response.close()
        response.release_conn()
    return bytes(data)


class _Problem(msgspec.Struct):
    title: str = ""
    code: str = ""
    detail: str = ""


def _refused(status: int, answer: bytes, url: str) -> FarmError:
    """The coordinator's problem as the FarmError it was there."""
    try:
        problem = decoder(_Problem).decode(answer[: 1 << 20])
    except msgspec.DecodeError:
        problem = _Problem(detail=f"{url} answers {status}, which is not what a coordinator says.")
    kind = _BY_CODE.get(problem.code) or _BY_STATUS.get(status, FarmError)
    error = kind((problem.detail or problem.title or f"The coordinator answers {status}.")[:4096])
    error.code = problem.code[:64] or kind.code
    return error

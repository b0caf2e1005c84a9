# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way to a coordinator: JSON over kept-alive HTTP, with bounds, as one token's bearer.

The command line, the library and the nodes ask through it; how often they ask again is `retry.py`'s, what a
refusal means is `problems.py`'s.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

import urllib3

from farm_protocol import web
from farm_protocol.addresses import checked_url
from farm_protocol.errors import InvalidInput, Unavailable
from farm_protocol.problems import refusal

LARGEST_ANSWER = 256 << 20
"""Bytes of the longest answer read: the listing of a scene with a hundred thousand files, each with a signed
link; a job of as many frames stays below half of it."""

CONNECT_SECONDS = 10.0
LOST = (urllib3.exceptions.HTTPError, OSError)
"""What a connection that broke, or was never made, raises."""

_NOTHING: Mapping[str, str] = {}


class Unreachable(Unavailable):
    """No coordinator answers. The sentence has the socket's words, which are for this machine's user only."""


class Distrusted(Unreachable):
    """Who answers at the coordinator's address shows a certificate that is not believed."""

    may_pass = False


class Answer(NamedTuple):
    """What a coordinator answered well."""

    data: bytes
    headers: Mapping[str, str]


class HttpClient:
    """Requests to the coordinator at `url`. `peer` is the address it answered from last; `ca_file` has the
    certificates it is checked by ('': the system's); an answer may take `seconds`. May be used from several
    threads.
    """

    def __init__(self, url: str, token: str, *, ca_file: str = "", seconds: float = 30.0) -> None:
        self.url, self.peer, self._seconds = _checked(url), "", seconds
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._pool = web.pool(maxsize=16, ca_file=ca_file, met=self._met)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str] = _NOTHING,
        wait: float = 0.0,
    ) -> Answer:
        """One request below /api/v1, which the coordinator may hold open for `wait` seconds.

        Raises the FarmError it answered with, Unreachable where it does not answer.
        """
        typed = {} if body is None else {"Content-Type": "application/json"}
        where = path + (f"?{urlencode(query)}" if query else "")
        try:
            response = self._send(method, where, {**typed, **headers}, self._seconds + wait, body)
            status, data = response.status, _bounded(response)
        except LOST as error:
            raise self._unreachable(error) from error
        if not 200 <= status < 300:
            raise refusal(status, data, self.url)
        return Answer(data, response.headers)

    def stream(self, path: str, headers: Mapping[str, str], silence: float) -> urllib3.BaseHTTPResponse:
        """An endless answer, whose reader gets an error after `silence` seconds without a byte.

        Raises as `ask` does.
        """
        try:
            response = self._send("GET", path, headers, silence)
            data = b"" if response.status == 200 else _bounded(response)
        except LOST as error:
            raise self._unreachable(error) from error
        if response.status != 200:
            raise refusal(response.status, data, self.url)
        return response

    def close(self) -> None:
        """Drop the connections."""
        self._pool.clear()

    def _met(self, address: str) -> None:
        self.peer = address

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], seconds: float, body: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method,
            f"{self.url}/api/v1{path}",
            body=body,
            headers={**self._headers, **headers},
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
            redirect=False,  # a token goes to the coordinator and to nobody else
            preload_content=False,
        )

    def _unreachable(self, error: Exception) -> Unreachable:
        if told := web.distrusted(error, self.url):
            return Distrusted(told)
        reason = str(getattr(error, "reason", None) or error)[:300]
        return Unreachable(f"The coordinator at {self.url} does not answer: {reason}")


def _checked(url: str) -> str:
    try:
        return checked_url(url).rstrip("/")
    except InvalidInput as error:
        named = url[:200]
        raise InvalidInput(f"'{named}' is not a coordinator's address: write http://host:port.") from error


def _bounded(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        data = response.read(LARGEST_ANSWER + 1, decode_content=True)
        if len(data) > LARGEST_ANSWER:
            response.close()
            raise InvalidInput("The coordinator's answer is too large.")
        return data
    finally:
        response.release_conn()

# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's one way to the coordinator: JSON over kept-alive HTTP, with patience.

A coordinator that is restarting refuses connections for a moment; requests wait for it, up to
`patience` seconds, instead of failing.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import urllib3

from farm_protocol.addresses import require_encrypted
from farm_protocol.errors import FarmError, InvalidInput, Unavailable
from farm_protocol.fields import decode, encode
from farm_protocol.http_client import LOST, Distrusted, HttpClient, Unreachable
from farm_protocol.retry import Retry, insist

T = TypeVar("T")

SILENT_SECONDS = 3.0
"""How long something is waited for before that is said."""

ANSWER_SECONDS = 120.0
"""An answer to the client may take: that of a job of 100,000 frames does."""

Say = Callable[[str], None]


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
        self._http = HttpClient(url, token, ca_file=ca_file, seconds=ANSWER_SECONDS)
        self.url, self.insecure, self.ca_file = self._http.url, insecure, ca_file
        require_encrypted(self.url, "The farm's address", insecure)
        self.patience, self._gone = patience, gone
        self._outage = Outage(say)
        self.stopped = threading.Event()

    @property
    def peer(self) -> str:
        """The address that the coordinator answered from last."""
        return self._http.peer

    def close(self) -> None:
        """End all waiting and drop the connections."""
        self.stopped.set()
        self._http.close()

    def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        """GET `path` under /api/v1 and decode the answer as `kind`."""
        return decode(self._ask("GET", path, query=query or {}), kind)

    def fetch(self, path: str) -> bytes:
        """GET `path` under /api/v1 as it is, where every byte counts."""
        return self._ask("GET", path)

    def post(self, path: str, kind: type[T], body: object = None, *, key: str = "") -> T:
        """POST a record. `key` makes a creation idempotent, so that it may be sent again."""
        headers = {"Idempotency-Key": key} if key else {}
        return decode(self._ask("POST", path, encode({} if body is None else body), headers=headers), kind)

    def delete(self, path: str, kind: type[T]) -> T:
        """DELETE `path` under /api/v1 and decode the answer as `kind`."""
        return decode(self._ask("DELETE", path), kind)

    def stream(self, path: str, headers: Mapping[str, str], silence: float) -> "Stream":
        """Open an endless answer; raises FarmError, or Lost where trying again may help.

        `silence` seconds without a byte count as lost.
        """
        with self._explained():
            try:
                response = self._http.stream(path, headers, silence)
            except Unavailable as error:
                if not error.may_pass:
                    raise
                # The store behind the coordinator is away for a moment, as it may be.
                self._away(error)
                raise Lost(self._sentence(error)) from error
        return Stream(response)

    def _ask(self, method: str, path: str, body: bytes | None = None, **more: Any) -> bytes:
        with self._explained():
            ask = partial(self._http.ask, method, path, body, **more)
            return insist(self.attempts(), ask, self._away).data

    def attempts(self) -> Iterator[int]:
        """Count attempts from 0, waiting longer before each, until `patience` is used up."""
        return Retry(patience=self.patience, first=0.05, longest=2.0).attempts(self._wait)

    def _wait(self, seconds: float) -> bool:
        if self.stopped.wait(seconds):
            raise Stopped("The command was ended while it waited for the coordinator.")
        if self._gone():
            raise Gone(f"The farm at {self.url} has stopped.")
        return False

    def _away(self, error: Unavailable) -> None:
        self._outage.goes_on(self._sentence(error))

    def _sentence(self, error: Unavailable) -> str:
        """What the user reads of it: nothing of sockets."""
        silence = f"The coordinator at {self.url} does not answer."
        return silence if isinstance(error, Unreachable) else error.sentence

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the connection become those that the user reads; an answer, whichever, ends an outage."""
        try:
            yield
        except Distrusted as error:
            raise InvalidInput(error.sentence) from error
        except Unreachable as error:
            raise Unavailable(self._sentence(error)) from error
        except (Unavailable, Stopped):
            raise
        except FarmError:
            self._outage.is_over()
            raise
        self._outage.is_over()


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
        except (*LOST, ValueError, AttributeError) as error:
            # ValueError and AttributeError: closed from another thread while it was read.
            raise Lost("The coordinator fell silent.") from error

    def close(self) -> None:
        """Drop the connection; a reader in another thread gets Lost."""
        self._response.close()

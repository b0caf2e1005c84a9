# SPDX-License-Identifier: GPL-3.0-or-later
"""uvicorn's HTTP protocol with what it lacks: deadlines, and bounds of heads, queues and connections."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from farm_protocol.fields import encode
from farm_protocol.problems import Problem
from render_farm.serving.connection_limits import Counted, Doors, Unsent

MOST_HEAD = 64 << 10
"""Bytes of a request's first line and headers."""

MOST_HEADERS = 100
MOST_QUEUED = 16
"""Requests that one connection sends before the first is answered."""


class TooMuch(Exception):
    """A head that is too long, or more requests at once than a connection may send."""

    def __init__(self, status: int, phrase: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.answer = _raw(status, phrase, code, detail)


HEAD_TOO_LONG = (431, "Request Header Fields Too Large", "head_too_large", "The headers are too long.")
QUEUE_TOO_LONG = (400, "Bad Request", "too_many_queued", "Wait for an answer before sending so much more.")


def _raw(status: int, phrase: str, code: str, detail: str) -> bytes:
    body = encode(Problem("about:blank", phrase, status, code, detail))
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


NO_ROOM = _raw(
    503, "Service Unavailable", "unavailable", "Too many connections are open: try again in a moment."
)
TOO_SLOW = _raw(408, "Request Timeout", "too_slow", "The request's headers did not arrive in time.")
NOT_HTTP = _raw(400, "Bad Request", "bad_request", "This is not a request that can be read.")


class Guarded(HttpToolsProtocol):
    """One connection. `doors` is set on a subclass for each server."""

    doors: Doors

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.address = ""
        self._reading_head = False
        self._in_message = False
        self._head_bytes = 0
        self._quiet_since = 0.0
        self._ending_since = 0.0
        self._unsent = Unsent(self.doors.limits.stalled_seconds)
        self._too_much: TooMuch | None = None

    # --- coming and going -----------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Let in, or turned away with a sentence."""
        super().connection_made(Counted(transport))  # type: ignore[arg-type]
        self.address = self.client[0] if self.client else ""
        self._await_head()
        if not self.doors.enter(self):
            self._say_and_leave(NO_ROOM)

    def connection_lost(self, exc: Exception | None) -> None:
        """Room for another."""
        self.doors.gone(self)
        super().connection_lost(exc)

    def leave(self) -> None:
        """End at once: somebody else needs the room."""
        self.transport.abort()

    def _say_and_leave(self, answer: bytes) -> None:
        self._reading_head = False
        self.transport.write(answer)
        self.transport.close()
        self._ending_since = self.loop.time()

    def look(self, now: float) -> None:
        """End a connection that is late with its head, or with the rest of a body that nobody waits for any
        more, that has asked nothing for long, or whose peer does not read.
        """
        limits, transport = self.doors.limits, self.transport
        left, written = transport.get_write_buffer_size(), transport.written  # type: ignore[attr-defined]
        lingers = self._ending_since and now - self._ending_since > limits.linger_seconds
        if self._unsent.is_stuck(written, left, now) or lingers:
            transport.abort()
        elif self._reading_head and now - self._quiet_since > limits.head_seconds:
            self._say_and_leave(TOO_SLOW)
        elif self._is_idle and now - self._quiet_since > limits.idle_seconds:
            transport.close()

    @property
    def _is_idle(self) -> bool:
        """Whether all that was asked is answered, and nothing new was begun."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not (self._in_message or self._reading_head or self.pipeline)

    # --- what arrives ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse it, unless it goes beyond what a head may have."""
        if self.transport.is_closing() or self.parser is None:
            return
        if self._is_idle:
            self._await_head()
        was_head = self._reading_head
        super().data_received(data)
        if was_head and self._reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
                self._say_and_leave(_raw(*HEAD_TOO_LONG))

    def send_400_response(self, msg: str) -> None:
        """What could not be parsed, and what is too much."""
        self._say_and_leave(self._too_much.answer if self._too_much else NOT_HTTP)

    def _await_head(self) -> None:
        self._reading_head, self._head_bytes, self._quiet_since = True, 0, self.loop.time()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_message = True
        if not self._reading_head:
            self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        super().on_url(url)
        if len(self.url) > MOST_HEAD:
            self._refuse(HEAD_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        super().on_header(name, value)
        if len(self.headers) > MOST_HEADERS or len(name) + len(value) > MOST_HEAD:
            self._refuse(HEAD_TOO_LONG)

    def _refuse(self, why: tuple[int, str, str, str]) -> None:
        self._too_much = TooMuch(*why)
        raise self._too_much

    def on_headers_complete(self) -> None:
        """The request is known; it is answered at once, or after those before it."""
        self._reading_head = False
        if len(self.pipeline) >= MOST_QUEUED:
            self._refuse(QUEUE_TOO_LONG)
        self.doors.works(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._in_message = False
        super().on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._rests()

    def on_response_complete(self) -> None:
        """Answered. A body that still comes is not taken without end."""
        super().on_response_complete()
        if self.transport.is_closing() or self._in_message:
            self._ending_since = self._ending_since or self.loop.time()
        elif self._is_idle:
            self._rests()

    def _rests(self) -> None:
        self._ending_since, self._quiet_since = 0.0, self.loop.time()
        self.doors.waits(self)


def guarded(doors: Doors) -> type[Guarded]:
    """The protocol of a server with these doors."""
    return type("Guarded", (Guarded,), {"doors": doors})

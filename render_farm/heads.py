# SPDX-License-Identifier: GPL-3.0-or-later
"""HEAD requests over kept-alive connections, without threads.

Every submitted result is looked at in the object store before it is accepted, so this is on the way
of every task; a thread and a general client for each cost several times as much.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from farm_protocol.errors import Unavailable

MOST_AT_ONCE = 32
ANSWER_SECONDS = 10.0
LONGEST_ANSWER = 64 << 10
OBJECTS_AWAY = "The farm's object store does not answer. Nothing is lost; try again in a moment."


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and headers, names in lower case."""

    status: int
    headers: dict[str, str]


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")


class _Link:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> Answer:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        found = _Reader()
        parser = httptools.HttpResponseParser(found)
        parser.feed_data(head)
        if found.headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(parser.get_status_code(), found.headers)

    @property
    def usable(self) -> bool:
        return not (self._writer.is_closing() or self._reader.at_eof())

    def close(self) -> None:
        self._writer.close()


class Heads:
    """A pool of connections to one endpoint. `ask` raises Unavailable when it does not answer."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._idle: list[_Link] = []
        self._gate = asyncio.Semaphore(MOST_AT_ONCE)

    async def ask(self, target: str, headers: dict[str, str]) -> Answer:
        """HEAD of a path with its query."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"HEAD {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        async with self._gate:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._ask(request)
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
                raise Unavailable(OBJECTS_AWAY) from error
            except httptools.HttpParserError as error:
                raise Unavailable(OBJECTS_AWAY) from error

    async def _ask(self, request: bytes) -> Answer:
        """A kept connection may have been closed by the other side meanwhile: then on a new one."""
        while self._idle:
            link = self._idle.pop()
            if link.usable:
                try:
                    return await self._over(link, request)
                except (ConnectionError, EOFError):
                    continue
        return await self._over(await self._connect(), request)

    async def _over(self, link: _Link, request: bytes) -> Answer:
        try:
            answer = await link.ask(request)
        except BaseException:
            link.close()
            raise
        if link.usable:
            self._idle.append(link)
        return answer

    async def _connect(self) -> _Link:
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls or None, limit=LONGEST_ANSWER
        )
        return _Link(reader, writer)

    def close(self) -> None:
        """Close what is kept."""
        for link in self._idle:
            link.close()
        self._idle.clear()

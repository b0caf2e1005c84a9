# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m render_farm.embedded.relay HOST PORT TARGET [CERT KEY]`: lets other machines reach one loopback
port, encrypted where it has a certificate.

The embedded object store is several servers in one process, most of which ask nobody who they are. They
stay on loopback; only its S3 door, where every request is signed, is passed on, byte for byte.

Nothing is opened behind it before a request's headers are there, which have a deadline. What moves no bytes
ends after a while, and makes room sooner where there are too many: transfers that go on are never stopped
for others.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from render_farm.serving.connection_limits import Doors, Limits
from render_farm.serving.tls import HANDSHAKE_SECONDS, certificate

CHUNK = 1 << 18
MOST_HEAD = 64 << 10
LIMITS = Limits(most=1024, per_address=256, head_seconds=10.0, idle_seconds=60.0)
FILES_EACH = 2
QUIET_SECONDS = 2.0
"""Who moved no byte for so long makes room for others."""


class Passage:
    """One connection that is passed on."""

    def __init__(self, writer: asyncio.StreamWriter, doors: Doors) -> None:
        self._writer, self._doors = writer, doors
        self._loop = asyncio.get_running_loop()
        self._moved, self._until = self._loop.time(), doors.limits.head_seconds
        self._back: asyncio.StreamWriter | None = None
        peer = writer.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""

    async def carry(self, reader: asyncio.StreamReader, target: int) -> None:
        """Pass everything on, both ways, until one side has ended."""
        head = await reader.readuntil(b"\r\n\r\n")
        self._until = self._doors.limits.idle_seconds
        self._moves()
        there, self._back = await asyncio.open_connection("127.0.0.1", target, limit=CHUNK)
        try:
            self._back.write(head)
            await asyncio.gather(self._copy(reader, self._back), self._copy(there, self._writer))
        finally:
            self._back.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK):
            self._moves()
            sink.write(chunk)
            await sink.drain()
            self._moves()
        if sink.can_write_eof():
            sink.write_eof()

    def _moves(self) -> None:
        self._moved = self._loop.time()
        self._doors.works(self)

    def leave(self) -> None:
        """End at once, on both sides."""
        self._writer.transport.abort()
        if self._back is not None:
            self._back.transport.abort()

    def look(self, now: float) -> None:
        """End where nothing moved for long; after a short while others come first."""
        if now - self._moved > self._until:
            self.leave()
        elif now - self._moved > QUIET_SECONDS and not self._doors.is_waiting(self):
            self._doors.waits(self)


async def serve(
    host: str, port: int, target: int, encryption: Mapping[str, Any], limits: Limits = LIMITS
) -> None:
    """Pass every connection to `host`:`port` on to the port `target` of this machine until the process ends,
    as far as the `limits` allow; says on stdout that it listens. `encryption` is what asyncio is to be told
    of TLS.
    """
    doors = Doors(limits.fitting(FILES_EACH))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = Passage(writer, doors)
        if doors.enter(passage):
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
                await passage.carry(reader, target)
            await _close(writer, limits.stalled_seconds)
            doors.gone(passage)
        writer.transport.abort()

    server = await asyncio.start_server(connected, host or None, port, limit=MOST_HEAD, **encryption)
    print(json.dumps({"listening": f"{host}:{port}"}), flush=True)
    watch = asyncio.create_task(doors.watch())
    try:
        async with server:
            await server.serve_forever()
    finally:
        watch.cancel()


async def _close(writer: asyncio.StreamWriter, seconds: float) -> None:
    """Send what is left, for as long as somebody reads it."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            await writer.wait_closed()


def encryption(cert: str = "", key: str = "") -> dict[str, Any]:
    """What asyncio's server is told of a certificate."""
    found = certificate(cert, key)
    return {"ssl": found.context(), "ssl_handshake_timeout": HANDSHAKE_SECONDS} if found else {}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), encryption(*sys.argv[4:])))

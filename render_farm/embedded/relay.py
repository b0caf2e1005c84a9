# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m render_farm.embedded.relay HOST PORT TARGET [CERT KEY]`: lets other machines reach one loopback
port, encrypted where it has a certificate.

The embedded object store is several servers in one process, most of which ask nobody who they are. They
stay on loopback; only its S3 door, where every request is signed, is passed on, byte for byte.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from render_farm.tls import HANDSHAKE_SECONDS, certificate

CHUNK = 1 << 18
MOST_CONNECTIONS = 1000


async def serve(host: str, port: int, target: int, encryption: Mapping[str, Any]) -> None:
    """Pass on every connection until the process ends; says on stdout that it listens."""
    room = asyncio.Semaphore(MOST_CONNECTIONS)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with room:
            with contextlib.suppress(OSError):
                await _pass_on(reader, writer, target)
            writer.close()

    server = await asyncio.start_server(connected, host or None, port, limit=CHUNK, **encryption)
    print(json.dumps({"listening": f"{host}:{port}"}), flush=True)
    async with server:
        await server.serve_forever()


def encryption(cert: str = "", key: str = "") -> dict[str, Any]:
    """What asyncio's server is told of a certificate."""
    found = certificate(cert, key)
    return {"ssl": found.context(), "ssl_handshake_timeout": HANDSHAKE_SECONDS} if found else {}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", target, limit=CHUNK)
    try:
        await asyncio.gather(_copy(reader, back), _copy(there, writer))
    finally:
        back.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(CHUNK):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), encryption(*sys.argv[4:])))

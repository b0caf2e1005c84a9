# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m render_farm.embedded.relay HOST PORT TARGET`: lets other machines reach one loopback port.

The embedded object store is several servers in one process, most of which ask nobody who they are. They
stay on loopback; only its S3 door, where every request is signed, is passed on, byte for byte.
"""

import asyncio
import contextlib
import json
import sys

CHUNK = 1 << 18
MOST_CONNECTIONS = 1000


async def serve(host: str, port: int, target: int) -> None:
    """Pass on every connection until the process ends; says on stdout that it listens."""
    room = asyncio.Semaphore(MOST_CONNECTIONS)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with room:
            with contextlib.suppress(OSError):
                await _pass_on(reader, writer, target)
            writer.close()

    server = await asyncio.start_server(connected, host or None, port, limit=CHUNK)
    print(json.dumps({"listening": f"{host}:{port}"}), flush=True)
    async with server:
        await server.serve_forever()


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
        asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

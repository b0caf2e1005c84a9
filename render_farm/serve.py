# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's process: `python -m render_farm.serve`.

Standard output carries one line of JSON, `{"listening": URL}`, once it answers; the log goes to
standard error. SIGTERM and SIGINT end it; what is held open is answered first.
"""

import asyncio
import gc
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from farm_protocol.errors import FarmError
from render_farm import config
from render_farm.api.app import create
from render_farm.api.protocol import guarded
from render_farm.doors import Doors
from render_farm.event_log import log_to_stderr
from render_farm.farm import Farm
from render_farm.tls import HANDSHAKE_SECONDS, Certificate

GRACE_SECONDS = 3
SWITCH_SECONDS = 0.001
"""How long work in a thread keeps the event loop waiting at a time."""


class Server(uvicorn.Server):
    """Says where it listens, and closes long calls when it is told to stop."""

    def __init__(self, settings: uvicorn.Config, farm: Farm) -> None:
        super().__init__(settings)
        self._farm = farm
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so. With a certificate the farm's door is one of its own, beside which uvicorn
        listens on loopback, or nowhere.
        """
        chosen = self._farm.config
        await super().startup([] if chosen.certificate and not chosen.local_port else sockets)
        if self.started and chosen.certificate:
            self.servers.insert(0, await self._encrypted(chosen, chosen.certificate))
        if self.started:
            # What was imported stays for good: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            print(json.dumps({"listening": self._address()}), flush=True)

    async def _encrypted(self, chosen: config.Config, found: Certificate) -> asyncio.Server:
        protocol: Any = self.config.http_protocol_class
        made = partial(
            protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        try:
            return await self._loop.create_server(
                made,
                chosen.bind,
                chosen.port,
                ssl=found.context(),
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                backlog=self.config.backlog,
            )
        except OSError as error:
            print(f"The coordinator cannot listen at {chosen.bind}: {error.strerror}.", file=sys.stderr)
            await self.lifespan.shutdown()
            sys.exit(1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop: nobody who waits is kept waiting."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._farm.close)

    def _address(self) -> str:
        public = self._farm.config.public_url
        if public:
            return public
        bound = self.servers[0].sockets[0].getsockname()
        host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        return f"{'https' if self._farm.config.certificate else 'http'}://{host}:{bound[1]}"


async def serve(chosen: config.Config) -> None:
    """Run the coordinator until it is told to stop."""
    farm, doors = Farm(chosen), Doors(chosen.limits.connections.fitting())
    settings = uvicorn.Config(
        create(farm),
        host="127.0.0.1" if chosen.certificate else chosen.bind,
        port=(chosen.local_port or 0) if chosen.certificate else chosen.port,
        http=guarded(doors),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # What strangers send that is no HTTP would fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    watch = asyncio.create_task(doors.watch())
    try:
        await Server(settings, farm).serve()
    finally:
        watch.cancel()


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    log_to_stderr()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        chosen = config.read(arguments)
    except FarmError as error:
        print(error.sentence, file=sys.stderr)
        return 2
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(chosen))
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop]:
    import uvloop  # noqa: PLC0415

    return uvloop.Loop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: GPL-3.0-or-later
"""The settler's process: `python -m render_farm.settle`.

It keeps the books of paid jobs, signs for them, and is the only part of the farm that speaks to the chain.
Standard output carries one line of JSON, `{"settling": MARKET}`, once it is at work; the log goes to standard
error. SIGTERM and SIGINT end it; it may die at any moment.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from farm_protocol.errors import FarmError
from render_farm.event_log import log_to_stderr
from render_farm.settlement import config
from render_farm.settlement.config import Config
from render_farm.settlement.embedded import prepare
from render_farm.settlement.settler import Settler, open_settler

STOP_SECONDS = 3.0
SIGN_SECONDS = 1.0


async def settle(settler: Settler, alive: Path | None = None) -> None:
    """Run until told to stop; touch the file `alive` every second."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    running = asyncio.create_task(settler.run(lambda: _say(settler)))
    waiting = asyncio.create_task(over.wait())
    signs = asyncio.create_task(_give_signs(alive))
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    signs.cancel()
    running.cancel()
    await asyncio.wait({running}, timeout=STOP_SECONDS)
    if running.done() and not running.cancelled():
        running.result()


async def _give_signs(alive: Path | None) -> None:
    """Signs of life: they stop where the loop hangs."""
    while alive is not None:
        _touch(alive)
        await asyncio.sleep(SIGN_SECONDS)


def _touch(file: Path) -> None:
    # A full disk is no reason to end.
    with contextlib.suppress(OSError):
        file.touch()


def _say(settler: Settler) -> None:
    print(json.dumps({"settling": settler.network.market}), flush=True)


def start(chosen: Config) -> Settler:
    """The parts put together. Raises FarmError for what cannot be started with."""
    if chosen.embedded is not None:
        prepare(chosen.embedded, chosen.chain_url)
    return open_settler(chosen)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    log_to_stderr()
    try:
        chosen = config.read(arguments)
        asyncio.run(settle(start(chosen), chosen.alive))
    except FarmError as error:
        print(error.sentence, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread may wait for the chain still; nothing that it would do is lost.
    os._exit(code)

# SPDX-License-Identifier: GPL-3.0-or-later
"""How the demos begin and end: in a folder of their own, and with one sentence where they are stopped."""

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from farm_protocol.errors import FarmError
from render_farm.cli.console import log_to_stderr
from tests.cheats.farm import CPU, EMULATED

ABOUT = {
    CPU: "All nodes render on the CPU, which adds up samples in order.",
    EMULATED: "No GPU takes part: the CPU adds up each pixel's samples in a random order, as GPUs do.",
}
"""What the devices are that a demo can be given."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def show(demo: Callable[[Path], int], device: str) -> int:
    """Run a demo and clean up after it; its exit code, 1 for faults of the farm, 130 after Ctrl-C."""
    for number in SIGNALS:
        signal.signal(number, _stop)
    log_to_stderr("error")
    print(ABOUT[device])
    try:
        with tempfile.TemporaryDirectory(prefix="render-farm-demo-") as folder:
            return demo(Path(folder))
    except FarmError as error:
        print(f"The demo ended: {error.sentence}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("Stopped.", file=sys.stderr)
        return 128 + int(stop.args[0])


def _stop(number: int, _: object) -> None:
    """Once: what is cleaned up is not to be interrupted again."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)

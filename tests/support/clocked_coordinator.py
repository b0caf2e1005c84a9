# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.support.clocked_coordinator FILE ...`: the coordinator on a machine whose clock is wrong
by as many seconds as stand in the file, from the moment they do. Where the file's name ends in `.passed`,
these seconds pass for the coordinator: both its clocks go forward.
"""

import sys
import time
from pathlib import Path

from render_farm.coordinator import __main__ as serve
from render_farm.coordinator.composition import Farm
from render_farm.coordinator.config import Config
from render_farm.store.farm_clock import FarmClock


def main(arguments: list[str]) -> int:
    """As `render_farm.coordinator`."""
    wrong = Path(arguments[0])

    def wall() -> float:
        return time.time() + float(wrong.read_text() or 0)

    def steady() -> float:
        return time.monotonic() + (float(wrong.read_text() or 0) if wrong.suffix == ".passed" else 0)

    def farm(chosen: Config) -> Farm:
        return Farm(chosen, FarmClock(wall, steady))

    serve.Farm = farm  # type: ignore[assignment, misc]
    return serve.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: GPL-3.0-or-later
"""An emulated GPU whose node cheats as `tests/cheats/dishonest_child.py` does: what it lies with was summed
in an order of its own, too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.cheats.dishonest_child import Dishonest, serve
from tests.emulated.child import Emulated


class DishonestEmulated(Dishonest, Emulated):
    """Renders as the cheat has it, on the emulated device."""


if __name__ == "__main__":
    serve(DishonestEmulated)

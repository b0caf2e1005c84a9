# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `render-farm`."""

import sys

from render_farm.cli.program import run


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

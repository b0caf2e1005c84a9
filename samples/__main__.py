# SPDX-License-Identifier: GPL-3.0-or-later
"""Rebuild the sample scenes: ``python -m samples`` makes all, ``python -m samples orbit`` only one."""

import argparse
from pathlib import Path

from samples import defaults, eevee, layers, orbit, stage

SCENES = {"orbit": orbit.build, "layers": layers.build, "defaults": defaults.build, "eevee": eevee.build}


def main() -> None:
    """Build the scenes named on the command line, or all of them, next to this file."""
    parser = argparse.ArgumentParser(prog="samples", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="scene", help=f"any of: {', '.join(SCENES)}")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="folder to write to")
    options = parser.parse_args()
    unknown = set(options.names) - set(SCENES)
    if unknown:
        parser.error(f"no such scene: {', '.join(sorted(unknown))}")
    for name in options.names or SCENES:
        SCENES[name]()
        path = stage.save(options.into, name)
        print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()

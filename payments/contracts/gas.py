# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold what the calls cost to `gas.json`: a rise fails.

    python -m payments.contracts.gas [--check]

Reads what the last `forge test` measured (test/Gas.t.sol). Without `--check` writes the figures down.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
MEASURED = HERE / "cache" / "gas" / "GasTest.json"
KEPT = HERE / "gas.json"


def read(path: Path) -> dict[str, int]:
    """Call to gas. Raises OSError or ValueError for a file that is missing or holds something else."""
    return {str(name): int(gas) for name, gas in json.loads(path.read_text()).items()}


def rises(measured: dict[str, int], kept: dict[str, int]) -> list[str]:
    """A sentence for every call that costs more than it did, was not measured, or is new."""
    found = []
    for name in sorted(measured.keys() | kept.keys()):
        if name not in measured:
            found.append(f"{name} was not measured.")
        elif name not in kept:
            found.append(f"{name} is new: it costs {measured[name]}.")
        elif measured[name] > kept[name]:
            found.append(f"{name} costs {measured[name]}, up from {kept[name]}.")
    return found


def main(arguments: list[str]) -> int:
    """The command: 0, or 1 with sentences."""
    try:
        measured = read(MEASURED)
    except (OSError, ValueError) as error:
        print(f"There are no figures of `forge test`: {error}", file=sys.stderr)
        return 1
    if arguments != ["--check"]:
        KEPT.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
        return 0
    found = rises(measured, read(KEPT))
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

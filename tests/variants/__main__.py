# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that writes the variants."""

import importlib
import pkgutil
import sys

import tests.variants
from tests.variants.stage import VARIANTS, write


def main(folder: str, names: list[str]) -> None:
    for module in pkgutil.iter_modules(tests.variants.__path__):
        if module.name != "__main__":
            importlib.import_module(f"tests.variants.{module.name}")
    for name in names or list(VARIANTS):
        write(folder, name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

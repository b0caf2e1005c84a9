# SPDX-License-Identifier: GPL-3.0-or-later
"""The licence of every package the farm is installed with, as docs/licences.md has them.

make licences
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-metrics.lock")
PACKAGES = "payments/contracts/package-lock.json"

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CNRI-Python",
    "GPL-2.0-or-later",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.1-or-later",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Public-Domain",
    "Unlicense",
    "Zlib",
}
"""What may stand in one program under GPL-3.0-or-later; CNRI-Python is explained on the page."""

NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD License": "BSD-3-Clause",
    "DFSG approved": "MIT",
    "GPL-3.0": "GPL-3.0-or-later",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "Public-Domain",
    "Python Software Foundation License": "PSF-2.0",
}
"""How packages write their licences, and SPDX's names for them."""

READ = {"OpenEXR": "BSD-3-Clause", "memorystream": "MIT"}
"""Packages whose metadata says nothing: read in the licence text they bring."""

HEAD = """# Licences

The farm is free software under the GPL, version 3 or later. This is what it is installed with, tests and
tools included: every package of `requirements.lock`, `requirements-metrics.lock` and of the contracts'
`package-lock.json`, each under a licence that may stand in one program with it, none under the AGPL.
`make licences` writes this page from what the packages say of themselves; a test holds it against what is
installed.

`regex` has parts under CNRI's licence of Python, which the FSF does not count as compatible with the GPL. It
comes with `web3`, is used where a chain is spoken to, and never loaded beside Blender.

| package | version | licence |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Licensed:
    """A package of a lock file, and its licence as an SPDX expression ('' where nothing says)."""

    name: str
    version: str
    licence: str


def locked(text: str) -> Iterator[tuple[str, str]]:
    """Names and versions that a pip lock file names."""
    yield from re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE)


def stated(about: PackageMetadata) -> str:
    """What a distribution's metadata says, as an SPDX expression."""
    expression = about.get("License-Expression")
    if expression:
        return str(expression)
    if about["Name"] in READ:
        return READ[about["Name"]]
    field = str(about.get("License") or "").strip()
    if field in ALLOWED or field in NAMES:
        return NAMES.get(field, field)
    lines = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    classifiers = [line.split("::")[-1].strip() for line in lines]
    return " OR ".join(sorted({NAMES.get(one, one) for one in classifiers}))


def python_packages() -> list[Licensed]:
    """Those of the lock files, which must be installed."""
    pairs = {pair for name in LOCKS for pair in locked((ROOT / name).read_text())}
    return [
        Licensed(name, version, stated(metadata(name)))
        for name, version in sorted(pairs, key=lambda pair: pair[0].lower())
    ]


def node_packages() -> list[Licensed]:
    """Those the contracts are compiled and tested with."""
    packages = json.loads((ROOT / PACKAGES).read_text())["packages"]
    names = {path.removeprefix("node_modules/"): about for path, about in packages.items() if path}
    return [
        Licensed(name, about["version"], about.get("license") or READ.get(name, ""))
        for name, about in sorted(names.items())
    ]


def parts(licence: str) -> list[str]:
    """The single licences of an SPDX expression."""
    return [part.strip(" ()") for part in re.split(r"\b(?:AND|OR)\b", licence)]


def page() -> str:
    """docs/licences.md."""
    packages = (*python_packages(), *node_packages())
    rows = [f"| {one.name} | {one.version} | {one.licence} |" for one in packages]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(page(), end="")

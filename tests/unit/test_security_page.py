# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/security.md names for each threat the tests that show it: they exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = list((ROOT / "tests").rglob("test_*.py"))
NAME = re.compile(r"^(?:async )?def test_(\w+)", re.MULTILINE)
TESTS = {name for path in FILES for name in NAME.findall(path.read_text())}


def rows() -> list[str]:
    """What stands in the last column of the page's tables whose last column is the test."""
    page = (ROOT / "docs" / "security.md").read_text()
    tables = re.findall(r"^\|[^\n]*\| test \|\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", page, re.MULTILINE)
    return [line.rsplit("|", 2)[1] for table in tables for line in table.splitlines()]


def test_every_test_that_is_named_exists():
    named = [name for cell in rows() for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 100
    files = {path.name for path in FILES} | {str(path.relative_to(ROOT)) for path in FILES}
    for name in named:
        if name.endswith((".py", ".t.sol")):
            assert name in files or (ROOT / name).exists() or list((ROOT / "payments").rglob(name)), name
            continue
        begins = re.split(r"\.\.\.|\*", name.strip())[0].removeprefix("test_")
        assert any(test.startswith(begins) for test in TESTS), name


def test_every_threat_has_its_test():
    table = (ROOT / "docs" / "security.md").read_text().split("### What is not stopped")[0]
    for line in re.findall(r"^\| (?!\*\*|threat)[^\n]*", table, re.MULTILINE):
        assert "`" in line.rsplit("|", 2)[1], line

# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files that are safe anywhere stay apart; where File Output nodes write never leads out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.blender

SCRIPT = """
import itertools, json, sys
from gpu_worker.blender.child.naming import place, safe_part

letters = [*"%250EAC.é", "\\n", "\\\\", "\\x7f", "\\u2028", "\\u0085", "\\udc80"]
seen, twice, unsafe = {}, [], []
for length in range(1, 5):
    for part in map("".join, itertools.product(letters, repeat=length)):
        safe = safe_part(part)
        if seen.setdefault(safe, part) != part:
            twice.append([ascii(part), ascii(seen[safe])])
        if safe.startswith(".") or any(c in safe for c in "\\n\\\\\\x7f\\u2028\\u0085\\udc80"):
            unsafe.append(ascii(part))
paths = json.loads(sys.argv[1])
json.dump([len(seen), twice, unsafe, [place(path, "n").directory for path in paths]], sys.stdout)
"""

PLACES = {
    "//a/b/": "outputs/a/b",
    "//a/../b/": "outputs/b",
    "//../b/": "outputs-above/1/b",
    "//a/../../../b/": "outputs-above/2/b",
    "/a//b/": "outputs-absolute/a/b",
    "/../../a/": "outputs-absolute/a",
    "C:\\a\\b\\": "outputs-absolute/C%3A/a/b",
    "C:\\..\\..\\b\\": "outputs-absolute/C%3A/b",
    "a/b/": "outputs-working/a/b",
    "": "outputs-working",
    "../a/": "outputs-above/1/a",
    "{blend_dir}/a/": "outputs/a",
}


def test_names_stay_apart_and_places_never_lead_out() -> None:
    command = [sys.executable, "-c", SCRIPT, json.dumps(list(PLACES))]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    tried, twice, unsafe, places = json.loads(done.stdout.splitlines()[-1])
    assert tried > 50_000
    assert twice == []
    assert unsafe == []
    assert dict(zip(PLACES, places, strict=True)) == PLACES
    assert all(".." not in path.split("/") for path in places)

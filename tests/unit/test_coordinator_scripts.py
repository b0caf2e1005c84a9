# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's scripts and their arguments: one record each, and what a script reads of it."""

import json
import pkgutil
import re
from importlib import import_module
from importlib.resources import files

import msgspec
import pytest

from render_farm import store
from render_farm.api_models import Failure
from render_farm.store import calls
from render_farm.store.connection import ARGUMENT, script_text

SHARED = {"holding", "shared", "verification"}
SCRIPTS = {
    one.name.removesuffix(".lua")
    for one in (files("render_farm.store") / "scripts").iterdir()
    if one.name.endswith(".lua")
} - SHARED


def records():
    """Every record that some script takes, by the script's name."""
    for module in pkgutil.iter_modules(store.__path__):
        import_module(f"render_farm.store.{module.name}")
    todo, found = [calls.Call], {}
    while todo:
        kind = todo.pop()
        todo += [one for one in kind.__subclasses__() if one.__module__.startswith("render_farm.")]
        found[calls.script_of(kind)] = kind
    return {
        name: kind for name, kind in found.items() if name not in {"call", "of_scene", "of_lease", "hand_in"}
    }


def test_each_script_has_a_record_named_as_it_is():
    assert records().keys() == SCRIPTS


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_script_reads_what_its_record_has(script):
    own = script_text(script).rpartition(ARGUMENT)[2]
    code = re.sub("--.*", "", own)
    assert not re.search(r"\b(KEYS|ARGV)\b", code)
    assert set(re.findall(r"\barg\.(\w+)", code)) == set(records()[script].__struct_fields__)


class Sample(calls.Call, frozen=True):
    number: int
    seconds: float
    flag: bool
    kept: Failure
    text: bytes
    some: tuple[str, ...]
    missing: str | None = None


def test_numbers_and_records_reach_a_script_as_text():
    """Lua's own numbers have 53 bits, and its JSON 14 digits."""
    kept = Failure("scene", "it broke", "n", 1.5)
    one = Sample(1 << 60, 1764540000.123457, True, kept, b'{"a":1}', ("x",))
    assert json.loads(one.argument()) == {
        "number": str(1 << 60),
        "seconds": "1764540000.123457",
        "flag": "1",
        "kept": msgspec.json.encode(kept).decode(),
        "text": '{"a":1}',
        "some": ["x"],
    }

# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for msgspec on machines that have Blender and numpy only.

The project's records name it in annotations, and modules that compare pictures import records. Nothing is
decoded in benchmarks/gpu_check.py, so names are enough.
"""

import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any


class _Name:
    """Takes any arguments, and may be subscripted or inherited from."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __init_subclass__(cls, **_: Any) -> None: ...

    def __class_getitem__(cls, _: Any) -> Any:
        return cls


def stand_in() -> None:
    """Put the stand-in where the real one is missing."""
    with suppress(ImportError):
        import_module("msgspec")
        return
    module = ModuleType("msgspec")
    names = dict.fromkeys(("Meta", "Struct", "Raw"), _Name)
    errors = dict.fromkeys(("DecodeError", "ValidationError"), ValueError)
    vars(module).update(names, json=SimpleNamespace(Decoder=_Name), **errors)
    sys.modules["msgspec"] = module

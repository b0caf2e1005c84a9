# SPDX-License-Identifier: GPL-3.0-or-later
"""Caches of simulations on disk are read, never written: what Blender evaluates adds to none of them.

As the file has them, simulations write where their cache is to be, some as soon as their first frame is
looked at. A fluid is not evaluated at all: Mantaflow runs Python to read or to simulate, writes below
whatever folder its domain names, and removes `config`, `data`, `mesh` and the like there. In Blender 5.0.1 as
a Python module it reads nothing, either, and brings the process down when it is freed. (Read from Blender's
fluid.cc and pointcache.cc, and tried.)

Facts are still those of the file: what was changed is remembered.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy
from _bpy import ops as operators

from gpu_worker.blender.child.animation import ever_on
from gpu_worker.blender.child.names import text
from gpu_worker.blender.child.overrides import all_curves

CACHE_BEGINS = b"BPHYSICS"
"""The first bytes of a file of a physics cache."""


SHOWS = re.compile(r"\.show_(viewport|render)\b")
"""In the path of a curve that switches modifiers, by name or by number."""


@dataclass(frozen=True)
class PointSettings:
    """What the file says of a physics cache."""

    is_baked: bool
    use_disk_cache: bool


_points: dict[int, PointSettings] = {}
_fluids: set[int] = set()
"""What was changed, by address, in the file that is open; of fluids those that renders show."""


def own_point(cache: Any) -> PointSettings:
    """A physics cache's settings as in the file."""
    return _points.get(cache.as_pointer()) or PointSettings(cache.is_baked, cache.use_disk_cache)


def is_shown(modifier: Any, item: Any) -> bool:
    """Whether renders show a modifier of the object `item`, at any frame, as the file has it."""
    return modifier.as_pointer() in _fluids or ever_on(item, f"{modifier.path_from_id()}.show_render")


def read_only() -> None:
    """Let no cache of the file that was just loaded be written. Raises ValueError where one stays so."""
    _points.clear()
    _fluids.clear()
    for item in bpy.data.objects:
        for modifier in item.modifiers:
            if modifier.type == "FLUID" and modifier.domain_settings is not None:
                _switch_off(modifier, item)
        for cache in _of_object(item):
            _still_point(cache, item)
    for scene in bpy.data.scenes:
        _refuse_on_disk(scene.rigidbody_world)


def _of_object(item: Any) -> Iterator[Any]:
    """Every physics cache of an object, in use or not."""
    for modifier in item.modifiers:
        if modifier.type in {"CLOTH", "SOFT_BODY"}:
            yield modifier.point_cache
        elif modifier.type == "DYNAMIC_PAINT" and modifier.canvas_settings:
            yield from (one.point_cache for one in modifier.canvas_settings.canvas_surfaces)
    yield from (system.point_cache for system in item.particle_systems)


# --- fluids -----------------------------------------------------------------------------------------


def _switch_off(modifier: Any, item: Any) -> None:
    """Let a fluid's modifier be evaluated neither here nor in a render, whatever its animation says."""
    if is_shown(modifier, item):
        _fluids.add(modifier.as_pointer())
    for curve in all_curves(item):
        if SHOWS.search(curve.data_path):
            curve.mute = True
    modifier.show_viewport = modifier.show_render = False


# --- physics ----------------------------------------------------------------------------------------


def _still_point(cache: Any, owner: Any) -> None:
    """Have a simulation read its cache on disk only.

    What counts as baked is not simulated further. Some kinds write their first frame all the same where it
    is not there: those have what there is in memory.
    """
    if not cache.use_disk_cache:
        return
    _points[cache.as_pointer()] = PointSettings(cache.is_baked, True)
    if not cache.is_baked:
        with bpy.context.temp_override(point_cache=cache):
            # What `bpy.ops` calls, which evaluates the scene before each operator.
            operators.call("PTCACHE_OT_bake_from_cache", {})
    if not _begins(cache, owner):
        cache.use_disk_cache = False
    if not cache.is_baked or (cache.use_disk_cache and not _begins(cache, owner)):
        raise ValueError(f"a cache of '{text(owner.name)}' cannot be kept from being written.")


def _refuse_on_disk(world: Any) -> None:
    """Blender can neither put the cache of rigid bodies on disk nor survive one that a file says is there."""
    if world is not None and world.point_cache is not None and world.point_cache.use_disk_cache:
        raise ValueError("the cache of its rigid bodies is said to be on disk.")


def _begins(cache: Any, owner: Any) -> bool:
    """Whether the file of the cache's first frame is there."""
    stem = cache.name if cache.name or cache.use_external else owner.name.encode().hex().upper()
    number = f"_{cache.index:02}" if cache.index >= 0 else ""
    name = f"{stem.replace('/', '_')}_{cache.frame_start:06}{number}.bphys"
    try:
        with open(os.path.join(cache_folder(cache, owner), name), "rb") as file:
            return file.read(len(CACHE_BEGINS)) == CACHE_BEGINS
    except (OSError, ValueError):
        return False


def cache_folder(cache: Any, owner: Any) -> str:
    """Where the files of a physics cache on disk are; `owner` is its object or scene."""
    library = owner.library if cache.use_library_path else None
    if cache.use_external:
        return absolute(cache.filepath, library)
    blend = absolute(library.filepath, library.parent) if library else bpy.data.filepath
    stem = os.path.splitext(os.path.basename(blend))[0]
    return os.path.join(os.path.dirname(blend), f"blendcache_{stem}")


def absolute(path: str, library: Any) -> str:
    """A path of a data-block from `library` (None: of this file), without `//` and `..`."""
    return os.path.normpath(str(bpy.path.abspath(path, library=library)))

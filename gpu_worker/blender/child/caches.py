# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the results of simulations lie: in the file, on disk, or nowhere.

A setting is not a state: what counts is whether the data is there.
"""

import ctypes
import os
import re
import struct
from dataclasses import dataclass
from typing import Any

from gpu_worker.blender.child.disk_caches import absolute, cache_folder, own_point

PLAYED = re.compile(r"(\d+) frames (?:in memory|on disk)")
"""How a point cache describes itself; a comma follows where it is not exact."""

BAKE = struct.Struct("<iI2b6xQ4i3Q")
"""Blender's NodesModifierBake up to the pointer to its packed data, which Python is not shown."""

FLUID_FRAME = re.compile(r"fluid_data_(\d+)\.")


@dataclass(frozen=True)
class Cache:
    """The state of one cache. Without a bake frames up to `until` come out right all the same: those
    before the simulation starts, and those that were played and kept. `folder` is where its files are
    (absolute; "" where it has none), `there` whether they are.
    """

    baked: bool
    until: int
    folder: str = ""
    there: bool = True


def point_cache(cache: Any, owner: Any) -> Cache:
    """The state of a physics cache that belongs to `owner`, an object or a scene."""
    start, own = cache.frame_start, own_point(cache)
    if not (own.use_disk_cache or cache.use_external):
        played = _played(cache)
        return Cache(own.is_baked or start + played > cache.frame_end, start + max(played, 1) - 1)
    folder = cache_folder(cache, owner)
    files = _files(folder)
    if own.is_baked or cache.use_external:
        return Cache(True, start, folder, bool(files))
    played = _played(cache) if files else 0
    return Cache(start + played > cache.frame_end, start + max(played, 1) - 1, folder)


def _played(cache: Any) -> int:
    """How many frames from the first on were played without a gap and kept, each exactly."""
    counted = PLAYED.match(cache.info)
    exact = counted and "," not in cache.info and not cache.is_outdated and cache.frame_step == 1
    return int(counted[1]) if counted and exact else 0


def _files(folder: str) -> list[str]:
    if not os.path.isabs(folder):
        return []
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def point_caches(modifier: Any) -> list[Any]:
    """The physics caches of a modifier."""
    if modifier.type in {"CLOTH", "SOFT_BODY"}:
        return [modifier.point_cache]
    if modifier.type == "PARTICLE_SYSTEM":
        return [modifier.particle_system.point_cache]
    if modifier.type == "DYNAMIC_PAINT" and modifier.canvas_settings:
        # Surfaces of the kind IMAGE write pictures when they are baked and change no mesh.
        surfaces = modifier.canvas_settings.canvas_surfaces
        return [one.point_cache for one in surfaces if one.is_active and one.surface_format == "VERTEX"]
    return []


def fluid_cache(domain: Any, owner: Any) -> Cache:
    """The state of a fluid domain's cache, which is always on disk."""
    folder = absolute(domain.cache_directory, owner.library)
    names = _files(os.path.join(folder, "data"))
    frames = {int(found[1]) for name in names if (found := FLUID_FRAME.match(name))}
    until = domain.cache_frame_start - 1
    while until + 1 in frames:
        until += 1
    # A replayed domain reads the frames it has; the others read what was baked.
    complete = until >= domain.cache_frame_end
    baked = complete if domain.cache_type == "REPLAY" else domain.has_cache_baked_data
    return Cache(bool(baked), until, folder, bool(frames))


def nodes_bake(modifier: Any, bake: Any, owner: Any, start: int) -> Cache:
    """The state of one bake of a Geometry Nodes modifier whose simulation starts at frame `start`."""
    if _is_packed(bake):
        return Cache(True, start)
    folder = _bake_folder(modifier, bake, owner)
    there = any(name.endswith(".json") for name in _files(os.path.join(folder, "meta")))
    target = modifier.bake_target if bake.bake_target == "INHERIT" else bake.bake_target
    # Blender reads a bake on disk whatever the target is; the target says where one is to be expected.
    return Cache(there, start, folder if there or target == "DISK" else "", there)


def _bake_folder(modifier: Any, bake: Any, owner: Any) -> str:
    if bake.use_custom_path:
        return absolute(bake.directory, owner.library) if bake.directory else ""
    if not modifier.bake_directory:
        return ""
    return os.path.join(absolute(modifier.bake_directory, owner.library), str(bake.bake_id))


def _is_packed(bake: Any) -> bool:
    """Whether the bake's data is in the file, read from the memory of Blender's own struct."""
    data = BAKE.unpack(ctypes.string_at(bake.as_pointer(), BAKE.size))
    identifier, first, last, packed = data[0], data[5], data[6], data[10]
    if (identifier, first, last) != (bake.bake_id, bake.frame_start, bake.frame_end):
        raise RuntimeError("This Blender keeps bakes in another layout: caches.py must learn it.")
    return bool(packed)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Physics and simulation zones: what must be baked before frames can be rendered in any order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gpu_worker.child.animation import animated_paths, is_animated
from gpu_worker.child.caches import Cache, fluid_cache, nodes_bake, point_cache, point_caches
from gpu_worker.child.disk_caches import is_shown
from gpu_worker.child.names import text
from gpu_worker.child.nodes import simulation_zones
from gpu_worker.child.walk import Evaluated

PHYSICS = {
    "CLOTH": ("cloth", "Physics > Cloth > Cache > Bake"),
    "SOFT_BODY": ("soft body", "Physics > Soft Body > Cache > Bake"),
    "DYNAMIC_PAINT": ("dynamic paint", "Physics > Dynamic Paint > Cache > Bake"),
}
"""Kinds of physics by their modifier: the name, and what to press in Blender."""

LAST_FRAME = 1_048_574
"""Blender has no frame beyond, either way."""

USES_PARTICLES = frozenset({"EXPLODE", "PARTICLE_INSTANCE", "DYNAMIC_PAINT", "FLUID"})


@dataclass(frozen=True)
class Simulation:
    """One simulation of the picture; `press` is where Blender bakes it."""

    owner: str
    kind: str
    press: str
    cache: Cache

    def fact(self, alone: bool) -> dict[str, Any]:
        """As `farm_protocol.facts.Simulation`. Where the scene is not `alone` in its picture, another's
        frames may be counted otherwise, so all of them need the bake.
        """
        until = self.cache.until if alone else -LAST_FRAME
        return {
            "owner": text(self.owner),
            "kind": self.kind,
            "baked": bool(self.cache.baked),
            "until": max(-LAST_FRAME, min(LAST_FRAME, until)),
            "press": self.press,
        }

    def asset(self) -> dict[str, Any]:
        """The folder its cache is in, as `farm_protocol.facts.Asset`."""
        return {
            "path": text(self.cache.folder),
            "kind": "cache",
            "user": text(self.owner),
            "missing": not self.cache.there,
        }


def simulations(found: Evaluated, default_start: int) -> list[Simulation]:
    """Every simulation that the evaluated scenes depend on."""
    simulated = [one for scene in found.seen("SCENE") for one in _rigid_bodies(scene, found)]
    for item in found.objects.values():
        simulated += _of_object(item, found, default_start)
    return simulated


def _rigid_bodies(scene: Any, found: Evaluated) -> Iterator[Simulation]:
    """A rigid body world simulates where something in it moves freely."""
    world = scene.rigidbody_world
    if not (world and world.enabled and world.collection):
        return
    if any(_falls(item) for item in world.collection.all_objects if item.session_uid in found.objects):
        press = "Scene > Rigid Body World > Cache > Bake"
        cache = point_cache(world.point_cache, scene)
        yield Simulation("Rigid Body World", "rigid body", press, cache)


def _falls(item: Any) -> bool:
    body = item.rigid_body
    if body is None or body.type != "ACTIVE":
        return False
    animated = {path for path in animated_paths(item) if path.startswith("rigid_body.")}
    return bool(body.enabled and not body.kinematic) or bool(animated)


def _of_object(item: Any, found: Evaluated, start: int) -> Iterator[Simulation]:
    for modifier in item.modifiers:
        if is_shown(modifier, item):
            yield from _of_modifier(item, modifier, found, start)


def _of_modifier(item: Any, modifier: Any, found: Evaluated, start: int) -> Iterator[Simulation]:
    if modifier.type in PHYSICS:
        kind, press = PHYSICS[modifier.type]
        for cache in point_caches(modifier):
            yield Simulation(item.name, kind, press, point_cache(cache, item))
    elif modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN":
        cache = fluid_cache(modifier.domain_settings, item)
        yield Simulation(item.name, "fluid", "Physics > Fluid > Cache > Bake", cache)
    elif modifier.type == "PARTICLE_SYSTEM":
        yield from _particles(item, modifier.particle_system, found)
    elif modifier.type == "NODES":
        yield from _zones(item, modifier, start)


def _particles(item: Any, system: Any, found: Evaluated) -> Iterator[Simulation]:
    settings, cache = system.settings, point_cache(system.point_cache, item)
    # Without physics, and along keys, Blender places particles for each frame by itself.
    moves = settings.type == "EMITTER" and settings.physics_type not in {"NO", "KEYED"} and settings.count
    if moves and _particles_matter(item, settings, found):
        yield Simulation(item.name, "particles", "Particles > Cache > Bake", cache)
    elif settings.type == "HAIR" and system.use_hair_dynamics:
        yield Simulation(item.name, "hair dynamics", "Particles > Hair Dynamics > Cache > Bake", cache)


def _particles_matter(item: Any, settings: Any, found: Evaluated) -> bool:
    """Whether particles are drawn, or move something that is."""
    drawn = settings.render_type != "NONE" or is_animated(settings, "render_type")
    fields = (settings.force_field_1, settings.force_field_2)
    pushes = any(one is not None and one.type != "NONE" for one in fields)
    users = (modifier.type for other in found.objects.values() for modifier in other.modifiers)
    return drawn or pushes or any(kind in USES_PARTICLES for kind in users)


def _zones(item: Any, modifier: Any, scene_start: int) -> Iterator[Simulation]:
    """The simulation zones of a Geometry Nodes modifier; nested ones have a bake for each use."""
    states = [(one.node, nodes_bake(modifier, one, item, _start(one, scene_start))) for one in modifier.bakes]
    for zone in simulation_zones(modifier.node_group, _Baked(states)):
        known = [state for node, state in states if node == zone]
        for cache in known or [Cache(False, scene_start)]:
            yield Simulation(item.name, "simulation nodes", "Object > Animation > Bake Simulation", cache)


class _Baked:
    """Answers whether a Bake node gives what was baked, so that what leads to it is not evaluated."""

    def __init__(self, states: list[tuple[Any, Cache]]) -> None:
        self._states = states

    def __call__(self, node: Any) -> bool:
        known = [state.baked for one, state in self._states if one == node]
        return node.bl_idname == "GeometryNodeBake" and bool(known) and all(known)


def cache_folders(found: Evaluated, simulated: list[Simulation]) -> list[dict[str, Any]]:
    """The folders that caches and bakes are read from, those of Bake nodes too, each once, as assets."""
    assets = [one.asset() for one in simulated if one.cache.folder]
    for item in found.objects.values():
        for modifier in item.modifiers:
            for bake in modifier.bakes if modifier.type == "NODES" else ():
                cache = nodes_bake(modifier, bake, item, 0)
                if cache.folder:
                    assets.append(Simulation(item.name, "", "", cache).asset())
    return list({asset["path"]: asset for asset in assets}.values())


def _start(bake: Any, scene_start: int) -> int:
    return int(bake.frame_start) if bake.use_custom_simulation_frame_range else scene_start

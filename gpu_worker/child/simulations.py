# SPDX-License-Identifier: GPL-3.0-or-later
"""Physics and simulation zones: what must be baked before frames can be rendered in any order."""

from collections.abc import Iterator
from typing import Any

from gpu_worker.child.names import text


def simulations(scene: Any) -> Iterator[dict[str, Any]]:
    """Every physics system and simulation zone, and whether its result travels with the file."""
    world = scene.rigidbody_world
    if world and world.enabled and world.collection and len(world.collection.objects):
        yield _simulation("Rigid Body World", "rigid body", world.point_cache.is_baked)
    for item in scene.objects:
        for modifier in item.modifiers:
            if modifier.show_render:
                yield from _modifier_simulations(item, modifier)


def _simulation(owner: str, kind: str, baked: bool) -> dict[str, Any]:
    return {"owner": text(owner), "kind": kind, "baked": bool(baked)}


def _modifier_simulations(item: Any, modifier: Any) -> Iterator[dict[str, Any]]:
    if modifier.type in {"CLOTH", "SOFT_BODY"}:
        yield _simulation(item.name, modifier.type.lower(), modifier.point_cache.is_baked)
    elif modifier.type == "DYNAMIC_PAINT" and modifier.canvas_settings:
        surfaces = modifier.canvas_settings.canvas_surfaces
        yield _simulation(item.name, "dynamic paint", all(s.point_cache.is_baked for s in surfaces))
    elif modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN":
        yield _simulation(item.name, "fluid", modifier.domain_settings.has_cache_baked_data)
    elif modifier.type == "PARTICLE_SYSTEM":
        yield from _particles(item, modifier.particle_system)
    elif (
        modifier.type == "NODES" and modifier.node_group and _has_simulation_zone(modifier.node_group, set())
    ):
        yield _simulation(item.name, "simulation nodes", _nodes_baked(modifier))


def _particles(item: Any, system: Any) -> Iterator[dict[str, Any]]:
    settings = system.settings
    if settings.type == "EMITTER" and settings.physics_type != "NO":
        yield _simulation(item.name, "particles", system.point_cache.is_baked)
    elif settings.type == "HAIR" and system.use_hair_dynamics:
        yield _simulation(item.name, "hair dynamics", system.point_cache.is_baked)


def _has_simulation_zone(tree: Any, seen: set[str]) -> bool:
    if tree.name_full in seen:
        return False
    seen.add(tree.name_full)
    for node in tree.nodes:
        if node.bl_idname == "GeometryNodeSimulationOutput":
            return True
        group = getattr(node, "node_tree", None)
        if group is not None and _has_simulation_zone(group, seen):
            return True
    return False


def _nodes_baked(modifier: Any) -> bool:
    """Whether a bake of the zones is packed into the file (a bake on disk does not travel)."""
    bakes = list(modifier.bakes)
    return bool(bakes) and all(bake.bake_target == "PACKED" for bake in bakes)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulations: baked, played, unbaked, and those whose picture needs no bake."""

import bpy

from tests.variants.evaluated import collected, instance, moved, other_scene, shows
from tests.variants.stage import FINAL, LINEAR, REFUSED, material, variant

SHEET = 6
LAST = 6


def flag(name="flag"):
    """A sheet of cloth above the stage, held by one edge."""
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=SHEET, y_subdivisions=SHEET, size=1.4, location=(0, 0, 2))
    sheet = bpy.context.object
    sheet.name = name
    sheet.data.materials.append(material("red", (0.8, 0.1, 0.1), 0.5))
    sheet.vertex_groups.new(name="pin").add(range(SHEET + 1), 1.0, "ADD")
    return sheet


def cloth(scene, name="flag"):
    sheet = flag(name)
    modifier = sheet.modifiers.new("cloth", "CLOTH")
    modifier.settings.vertex_group_mass = "pin"
    modifier.point_cache.frame_end = LAST
    return sheet, modifier.point_cache


def bake(scene, item, cache):
    """Bake one physics cache into the file."""
    with bpy.context.temp_override(scene=scene, object=item, active_object=item, point_cache=cache):
        bpy.ops.ptcache.bake(bake=True)
    scene.frame_set(1)


def play(scene, last=LAST):
    """Play the animation as in the viewport: caches keep what was seen."""
    for frame in range(1, last + 1):
        scene.frame_set(frame)
        bpy.context.evaluated_depsgraph_get()
    scene.frame_set(1)


def creep(item, name="creep"):
    """Geometry Nodes that lift the mesh a bit further each frame."""
    group = bpy.data.node_groups.new(name, "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    source, sink = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    begin = group.nodes.new("GeometryNodeSimulationInput")
    end = group.nodes.new("GeometryNodeSimulationOutput")
    begin.pair_with_output(end)
    move = group.nodes.new("GeometryNodeSetPosition")
    move.inputs["Offset"].default_value = (0, 0, 0.2)
    group.links.new(source.outputs[0], begin.inputs["Geometry"])
    group.links.new(begin.outputs["Geometry"], move.inputs["Geometry"])
    group.links.new(move.outputs["Geometry"], end.inputs["Geometry"])
    group.links.new(end.outputs["Geometry"], sink.inputs[0])
    modifier = item.modifiers.new(name, "NODES")
    modifier.node_group = group
    return group, modifier


def bake_nodes(scene, item):
    scene.frame_end = LAST
    for other in bpy.context.view_layer.objects:
        other.select_set(other == item)
    bpy.context.view_layer.objects.active = item
    bpy.ops.object.simulation_nodes_cache_bake(selected=True)
    scene.frame_set(1)


def emitter(scene, physics="NEWTON"):
    box = bpy.data.objects["box"]
    system = box.modifiers.new("sparks", "PARTICLE_SYSTEM").particle_system
    settings = system.settings
    settings.count, settings.frame_start, settings.frame_end, settings.lifetime = 30, 1, 3, 20
    settings.physics_type = physics
    settings.render_type = "OBJECT"
    bpy.ops.mesh.primitive_cube_add(size=0.5, location=(0, 0, -5))
    settings.instance_object = bpy.context.object
    system.point_cache.frame_end = LAST
    return box, system


def falling(scene):
    """A box that falls as a rigid body."""
    bpy.ops.rigidbody.world_add()
    box = bpy.data.objects["box"]
    box.location.z = 2
    bpy.context.view_layer.objects.active = box
    bpy.ops.rigidbody.object_add(type="ACTIVE")
    scene.rigidbody_world.point_cache.frame_end = LAST
    return box


# --- physics --------------------------------------------------------------------------------------------


@variant(REFUSED, said="Physics > Cloth > Cache > Bake")
def cloth_unbaked(scene):
    cloth(scene)


@variant(LINEAR, frames=(5, 2))
def cloth_baked(scene):
    bake(scene, *cloth(scene))


@variant(LINEAR, frames=(5, 2))
def cloth_played_to_the_end(scene):
    """Never baked, but all of its frames were seen and kept, each exactly."""
    cloth(scene)
    play(scene)


@variant(REFUSED, frames=(5,), said="'flag' is not baked")
def cloth_played_half(scene):
    cloth(scene)
    play(scene, 3)


@variant(LINEAR, frames=(3, 2))
def cloth_played_as_far_as_is_rendered(scene):
    cloth(scene)
    play(scene, 3)


@variant(LINEAR, frames=(1,))
def cloth_at_its_first_frame(scene):
    cloth(scene)


@variant(LINEAR)
def cloth_hidden_for_renders(scene):
    sheet, _ = cloth(scene)
    sheet.hide_render = True


@variant(LINEAR)
def cloth_switched_off(scene):
    sheet, _ = cloth(scene)
    sheet.modifiers["cloth"].show_render = False


@variant(LINEAR)
def cloth_in_an_excluded_collection(scene):
    sheet, _ = cloth(scene)
    collected(scene, sheet)
    scene.view_layers[0].layer_collection.children["apart"].exclude = True


@variant(LINEAR)
def cloth_in_a_scene_nobody_shows(scene):
    sheet, _ = cloth(scene)
    moved(sheet, bpy.data.scenes.new("unused").collection)


@variant(REFUSED, said="'flag' is not baked")
def cloth_in_an_instanced_collection(scene):
    sheet, _ = cloth(scene)
    instance(scene, collected(scene, sheet, linked=False))


@variant(REFUSED, said="'flag' is not baked")
def cloth_in_the_other_scene(scene):
    sheet, _ = cloth(scene)
    other = other_scene()
    moved(sheet, other.collection)
    shows(scene, other)


@variant(REFUSED, said="'flag' is not baked")
def cloth_in_the_background_set(scene):
    sheet, _ = cloth(scene)
    other = bpy.data.scenes.new("set")
    moved(sheet, other.collection)
    scene.background_set = other


@variant(REFUSED, said="'flag' is not baked")
def cloth_that_cuts_a_visible_object(scene):
    """The cloth is hidden, but the floor is cut by it."""
    sheet, _ = cloth(scene)
    sheet.hide_render = True
    bpy.data.objects["Plane"].modifiers.new("cut", "BOOLEAN").object = sheet


@variant(REFUSED, said="'flag' is not baked")
def cloth_switched_on_by_a_key(scene):
    sheet, _ = cloth(scene)
    for frame, on in ((1, False), (3, True)):
        sheet.modifiers["cloth"].show_render = on
        sheet.keyframe_insert('modifiers["cloth"].show_render', frame=frame)


@variant(REFUSED, said="Physics > Soft Body > Cache > Bake")
def soft_body_unbaked(scene):
    flag().modifiers.new("soft", "SOFT_BODY")


@variant(LINEAR, frames=(5, 2))
def soft_body_baked(scene):
    sheet = flag()
    modifier = sheet.modifiers.new("soft", "SOFT_BODY")
    modifier.point_cache.frame_end = LAST
    bake(scene, sheet, modifier.point_cache)


@variant(REFUSED, said="Scene > Rigid Body World > Cache > Bake")
def rigid_body_unbaked(scene):
    falling(scene)


@variant(LINEAR, frames=(5, 2))
def rigid_body_baked(scene):
    bake(scene, falling(scene), scene.rigidbody_world.point_cache)


@variant(LINEAR)
def rigid_bodies_that_do_not_move(scene):
    falling(scene).rigid_body.type = "PASSIVE"


@variant(REFUSED, said="Particles > Cache > Bake")
def particles_unbaked(scene):
    emitter(scene)


@variant(LINEAR, frames=(5, 2))
def particles_baked(scene):
    box, system = emitter(scene)
    bake(scene, box, system.point_cache)


@variant(LINEAR, frames=(4, 2))
def particles_without_physics(scene):
    emitter(scene, "NO")


@variant(LINEAR)
def particles_nobody_sees(scene):
    _, system = emitter(scene)
    system.settings.render_type = "NONE"


@variant(LINEAR)
def particles_none(scene):
    _, system = emitter(scene)
    system.settings.count = 0


@variant(REFUSED, said="Particles > Hair Dynamics > Cache > Bake")
def hair_dynamics_unbaked(scene):
    ball = bpy.data.objects["ball"]
    system = ball.modifiers.new("hair", "PARTICLE_SYSTEM").particle_system
    system.settings.type, system.settings.count = "HAIR", 5
    system.use_hair_dynamics = True


@variant(LINEAR)
def hair_without_dynamics(scene):
    ball = bpy.data.objects["ball"]
    system = ball.modifiers.new("hair", "PARTICLE_SYSTEM").particle_system
    system.settings.type, system.settings.count = "HAIR", 30


@variant(REFUSED, said="Physics > Dynamic Paint > Cache > Bake")
def dynamic_paint_unbaked(scene):
    sheet = flag()
    modifier = sheet.modifiers.new("canvas", "DYNAMIC_PAINT")
    bpy.context.view_layer.objects.active = sheet
    bpy.ops.dpaint.type_toggle(type="CANVAS")
    modifier.canvas_settings.canvas_surfaces[0].surface_type = "WAVE"


@variant(REFUSED, said="Physics > Fluid > Cache > Bake")
def fluid_unbaked(scene):
    bpy.ops.mesh.primitive_cube_add(size=3, location=(0, 0, 1.5))
    modifier = bpy.context.object.modifiers.new("domain", "FLUID")
    modifier.fluid_type = "DOMAIN"
    modifier.domain_settings.resolution_max = 6


# --- simulation zones -----------------------------------------------------------------------------------


@variant(REFUSED, said="Object > Animation > Bake Simulation")
def zone_unbaked(scene):
    creep(bpy.data.objects["box"])


@variant(LINEAR, frames=(5, 2))
def zone_packed(scene):
    box = bpy.data.objects["box"]
    creep(box)
    bake_nodes(scene, box)


@variant(REFUSED, said="'box' is not baked")
def zone_set_to_packed_but_never_baked(scene):
    _, modifier = creep(bpy.data.objects["box"])
    for one in modifier.bakes:
        one.bake_target = "PACKED"


@variant(LINEAR, frames=(1,))
def zone_at_its_first_frame(scene):
    creep(bpy.data.objects["box"])


@variant(LINEAR, frames=(4, 2))
def zone_behind_a_muted_link(scene):
    group, _ = creep(bpy.data.objects["box"])
    for link in group.links:
        link.is_muted = link.to_node.bl_idname == "NodeGroupOutput"


@variant(LINEAR, frames=(4, 2))
def zone_that_leads_nowhere(scene):
    group, _ = creep(bpy.data.objects["box"])
    source, sink = group.nodes["Group Input"], group.nodes["Group Output"]
    group.links.new(source.outputs[0], sink.inputs[0])


@variant(REFUSED, said="'box' is not baked")
def zone_in_a_group(scene):
    inner, modifier = creep(bpy.data.objects["box"])
    outer = bpy.data.node_groups.new("outer", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        outer.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    source, sink = outer.nodes.new("NodeGroupInput"), outer.nodes.new("NodeGroupOutput")
    use = outer.nodes.new("GeometryNodeGroup")
    use.node_tree = inner
    outer.links.new(source.outputs[0], use.inputs[0])
    outer.links.new(use.outputs[0], sink.inputs[0])
    modifier.node_group = outer


@variant(FINAL)
def zone_unbaked_behind_strips(scene):
    """The sequencer makes the picture; the scene itself is not rendered."""
    creep(bpy.data.objects["box"])
    strip = scene.sequence_editor_create().strips.new_effect("red", "COLOR", 1, 1, length=10)
    strip.color = (0.7, 0.1, 0.1)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes part in the picture without being in the scene's lists, and what is listed and does not."""

import bpy

from tests.variants.stage import (
    APPROXIMATE,
    FINAL,
    LINEAR,
    REFUSED,
    WHOLE,
    compositor,
    settings,
    variant,
)

ZONE_START = (-2, -2, -1)


def smoke(name="smoke", density=0.4):
    """A material that is all volume."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    shader = tree.nodes.new("ShaderNodeVolumePrincipled")
    shader.inputs["Density"].default_value = density
    sink = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(shader.outputs[0], sink.inputs["Volume"])
    return made


def fog(scene):
    """A cube of smoke around everything."""
    bpy.ops.mesh.primitive_cube_add(size=6, location=(0, 0, 3))
    cube = bpy.context.object
    cube.name = "fog"
    cube.data.materials.append(smoke())
    return cube


def moved(item, collection):
    for owner in list(item.users_collection):
        owner.objects.unlink(item)
    collection.objects.link(item)


def collected(scene, item, name="apart", linked=True):
    """A collection of its own for `item`; not in the scene unless `linked`."""
    made = bpy.data.collections.new(name)
    moved(item, made)
    if linked:
        scene.collection.children.link(made)
    return made


def instance(scene, collection):
    empty = bpy.data.objects.new("instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", collection
    scene.collection.objects.link(empty)
    return empty


def other_scene(name="other", camera=True):
    """A second scene with the stage's things in it, seen from higher up."""
    other = bpy.data.scenes.new(name)
    settings(other)
    for item in ("Plane", "ball", "box", "Area"):
        other.collection.objects.link(bpy.data.objects[item])
    other.world = bpy.data.worlds["sky"]
    if camera:
        made = bpy.data.objects.new("above", bpy.data.cameras.new("above"))
        made.location, made.rotation_euler = (0, -3, 6), (0.5, 0, 0)
        other.collection.objects.link(made)
        other.camera = made
    return other


def shows(scene, other):
    """The compositor mixes both scenes."""
    tree, layers, sink = compositor(scene)
    second = tree.nodes.new("CompositorNodeRLayers")
    second.scene = other
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    tree.links.new(layers.outputs["Image"], mix.inputs["A"])
    tree.links.new(second.outputs["Image"], mix.inputs["B"])
    tree.links.new(mix.outputs["Result"], sink.inputs["Image"])


def strips(scene):
    return (scene.sequence_editor or scene.sequence_editor_create()).strips


def colour_strip(scene, channel=1):
    made = strips(scene).new_effect("red", "COLOR", channel=channel, frame_start=1, length=10)
    made.color = (0.7, 0.1, 0.1)
    return made


def bare(scene):
    """No camera anywhere."""
    bpy.data.objects.remove(bpy.data.objects["Camera"])
    scene.camera = None


def nodes(item, *kinds):
    """A Geometry Nodes modifier: the object's own geometry joined with what the last of `kinds` makes."""
    group = bpy.data.node_groups.new("made", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    source, sink = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    made = [group.nodes.new(kind) for kind in kinds]
    join = group.nodes.new("GeometryNodeJoinGeometry")
    group.links.new(source.outputs[0], join.inputs[0])
    group.links.new(join.outputs[0], sink.inputs[0])
    item.modifiers.new("made", "NODES").node_group = group
    return group, made, join


def foggy_nodes(item):
    """Geometry Nodes that put a block of smoke beside the object's own geometry."""
    group, (cube, setter), join = nodes(item, "GeometryNodeVolumeCube", "GeometryNodeSetMaterial")
    cube.inputs["Min"].default_value, cube.inputs["Max"].default_value = ZONE_START, (2, 2, 2)
    for axis in "XYZ":
        cube.inputs[f"Resolution {axis}"].default_value = 8
    setter.inputs["Material"].default_value = smoke()
    group.links.new(cube.outputs["Volume"], setter.inputs["Geometry"])
    link = group.links.new(setter.outputs[0], join.inputs[0])
    return group, link


# --- volumes that the lists do not show ---------------------------------------------------------------


@variant(WHOLE)
def fog_in_an_instanced_collection(scene):
    instance(scene, collected(scene, fog(scene), linked=False))


@variant(WHOLE)
def fog_in_an_instance_of_an_instance(scene):
    inner = collected(scene, fog(scene), "inner", linked=False)
    outer = bpy.data.collections.new("outer")
    empty = instance(scene, inner)
    moved(empty, outer)
    instance(scene, outer)


@variant(WHOLE)
def fog_by_geometry_nodes(scene):
    foggy_nodes(bpy.data.objects["ball"])


@variant(WHOLE, frames=(1, 4))
def fog_by_nodes_from_a_later_frame_on(scene):
    group, _ = foggy_nodes(bpy.data.objects["ball"])
    switch = group.nodes["Volume Cube"].inputs["Density"]
    for frame, value in ((1, 0.0), (3, 1.0)):
        switch.default_value = value
        switch.keyframe_insert("default_value", frame=frame)


@variant(WHOLE)
def fog_in_the_background_set(scene):
    other = bpy.data.scenes.new("set")
    moved(fog(scene), other.collection)
    scene.background_set = other


@variant(WHOLE)
def fog_in_a_layers_own_world(scene):
    world = bpy.data.worlds.new("mist")
    world.use_nodes = True
    tree = world.node_tree
    shader = tree.nodes.new("ShaderNodeVolumeScatter")
    shader.inputs["Density"].default_value = 0.05
    tree.links.new(shader.outputs[0], tree.nodes["World Output"].inputs["Volume"])
    scene.view_layers[0].world_override = world


@variant(WHOLE)
def fog_by_a_layers_material_override(scene):
    scene.view_layers[0].material_override = smoke(density=2.0)


@variant(WHOLE, frames=(1, 4))
def fog_that_appears_later(scene):
    cube = fog(scene)
    for frame, hidden in ((1, True), (3, False)):
        cube.hide_render = hidden
        cube.keyframe_insert("hide_render", frame=frame)


@variant(WHOLE)
def fog_hidden_in_the_viewport(scene):
    fog(scene).hide_viewport = True


@variant(WHOLE)
def fog_drawn_by_particles(scene):
    """Hair whose strands are drawn as a lump of smoke that stands nowhere itself."""
    lump = fog(scene)
    lump.scale = (0.1, 0.1, 0.1)
    collected(scene, lump, linked=False)
    system = bpy.data.objects["ball"].modifiers.new("hair", "PARTICLE_SYSTEM").particle_system
    system.settings.type = "HAIR"
    system.settings.count = 4
    system.settings.render_type = "OBJECT"
    system.settings.instance_object = lump


@variant(WHOLE)
def fog_in_a_group_of_shader_nodes(scene):
    made = smoke()
    inner = bpy.data.node_groups.new("inner", "ShaderNodeTree")
    inner.interface.new_socket("Volume", in_out="OUTPUT", socket_type="NodeSocketShader")
    shader, sink = inner.nodes.new("ShaderNodeVolumePrincipled"), inner.nodes.new("NodeGroupOutput")
    shader.inputs["Density"].default_value = 0.4
    inner.links.new(shader.outputs[0], sink.inputs[0])
    group = made.node_tree.nodes.new("ShaderNodeGroup")
    group.node_tree = inner
    made.node_tree.links.new(group.outputs[0], made.node_tree.nodes["Material Output"].inputs["Volume"])
    fog(scene).data.materials[0] = made


# --- what is there and takes no part ------------------------------------------------------------------


@variant(LINEAR)
def fog_hidden_for_renders(scene):
    fog(scene).hide_render = True


@variant(LINEAR)
def fog_in_an_excluded_collection(scene):
    collected(scene, fog(scene))
    scene.view_layers[0].layer_collection.children["apart"].exclude = True


@variant(LINEAR)
def fog_in_a_hidden_collection(scene):
    collected(scene, fog(scene)).hide_render = True


@variant(LINEAR)
def fog_in_a_scene_nobody_shows(scene):
    moved(fog(scene), bpy.data.scenes.new("unused").collection)


@variant(WHOLE)
def fog_by_nodes_switched_off(scene):
    """The material still belongs to what is evaluated; a whole frame is right in any case."""
    foggy_nodes(bpy.data.objects["ball"])
    bpy.data.objects["ball"].modifiers["made"].show_render = False


@variant(WHOLE)
def fog_by_a_muted_link(scene):
    """The material still belongs to what is evaluated; a whole frame is right in any case."""
    _, link = foggy_nodes(bpy.data.objects["ball"])
    link.is_muted = True


@variant(LINEAR)
def catcher_hidden_and_denoised(scene):
    scene.cycles.use_denoising = True
    bpy.ops.mesh.primitive_plane_add(size=3)
    bpy.context.object.is_shadow_catcher = True
    bpy.context.object.hide_render = True


@variant(LINEAR)
def subdivision_of_a_hidden_object(scene):
    bpy.ops.mesh.primitive_cube_add(size=1)
    bpy.context.object.modifiers.new("fine", "SUBSURF").use_adaptive_subdivision = True
    bpy.context.object.hide_render = True


@variant(LINEAR)
def freestyle_in_a_scene_nobody_shows(scene):
    other_scene().render.use_freestyle = True


@variant(LINEAR)
def freestyle_without_a_layer_that_draws_it(scene):
    scene.render.use_freestyle = True
    scene.view_layers[0].use_freestyle = False


@variant(FINAL)
def other_scene_behind_a_muted_node(scene):
    shows(scene, other_scene(camera=False))
    scene.compositing_node_group.nodes["Render Layers.001"].mute = True


# --- catchers and subdivision -------------------------------------------------------------------------


@variant(FINAL)
def catcher_instanced_and_denoised(scene):
    scene.cycles.use_denoising = True
    bpy.ops.mesh.primitive_plane_add(size=3, location=(0, 0, 0.01))
    catcher = bpy.context.object
    catcher.is_shadow_catcher = True
    instance(scene, collected(scene, catcher, linked=False))


@variant(WHOLE)
def subdivision_in_an_instanced_collection(scene):
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.4, location=(0, -1, 0.5))
    item = bpy.context.object
    item.modifiers.new("fine", "SUBSURF").use_adaptive_subdivision = True
    instance(scene, collected(scene, item, linked=False))


# --- other scenes -------------------------------------------------------------------------------------


@variant(FINAL)
def other_scene_in_the_compositor(scene):
    shows(scene, other_scene())


@variant(FINAL)
def only_the_other_scene(scene):
    tree, layers, sink = compositor(scene)
    layers.scene = other_scene()
    tree.links.new(layers.outputs["Image"], sink.inputs["Image"])


@variant(REFUSED, said="a scene that has no camera")
def other_scene_without_a_camera(scene):
    shows(scene, other_scene(camera=False))


@variant(REFUSED, said="in the scene 'other'")
def freestyle_in_the_compositors_other_scene(scene):
    other = other_scene()
    other.render.use_freestyle = True
    shows(scene, other)


@variant(REFUSED, said="in the scene 'other'")
def freestyle_in_a_scene_strip(scene):
    other = other_scene()
    other.render.use_freestyle = True
    strips(scene).new_scene("strip", other, channel=1, frame_start=1)


@variant(REFUSED, said="in the scene 'third'")
def freestyle_behind_a_strips_compositor(scene):
    other, third = other_scene(), other_scene("third")
    third.render.use_freestyle = True
    shows(other, third)
    strips(scene).new_scene("strip", other, channel=1, frame_start=1)


@variant(FINAL)
def freestyle_in_a_muted_strip(scene):
    other = other_scene()
    other.render.use_freestyle = True
    strips(scene).new_scene("strip", other, channel=2, frame_start=1).mute = True
    colour_strip(scene)


@variant(LINEAR)
def freestyle_in_the_background_set(scene):
    """A set gives its objects, not its settings."""
    other = bpy.data.scenes.new("set")
    other.render.use_freestyle = True
    bpy.ops.mesh.primitive_cube_add(size=0.6, location=(-1.5, 1, 0.3))
    moved(bpy.context.object, other.collection)
    scene.background_set = other


@variant(APPROXIMATE, said="BLENDER_WORKBENCH")
def workbench_in_the_other_scene(scene):
    other = other_scene()
    other.render.engine = "BLENDER_WORKBENCH"
    shows(scene, other)


@variant(APPROXIMATE, said="Path guiding")
def guiding_in_the_other_scene(scene):
    other = other_scene()
    other.cycles.use_guiding = True
    shows(scene, other)


@variant(FINAL)
def scene_strip(scene):
    strips(scene).new_scene("strip", other_scene(), channel=1, frame_start=1)


@variant(FINAL)
def strips_of_another_scene(scene):
    other = bpy.data.scenes.new("edit")
    settings(other)
    colour_strip(other)
    strips(scene).new_scene("strip", other, channel=1, frame_start=1).scene_input = "SEQUENCER"


# --- pictures that need no camera ---------------------------------------------------------------------


@variant(FINAL)
def sequencer_without_a_camera(scene):
    bare(scene)
    colour_strip(scene)


@variant(FINAL)
def sequencer_of_a_scene_set_to_eevee(scene):
    """Nothing is drawn in 3D, so the engine does not matter."""
    bare(scene)
    scene.render.engine = "BLENDER_EEVEE"
    colour_strip(scene)


@variant(FINAL)
def compositor_without_a_camera(scene):
    bare(scene)
    tree, layers, sink = compositor(scene)
    tree.nodes.remove(layers)
    colour = tree.nodes.new("CompositorNodeRGB")
    tree.links.new(colour.outputs[0], sink.inputs["Image"])


@variant(REFUSED, said="has no camera")
def strips_all_muted_without_a_camera(scene):
    bare(scene)
    colour_strip(scene).mute = True


@variant(FINAL)
def no_layer_renders(scene):
    scene.view_layers[0].use = False


@variant(LINEAR)
def camera_by_markers_only(scene):
    scene.timeline_markers.new("one", frame=2).camera = scene.camera
    scene.camera = None


@variant(LINEAR, frames=(1,))
def camera_of_a_marker_to_come(scene):
    scene.timeline_markers.new("one", frame=5).camera = scene.camera
    scene.camera = None


@variant(LINEAR)
def infinite_custom_pass(scene):
    aov = scene.view_layers[0].aovs.add()
    aov.name = "ratio"
    tree = bpy.data.materials["gold"].node_tree
    power = tree.nodes.new("ShaderNodeVectorMath")
    power.operation = "MULTIPLY"
    power.inputs[0].default_value = power.inputs[1].default_value = (1e30, 1e30, 1e30)
    out = tree.nodes.new("ShaderNodeOutputAOV")
    out.aov_name = aov.name
    tree.links.new(power.outputs[0], out.inputs["Color"])

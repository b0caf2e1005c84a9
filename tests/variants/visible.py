# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes that read what a farm might change: the range of frames, layers, sizes, nodes."""

import bpy

from tests.variants.composited import bloom
from tests.variants.layered import second_layer
from tests.variants.stage import APPROXIMATE, FINAL, LINEAR, compositor, variant


def read_by(owner, path, scene, read, expression, index=-1):
    """Drive `path` by a setting of the scene's, called `value` in the expression."""
    curve = owner.driver_add(path) if index < 0 else owner.driver_add(path, index)
    variable = curve.driver.variables.new()
    variable.name, variable.type = "value", "SINGLE_PROP"
    variable.targets[0].id_type, variable.targets[0].id = "SCENE", scene
    variable.targets[0].data_path = read
    curve.driver.type, curve.driver.expression = "SCRIPTED", expression


def mixed(scene):
    """A compositor that fades to red by a driven factor."""
    tree, layers, sink = compositor(scene)
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    mix.inputs["B"].default_value = (1, 0, 0, 1)
    tree.links.new(layers.outputs["Image"], mix.inputs["A"])
    tree.links.new(mix.outputs["Result"], sink.inputs["Image"])
    return tree


@variant(LINEAR, frames=(4, 7))
def last_frame_drives_an_object(scene):
    read_by(bpy.data.objects["box"], "scale", scene, "frame_end", "frame / value", 2)


@variant(LINEAR, frames=(4, 7))
def first_frame_drives_the_compositor(scene):
    scene.frame_start = 2
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, "frame_start", "value / frame")


@variant(LINEAR, frames=(4, 7))
def last_frame_drives_the_compositor(scene):
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, "frame_end", "frame / value")


@variant(LINEAR)
def frame_step_drives_the_compositor(scene):
    scene.frame_step = 3
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, "frame_step", "value / 5")


@variant(LINEAR)
def a_layer_drives_the_compositor(scene):
    """The layer that renders counts as 1."""
    second_layer(scene)
    read = 'view_layers["Boxes"].use'
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, read, "value * 0.3")


@variant(LINEAR)
def samples_drive_the_compositor(scene):
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, "cycles.samples", "value / 20")


@variant(FINAL, said="use_denoising")
def denoising_drives_the_compositor(scene):
    scene.cycles.use_denoising = True
    read = "cycles.use_denoising"
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, read, "value * 0.4")


@variant(LINEAR)
def size_drives_the_compositor(scene):
    read = "render.resolution_percentage"
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, read, "value / 400")


@variant(FINAL, said="use_border")
def border_drives_an_object(scene):
    read_by(bpy.data.objects["box"], "location", scene, "render.use_border", "value + 0.5", 2)


@variant(FINAL, said="use_compositing")
def compositing_drives_a_material(scene):
    tree = bpy.data.materials["gold"].node_tree
    read_by(
        tree,
        'nodes["Principled BSDF"].inputs["Roughness"].default_value',
        scene,
        "render.use_compositing",
        "value / 2",
    )


@variant(FINAL, said="film_exposure")
def exposure_drives_a_light_by_a_custom_property(scene):
    scene.cycles.use_denoising = True
    scene["mine"] = 1.0
    read_by(scene, '["mine"]', scene, "cycles.film_exposure", "value * 100")
    read_by(bpy.data.lights[0], "energy", scene, '["mine"]', "value * 2")


@variant(FINAL, said="color_depth")
def format_drives_the_world(scene):
    tree = scene.world.node_tree
    path = 'nodes["Background"].inputs["Strength"].default_value'
    read_by(tree, path, scene, "render.image_settings.color_depth", "value / 8")


@variant(FINAL, said="use_border")
def border_of_the_active_scene_drives_an_object(scene):
    curve = bpy.data.objects["box"].driver_add("location", 2)
    variable = curve.driver.variables.new()
    variable.name, variable.type = "value", "CONTEXT_PROP"
    variable.targets[0].context_property = "ACTIVE_SCENE"
    variable.targets[0].data_path = "render.use_border"
    curve.driver.expression = "value + 0.5"


@variant(FINAL, said="use_denoising")
def denoising_shades_a_material(scene):
    """An Attribute node looks settings up in the view layer, then in the scene."""
    scene.cycles.use_denoising = True
    tree = bpy.data.materials["gold"].node_tree
    node = tree.nodes.new("ShaderNodeAttribute")
    node.attribute_type, node.attribute_name = "VIEW_LAYER", "cycles.use_denoising"
    tree.links.new(node.outputs["Fac"], tree.nodes["Principled BSDF"].inputs["Roughness"])


@variant(APPROXIMATE, said="threads")
def threads_drive_an_object(scene):
    read_by(bpy.data.objects["box"], "location", scene, "render.threads", "value / 64", 2)


@variant(APPROXIMATE, said="engine")
def engine_drives_the_compositor(scene):
    """A number among all engines that are installed."""
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, "render.engine", "value / 5")


@variant(LINEAR, frames=(4, 7))
def scene_time(scene):
    tree = mixed(scene)
    time = tree.nodes.new("CompositorNodeSceneTime")
    divide = tree.nodes.new("ShaderNodeMath")
    divide.operation = "DIVIDE"
    divide.inputs[1].default_value = 10
    tree.links.new(time.outputs["Frame"], divide.inputs[0])
    tree.links.new(divide.outputs[0], tree.nodes["Mix"].inputs[0])


@variant(LINEAR, frames=(-2, 0))
def frames_below_zero(scene):
    scene.frame_start, scene.frame_end = -2, 0
    bloom(scene)


@variant(FINAL)
def stamped_range(scene):
    """Frame, range, camera, lens and scene are burnt into the picture."""
    render = scene.render
    for field in ("date", "time", "render_time", "filename", "hostname", "memory"):
        setattr(render, f"use_stamp_{field}", False)
    for field in ("frame", "frame_range", "camera", "lens", "scene", "marker", "note"):
        setattr(render, f"use_stamp_{field}", True)
    render.use_stamp, render.stamp_font_size = True, 8
    render.resolution_x = 160

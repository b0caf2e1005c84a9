# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes that read what a farm might change: the range of frames, layers, sizes, nodes."""

import bpy

from tests.variants.composited import bloom
from tests.variants.layered import second_layer
from tests.variants.stage import FINAL, LINEAR, compositor, variant


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


@variant(LINEAR)
def denoising_drives_the_compositor(scene):
    scene.cycles.use_denoising = True
    read = "cycles.use_denoising"
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, read, "value * 0.4")


@variant(LINEAR)
def size_drives_the_compositor(scene):
    read = "render.resolution_percentage"
    read_by(mixed(scene), 'nodes["Mix"].inputs[0].default_value', scene, read, "value / 400")


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras, coordinates and shaders for which it might matter where in the frame a pixel lies."""

import bpy

from tests.variants.stage import LINEAR, variant


def fed(name, kind, output, target):
    """A new node in a material feeds an input of its shader."""
    tree = bpy.data.materials[name].node_tree
    node = tree.nodes.new(kind)
    tree.links.new(node.outputs[output], tree.nodes["Principled BSDF"].inputs[target])
    return node


@variant(LINEAR)
def rolling_shutter(scene):
    scene.render.use_motion_blur = True
    scene.cycles.rolling_shutter_type = "TOP"
    scene.cycles.rolling_shutter_duration = 0.1


@variant(LINEAR)
def rolling_shutter_in_a_cropped_border(scene):
    rolling_shutter(scene)
    scene.render.use_border = scene.render.use_crop_to_border = True
    scene.render.border_min_y, scene.render.border_max_y = 0.1, 0.8


@variant(LINEAR)
def window_and_camera_coordinates(scene):
    fed("floor", "ShaderNodeTexCoord", "Window", "Base Color")
    fed("gold", "ShaderNodeTexCoord", "Camera", "Base Color")
    fed("blue", "ShaderNodeCameraData", "View Z Depth", "Roughness")


@variant(LINEAR)
def window_coordinates_of_the_world(scene):
    tree = scene.world.node_tree
    node = tree.nodes.new("ShaderNodeTexCoord")
    tree.links.new(node.outputs["Window"], tree.nodes["Background"].inputs["Color"])


@variant(LINEAR)
def culled_by_the_camera(scene):
    scene.render.use_simplify = scene.cycles.use_camera_cull = True
    scene.cycles.camera_cull_margin = 0
    for item in bpy.data.objects:
        item.cycles.use_camera_cull = True


@variant(LINEAR)
def bevel_and_ambient_occlusion(scene):
    fed("blue", "ShaderNodeBevel", "Normal", "Normal")
    fed("blue", "ShaderNodeAmbientOcclusion", "Color", "Base Color")


@variant(LINEAR)
def subsurface_and_caustics(scene):
    shader = bpy.data.materials["gold"].node_tree.nodes["Principled BSDF"]
    shader.inputs["Metallic"].default_value = 0.0
    shader.inputs["Subsurface Weight"].default_value = 1.0
    bpy.data.objects["Plane"].cycles.is_caustics_receiver = True
    bpy.data.objects["ball"].cycles.is_caustics_caster = True


@variant(LINEAR)
def scrambling_distance(scene):
    scene.cycles.sampling_pattern = "TABULATED_SOBOL"
    scene.cycles.auto_scrambling_distance = True
    scene.cycles.scrambling_distance = 0.3


@variant(LINEAR)
def fisheye(scene):
    scene.camera.data.type, scene.camera.data.panorama_type = "PANO", "FISHEYE_EQUISOLID"


@variant(LINEAR)
def oblong_pixels_and_shifted_lens(scene):
    scene.render.pixel_aspect_y = 1.5
    scene.camera.data.sensor_fit = "VERTICAL"
    scene.camera.data.shift_y = 0.2


@variant(LINEAR)
def bladed_aperture(scene):
    dof = scene.camera.data.dof
    dof.use_dof, dof.aperture_fstop, dof.aperture_blades, dof.aperture_ratio = True, 0.2, 5, 2.0


@variant(LINEAR)
def hair_as_strips(scene):
    scene.render.hair_type = "STRIP"
    settings = bpy.data.objects["ball"].modifiers.new("hair", "PARTICLE_SYSTEM").particle_system.settings
    settings.type, settings.count = "HAIR", 60


@variant(LINEAR)
def true_displacement(scene):
    made = bpy.data.materials["gold"]
    made.displacement_method = "DISPLACEMENT"
    tree = made.node_tree
    noise, displace = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeDisplacement")
    tree.links.new(noise.outputs[0], displace.inputs["Height"])
    tree.links.new(displace.outputs[0], tree.nodes["Material Output"].inputs["Displacement"])


@variant(LINEAR)
def fast_global_illumination(scene):
    scene.cycles.use_fast_gi = True


@variant(LINEAR)
def held_out(scene):
    bpy.data.objects["box"].is_holdout = True
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"

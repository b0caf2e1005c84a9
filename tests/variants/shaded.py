# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects and shaders that look beyond their own pixels."""

import bpy

from tests.variants.stage import FINAL, LINEAR, WHOLE, variant


@variant(WHOLE)
def volume(scene):
    made = bpy.data.materials.new("smoke")
    made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    shader = tree.nodes.new("ShaderNodeVolumePrincipled")
    sink = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(shader.outputs[0], sink.inputs["Volume"])
    bpy.ops.mesh.primitive_cube_add(size=6, location=(0, 0, 3))
    bpy.context.object.data.materials.append(made)


@variant(FINAL, said="film exposure")
def volume_denoised(scene):
    """Only floats show it: they differ in the last bits."""
    volume(scene)
    scene.cycles.use_denoising = True
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "32"


@variant(LINEAR)
def shadow_catcher(scene):
    scene.render.film_transparent = True
    bpy.data.objects["Plane"].is_shadow_catcher = True
    scene.render.image_settings.color_mode = "RGBA"


@variant(FINAL)
def shadow_catcher_denoised(scene):
    shadow_catcher(scene)
    scene.cycles.use_denoising = True


@variant(WHOLE)
def adaptive_subdivision(scene):
    ball = bpy.data.objects["ball"]
    modifier = ball.modifiers.new("fine", "SUBSURF")
    modifier.use_adaptive_subdivision = True

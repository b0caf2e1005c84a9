# SPDX-License-Identifier: GPL-3.0-or-later
"""Compositors."""

import bpy

from tests.variants.stage import FINAL, LINEAR, compositor, variant


@variant(LINEAR)
def bloom(scene):
    tree, layers, sink = compositor(scene)
    glare = tree.nodes.new("CompositorNodeGlare")
    glare.inputs["Threshold"].default_value = 0.4
    blur = tree.nodes.new("CompositorNodeBlur")
    blur.inputs["Size"].default_value = (3, 3)
    tree.links.new(layers.outputs["Image"], glare.inputs["Image"])
    tree.links.new(glare.outputs["Image"], blur.inputs["Image"])
    tree.links.new(blur.outputs["Image"], sink.inputs["Image"])


@variant(LINEAR)
def bloom_denoised(scene):
    scene.cycles.use_denoising = True
    bloom(scene)


@variant(LINEAR)
def alpha_and_depth(scene):
    """The compositor mixes by alpha and by a normalised depth."""
    scene.render.film_transparent = True
    scene.view_layers[0].use_pass_z = True
    scene.view_layers[0].use_pass_mist = True
    tree, layers, sink = compositor(scene)
    over = tree.nodes.new("CompositorNodeAlphaOver")
    over.inputs["Background"].default_value = (0.6, 0.1, 0.2, 1)
    tree.links.new(layers.outputs["Image"], over.inputs["Foreground"])
    tree.links.new(layers.outputs["Alpha"], over.inputs["Factor"])
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    tree.links.new(layers.outputs["Mist"], mix.inputs["Factor"])
    tree.links.new(over.outputs["Image"], mix.inputs["A"])
    tree.links.new(mix.outputs["Result"], sink.inputs["Image"])


@variant(FINAL)
def grouped_compositor(scene):
    """Render Layers inside a node group."""
    inner = bpy.data.node_groups.new("Inner", "CompositorNodeTree")
    inner.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    source = inner.nodes.new("CompositorNodeRLayers")
    source.scene = scene
    sink = inner.nodes.new("NodeGroupOutput")
    gamma = inner.nodes.new("ShaderNodeGamma")
    gamma.inputs["Gamma"].default_value = 1.4
    inner.links.new(source.outputs["Image"], gamma.inputs["Color"])
    inner.links.new(gamma.outputs["Color"], sink.inputs["Image"])
    tree, layers, out = compositor(scene)
    tree.nodes.remove(layers)
    group = tree.nodes.new("CompositorNodeGroup")
    group.node_tree = inner
    tree.links.new(group.outputs[0], out.inputs["Image"])


@variant(FINAL)
def grouped_without_scene(scene):
    """Render Layers in a group, of no scene: Blender writes black."""
    grouped_compositor(scene)
    bpy.data.node_groups["Inner"].nodes["Render Layers"].scene = None


@variant(LINEAR)
def light_groups_and_aov(scene):
    layer = scene.view_layers[0]
    layer.use_pass_diffuse_direct = True
    layer.use_pass_glossy_indirect = True
    layer.use_pass_vector = True
    layer.use_pass_object_index = True
    tree, layers, sink = compositor(scene)
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    mix.blend_type = "ADD"
    tree.links.new(layers.outputs["Diffuse Direct"], mix.inputs["A"])
    tree.links.new(layers.outputs["Glossy Indirect"], mix.inputs["B"])
    blur = tree.nodes.new("CompositorNodeVecBlur")
    layer.use_pass_z = True
    tree.links.new(mix.outputs["Result"], blur.inputs["Image"])
    tree.links.new(layers.outputs["Depth"], blur.inputs["Z"])
    tree.links.new(layers.outputs["Vector"], blur.inputs["Speed"])
    tree.links.new(blur.outputs["Image"], sink.inputs["Image"])


@variant(LINEAR)
def all_set_to_gpu(scene):
    """Cycles' denoising, the compositor, and the denoising in it."""
    scene.cycles.use_denoising = scene.cycles.denoising_use_gpu = True
    tree, layers, sink = compositor(scene)
    denoise = tree.nodes.new("CompositorNodeDenoise")
    tree.links.new(layers.outputs["Image"], denoise.inputs["Image"])
    tree.links.new(denoise.outputs["Image"], sink.inputs["Image"])
    scene.render.compositor_device = scene.render.compositor_denoise_device = "GPU"


@variant(LINEAR)
def own_denoise_node(scene):
    """The artist denoises in the compositor, with the passes stored by the scene."""
    scene.view_layers[0].cycles.denoising_store_passes = True
    tree, layers, sink = compositor(scene)
    denoise = tree.nodes.new("CompositorNodeDenoise")
    tree.links.new(layers.outputs["Image"], denoise.inputs["Image"])
    tree.links.new(layers.outputs["Denoising Albedo"], denoise.inputs["Albedo"])
    tree.links.new(layers.outputs["Denoising Normal"], denoise.inputs["Normal"])
    tree.links.new(denoise.outputs["Image"], sink.inputs["Image"])


@variant(FINAL, frames=(4, 5), said="another pass")
def depth_of_a_denoised_render_is_written(scene):
    scene.cycles.use_denoising = scene.view_layers[0].use_pass_z = True
    tree, layers, sink = compositor(scene)
    bpy.context.view_layer.update()
    tree.links.new(layers.outputs["Image"], sink.inputs["Image"])
    output = tree.nodes.new("CompositorNodeOutputFile")
    output.directory, output.file_name = "//depth/", "z_"
    output.format.media_type, output.format.file_format = "IMAGE", "OPEN_EXR"
    output.file_output_items.new("FLOAT", "z")
    tree.links.new(layers.outputs["Depth"], output.inputs["z"])


@variant(FINAL, frames=(4, 5), said="another pass")
def noisy_and_denoised(scene):
    """Both the denoised and the noisy picture are used."""
    scene.cycles.use_denoising = True
    scene.view_layers[0].cycles.denoising_store_passes = True
    tree, layers, sink = compositor(scene)
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    tree.links.new(layers.outputs["Image"], mix.inputs["A"])
    tree.links.new(layers.outputs["Noisy Image"], mix.inputs["B"])
    tree.links.new(mix.outputs["Result"], sink.inputs["Image"])


@variant(LINEAR)
def no_output(scene):
    """A compositor whose output is not connected: Blender writes the render as it is."""
    compositor(scene)

# SPDX-License-Identifier: GPL-3.0-or-later
"""View layers that do not store the same passes, which Blender does not survive when it is kept warm."""

import bpy

from tests.variants.layered import second_layer
from tests.variants.stage import LINEAR, compositor, variant


def custom_pass(layer, name, kind="COLOR"):
    made = layer.aovs.add()
    made.name, made.type = name, kind
    tree = bpy.data.materials["gold"].node_tree
    output = tree.nodes.new("ShaderNodeOutputAOV")
    output.aov_name = name
    output.inputs["Color"].default_value = (0.2, 0.5, 0.9, 1)
    output.inputs["Value"].default_value = 0.7


def written(scene, *feeds):
    """A File Output node of pictures: the layer, its pass, and what they are called."""
    tree, layers, sink = compositor(scene)
    tree.links.new(layers.outputs["Image"], sink.inputs["Image"])
    node = tree.nodes.new("CompositorNodeOutputFile")
    node.directory, node.file_name = "//out/", "p_####"
    node.format.media_type, node.format.file_format = "IMAGE", "OPEN_EXR"
    node.format.color_depth = "32"
    for layer, name, kind in feeds:
        source = tree.nodes.new("CompositorNodeRLayers")
        source.layer = layer.name
        bpy.context.view_layer.update()
        node.file_output_items.new(kind, f"{layer.name}{name}")
        tree.links.new(source.outputs[name], node.inputs[-1 if node.inputs[-1].name else -2])


@variant(LINEAR, frames=(4, 5))
def second_layers_custom_pass(scene):
    second = scene.view_layers.new("second")
    custom_pass(second, "mask")
    written(scene, (second, "mask", "RGBA"))


@variant(LINEAR, frames=(4, 5))
def first_layers_custom_pass(scene):
    first, second = scene.view_layers[0], scene.view_layers.new("second")
    custom_pass(first, "mask")
    written(scene, (first, "mask", "RGBA"), (second, "Image", "RGBA"))


@variant(LINEAR, frames=(4, 5))
def custom_passes_of_both_layers(scene):
    first, second = scene.view_layers[0], scene.view_layers.new("second")
    custom_pass(first, "one")
    custom_pass(second, "two", "VALUE")
    written(scene, (first, "one", "RGBA"), (second, "two", "FLOAT"))


@variant(LINEAR, frames=(4, 5))
def light_groups_of_layers(scene):
    first, second = scene.view_layers[0], scene.view_layers.new("second")
    first.lightgroups.add().name = "sky"
    second.lightgroups.add().name = "key"
    bpy.data.objects["Area"].lightgroup, scene.world.lightgroup = "key", "sky"
    written(scene, (first, "Combined_sky", "RGBA"), (second, "Combined_key", "RGBA"))


@variant(LINEAR, frames=(4, 5))
def passes_of_one_layer_only(scene):
    second = second_layer(scene)
    second.use_pass_normal = second.use_pass_diffuse_color = True
    written(scene, (second, "Normal", "VECTOR"), (second, "Diffuse Color", "RGBA"))


@variant(LINEAR, frames=(4, 5))
def cryptomatte_of_one_layer(scene):
    second = second_layer(scene)
    second.use_pass_cryptomatte_object = True
    written(scene, (second, "CryptoObject00", "RGBA"))

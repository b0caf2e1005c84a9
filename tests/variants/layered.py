# SPDX-License-Identifier: GPL-3.0-or-later
"""Several view layers."""

import bpy

from tests.variants.sampling import adaptive, cycles_tiles_adaptive
from tests.variants.stage import LINEAR, WHOLE, compositor, variant


def second_layer(scene):
    """A layer of its own for the box, excluded from the first."""
    collection = bpy.data.collections.new("boxes")
    scene.collection.children.link(collection)
    box = bpy.data.objects["box"]
    for owner in list(box.users_collection):
        owner.objects.unlink(box)
    collection.objects.link(box)
    layer = scene.view_layers.new("Boxes")
    for item in layer.layer_collection.children:
        item.exclude = False
    scene.view_layers[0].layer_collection.children["boxes"].exclude = True
    return layer


@variant(LINEAR)
def two_layers_uncomposited(scene):
    second_layer(scene)


@variant(LINEAR)
def layer_with_own_samples(scene):
    second_layer(scene).samples = 2


@variant(WHOLE)
def layers_with_own_samples_in_cycles_tiles(scene):
    """Of one layer fewer, of the other more than the scene's."""
    cycles_tiles_adaptive(scene)
    scene.cycles.use_layer_samples = "BOUNDED"
    second_layer(scene).samples = 40
    scene.view_layers[0].samples = 100


@variant(LINEAR)
def two_layers_cryptomatte_outputs(scene):
    scene.cycles.use_denoising = True
    scene.render.film_transparent = True
    layer = second_layer(scene)
    layer.cycles.use_denoising = False
    scene.view_layers[0].use_pass_cryptomatte_object = True
    tree, layers, sink = compositor(scene)
    layers.layer = scene.view_layers[0].name
    boxes = tree.nodes.new("CompositorNodeRLayers")
    boxes.layer = "Boxes"
    over = tree.nodes.new("CompositorNodeAlphaOver")
    tree.links.new(layers.outputs["Image"], over.inputs["Background"])
    tree.links.new(boxes.outputs["Image"], over.inputs["Foreground"])
    matte = tree.nodes.new("CompositorNodeCryptomatteV2")
    matte.source = "RENDER"
    matte.scene = scene
    matte.layer_name = scene.view_layers[0].name + ".CryptoObject"
    matte.matte_id = "ball"
    tree.links.new(layers.outputs["Image"], matte.inputs["Image"])
    output = tree.nodes.new("CompositorNodeOutputFile")
    output.directory = "//mattes/"
    output.file_name = "matte_####"
    output.format.media_type = "IMAGE"
    output.format.file_format = "PNG"
    output.file_output_items.new("FLOAT", "ball")
    output.file_output_items.new("RGBA", "boxes")
    tree.links.new(matte.outputs["Matte"], output.inputs["ball"])
    tree.links.new(boxes.outputs["Image"], output.inputs["boxes"])
    tree.links.new(over.outputs["Image"], sink.inputs["Image"])


@variant(LINEAR)
def two_layers_adaptive_denoised(scene):
    """Each layer counts its samples for itself."""
    two_layers_cryptomatte_outputs(scene)
    scene.view_layers["Boxes"].cycles.use_denoising = True
    adaptive(scene)
    scene.cycles.adaptive_threshold = 0.03
    scene.render.image_settings.color_depth = "16"

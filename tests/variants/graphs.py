# SPDX-License-Identifier: GPL-3.0-or-later
"""Compositors with links and nodes that are easily lost or brought to life."""

import bpy

from tests.variants.stage import FINAL, LINEAR, compositor, variant


def added(scene):
    """A compositor that adds the picture to itself by a link of its own."""
    tree, layers, sink = compositor(scene)
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type, mix.blend_type = "RGBA", "ADD"
    mix.inputs["Factor"].default_value = 1.0
    mix.inputs["B"].default_value = (0, 0, 0.2, 1)
    tree.links.new(layers.outputs["Image"], mix.inputs["A"])
    link = tree.links.new(layers.outputs["Image"], mix.inputs["B"])
    tree.links.new(mix.outputs["Result"], sink.inputs["Image"])
    return tree, layers, mix, link


@variant(LINEAR)
def muted_link(scene):
    *_, link = added(scene)
    link.is_muted = True


@variant(LINEAR)
def muted_link_denoised(scene):
    scene.cycles.use_denoising = True
    muted_link(scene)


@variant(LINEAR)
def muted_node(scene):
    _, _, mix, _ = added(scene)
    mix.mute = True


@variant(FINAL)
def muted_render_layers(scene):
    tree, _, mix, link = added(scene)
    tree.links.remove(link)
    other = tree.nodes.new("CompositorNodeRLayers")
    other.mute = True
    tree.links.new(other.outputs["Image"], mix.inputs["B"])


@variant(LINEAR)
def reroutes_and_frames(scene):
    tree, layers, mix, link = added(scene)
    tree.links.remove(link)
    frame = tree.nodes.new("NodeFrame")
    reroute = tree.nodes.new("NodeReroute")
    layers.parent = reroute.parent = frame
    tree.links.new(layers.outputs["Image"], reroute.inputs[0])
    tree.links.new(reroute.outputs[0], mix.inputs["B"])


@variant(LINEAR)
def group_fed_by_layers(scene):
    inner = bpy.data.node_groups.new("Inner", "CompositorNodeTree")
    for way in ("INPUT", "OUTPUT"):
        inner.interface.new_socket("Image", in_out=way, socket_type="NodeSocketColor")
    given, sink = inner.nodes.new("NodeGroupInput"), inner.nodes.new("NodeGroupOutput")
    blur = inner.nodes.new("CompositorNodeBlur")
    blur.inputs["Size"].default_value = (2, 2)
    inner.links.new(given.outputs[0], blur.inputs["Image"])
    inner.links.new(blur.outputs[0], sink.inputs[0])
    tree, layers, mix, link = added(scene)
    tree.links.remove(link)
    group = tree.nodes.new("CompositorNodeGroup")
    group.node_tree = inner
    tree.links.new(layers.outputs["Image"], group.inputs[0])
    tree.links.new(group.outputs[0], mix.inputs["B"])


@variant(LINEAR)
def viewer_beside(scene):
    tree, layers, *_ = added(scene)
    tree.links.new(layers.outputs["Image"], tree.nodes.new("CompositorNodeViewer").inputs[0])


@variant(LINEAR, frames=(3, 8))
def driven_socket(scene):
    tree, *_ = added(scene)
    curve = tree.driver_add('nodes["Mix"].inputs[0].default_value')
    curve.driver.expression = "frame / 10"


@variant(LINEAR)
def defocused_by_the_camera(scene):
    scene.view_layers[0].use_pass_z = True
    scene.camera.data.dof.focus_distance = 4
    tree, layers, sink = compositor(scene)
    node = tree.nodes.new("CompositorNodeDefocus")
    node.use_zbuffer, node.f_stop, node.blur_max = True, 1.0, 8
    node.scene = scene
    tree.links.new(layers.outputs["Image"], node.inputs["Image"])
    tree.links.new(layers.outputs["Depth"], node.inputs["Z"])
    tree.links.new(node.outputs["Image"], sink.inputs["Image"])


@variant(LINEAR)
def masks_and_coordinates(scene):
    layer = scene.view_layers[0]
    layer.use_pass_object_index = layer.use_pass_uv = layer.use_pass_position = True
    bpy.data.objects["ball"].pass_index = 3
    tree, layers, mix, link = added(scene)
    tree.links.remove(link)
    mask = tree.nodes.new("CompositorNodeIDMask")
    mask.inputs["Index"].default_value = 3
    tree.links.new(layers.outputs["Object Index"], mask.inputs[0])
    tree.links.new(mask.outputs[0], mix.inputs["Factor"])
    tree.links.new(layers.outputs["Position"], mix.inputs["B"])


@variant(LINEAR)
def scaled_and_moved(scene):
    tree, layers, mix, link = added(scene)
    tree.links.remove(link)
    scale, move = tree.nodes.new("CompositorNodeScale"), tree.nodes.new("CompositorNodeTranslate")
    scale.inputs["X"].default_value = scale.inputs["Y"].default_value = 0.4
    move.inputs["X"].default_value = 11
    tree.links.new(layers.outputs["Image"], scale.inputs["Image"])
    tree.links.new(scale.outputs[0], move.inputs["Image"])
    tree.links.new(move.outputs[0], mix.inputs["B"])


@variant(LINEAR)
def pixels_that_are_not_square(scene):
    scene.render.pixel_aspect_x = 2
    scaled_and_moved(scene)


@variant(LINEAR)
def image_of_its_own_beside(scene):
    tree, _, mix, link = added(scene)
    tree.links.remove(link)
    made = bpy.data.images.new("plate", 20, 10, float_buffer=True)
    made.pixels = [0.2, 0.4, 0.1, 1.0] * 200
    made.pack()
    source = tree.nodes.new("CompositorNodeImage")
    source.image = made
    tree.links.new(source.outputs["Image"], mix.inputs["B"])

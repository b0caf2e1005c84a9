# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.cheats.scene FILE`: a scene in which every cheat leaves a mark.

64x64 pixels, 16 samples, 12 frames: a textured floor, coloured walls that light each other, a moving ball,
and depth and cryptomatte passes that the written float EXR is composited from.
"""

import sys
from math import radians

import bpy
import numpy


def surface(name: str, color: tuple[float, float, float]) -> bpy.types.Material:
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    made.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*color, 1)
    return made


def texture(material: bpy.types.Material) -> None:
    image = bpy.data.images.new("squares", 32, 32)
    rows, columns = numpy.indices((32, 32)) // 4
    squares = ((rows + columns) % 2)[..., None]
    dark, light = numpy.array([0.05, 0.1, 0.3, 1.0]), numpy.array([0.9, 0.8, 0.4, 1.0])
    image.pixels.foreach_set((dark + (light - dark) * squares).astype(numpy.float32).ravel())
    image.update()
    image.pack()
    nodes, links = material.node_tree.nodes, material.node_tree.links
    picture = nodes.new("ShaderNodeTexImage")
    picture.image = image
    links.new(picture.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])


def plane(name: str, location: tuple, rotation: tuple, material: bpy.types.Material) -> None:
    turned = [radians(angle) for angle in rotation]
    bpy.ops.mesh.primitive_plane_add(size=6, location=location, rotation=turned)
    bpy.context.object.name = name
    bpy.context.object.data.materials.append(material)


def room() -> None:
    floor = surface("floor", (0.5, 0.5, 0.5))
    texture(floor)
    plane("floor", (0, 0, 0), (0, 0, 0), floor)
    plane("left", (-2.5, 0, 2), (0, 90, 0), surface("red", (0.8, 0.1, 0.1)))
    plane("right", (2.5, 0, 2), (0, 90, 0), surface("green", (0.1, 0.7, 0.1)))
    plane("back", (0, 2.5, 2), (90, 0, 0), surface("white", (0.8, 0.8, 0.8)))
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.8, location=(-1, 0, 0.8))
    ball = bpy.context.object
    ball.name = "ball"
    ball.data.materials.append(surface("gold", (0.9, 0.6, 0.2)))
    for frame, x in ((1, -1.2), (12, 1.2)):
        ball.location.x = x
        ball.keyframe_insert("location", frame=frame)


def passes(scene: bpy.types.Scene) -> None:
    """Where the cryptomatte says ball, the written picture is the depth pass."""
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_cryptomatte_object = True
    tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    scene.compositing_node_group = tree
    layers, sink = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("NodeGroupOutput")
    matte = tree.nodes.new("CompositorNodeCryptomatteV2")
    matte.source, matte.scene = "RENDER", scene
    matte.layer_name, matte.matte_id = f"{layer.name}.CryptoObject", "ball"
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    for output, target in (
        (layers.outputs["Image"], matte.inputs["Image"]),
        (matte.outputs["Matte"], mix.inputs["Factor"]),
        (layers.outputs["Image"], mix.inputs["A"]),
        (layers.outputs["Depth"], mix.inputs["B"]),
        (mix.outputs["Result"], sink.inputs["Image"]),
    ):
        tree.links.new(output, target)
    image = scene.render.image_settings
    image.file_format, image.color_depth = "OPEN_EXR", "32"


def main(path: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    room()
    bpy.ops.object.light_add(type="AREA", location=(0, -1, 3.8))
    lamp = bpy.context.object.data
    lamp.size = 1.5
    for frame, energy in ((1, 140), (12, 160)):  # no pixel is alike in two frames
        lamp.energy = energy
        lamp.keyframe_insert("energy", frame=frame)
    bpy.ops.object.camera_add(location=(0, -6.5, 2), rotation=(radians(86), 0, 0))
    scene.camera = bpy.context.object
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.seed = 16, 7
    scene.cycles.use_adaptive_sampling = scene.cycles.use_denoising = False
    scene.render.resolution_x = scene.render.resolution_y = 64
    scene.frame_start, scene.frame_end = 1, 12
    passes(scene)
    bpy.ops.wm.save_as_mainfile(filepath=path, compress=True)


if __name__ == "__main__":
    main(sys.argv[1])

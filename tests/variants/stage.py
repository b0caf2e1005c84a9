# SPDX-License-Identifier: GPL-3.0-or-later
"""The little stage all variants start from, and how a module adds one.

    @variant(FINAL, frames=(1, 3))
    def keyed_exposure(scene):
        ...

The catalogue reads these lines without running them: the way and `frames` are written out, not computed.
"""

from collections.abc import Callable
from pathlib import Path

import bpy

from tests.variants.ways import APPROXIMATE, FINAL, LINEAR, REFUSED, WHOLE

__all__ = [
    "APPROXIMATE",
    "FINAL",
    "LINEAR",
    "REFUSED",
    "VARIANTS",
    "WHOLE",
    "compositor",
    "material",
    "settings",
    "stage",
    "variant",
    "write",
]

Make = Callable[[bpy.types.Scene], None]
VARIANTS: dict[str, Make] = {}
SAMPLE_FRAME = 4
"""Inside the ball's way, past the second camera marker."""


def variant(way: str, frames: tuple[int, ...] = (SAMPLE_FRAME,), said: str = "") -> Callable[[Make], Make]:
    """Register a scene: the way it must go, the frames that are compared, and a piece of the sentence
    that must be said of it.
    """

    def register(make: Make) -> Make:
        assert make.__name__ not in VARIANTS, make.__name__
        VARIANTS[make.__name__] = make
        return make

    return register


def write(folder: str, name: str) -> None:
    """Build one variant and save it as FOLDER/NAME.blend."""
    scene = stage()
    VARIANTS[name](scene)
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder) / f"{name}.blend"), compress=True)


def material(name: str, color: tuple[float, float, float], roughness: float, metallic: float = 0.0):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    shader = made.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*color, 1)
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Metallic"].default_value = metallic
    return made


def stage() -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_plane_add(size=8)
    floor = bpy.context.object
    floor.data.materials.append(material("floor", (0.7, 0.6, 0.4), 0.6))
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.8, location=(-0.7, 0, 0.8))
    ball = bpy.context.object
    ball.name = "ball"
    ball.data.materials.append(material("gold", (0.9, 0.6, 0.2), 0.15, 1.0))
    for frame, x in ((1, -0.7), (10, 0.9)):
        ball.location.x = x
        ball.keyframe_insert("location", frame=frame)
    bpy.ops.mesh.primitive_cube_add(size=1, location=(1, 0.5, 0.5), rotation=(0, 0, 0.5))
    box = bpy.context.object
    box.name = "box"
    box.data.materials.append(material("blue", (0.1, 0.2, 0.8), 0.4))
    bpy.ops.object.light_add(type="AREA", location=(2, -2, 4), rotation=(0.5, 0.4, 0))
    bpy.context.object.data.energy = 300
    bpy.ops.object.camera_add(location=(0, -5.5, 2.4), rotation=(1.2, 0, 0))
    scene.camera = bpy.context.object
    scene.world = bpy.data.worlds.new("sky")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (0.3, 0.4, 0.6, 1)
    settings(scene)
    return scene


def settings(scene: bpy.types.Scene) -> None:
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    scene.cycles.samples = 4
    scene.cycles.seed = 7
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = False
    scene.frame_start, scene.frame_end = 1, 10


def compositor(scene: bpy.types.Scene):
    tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    scene.compositing_node_group = tree
    layers = tree.nodes.new("CompositorNodeRLayers")
    return tree, layers, tree.nodes.new("NodeGroupOutput")

# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes of the node's own that make a driver compile, or load, every kernel that strangers' scenes will
need.

OptiX compiles its kernels again for each set of primitives, with and without motion
(`OptiXDevice::load_kernels`: `usesPrimitiveTypeFlags`, `usesMotionBlur`), and further modules for shaders
that trace rays and for caustics. Other back ends have one set of kernels, which the driver may still have
to compile for the GPU at hand. OSL, which few files use, is left to the scenes that do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.blender.child import devices, rendering
from gpu_worker.blender.child.overrides import overrides

EDGE = 32
SAMPLES = 2

PRIMITIVES: tuple[dict[str, bool], ...] = ({}, {"points": True}, {"hair": True})
"""What OptiX compiles apart beside meshes: points and flat hair, and thick hair."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Variant:
    """What a scene has beside a mesh: thick hair, points, motion blur, shaders that trace rays with caustics,
    and the denoiser.
    """

    hair: bool = False
    points: bool = False
    motion: bool = False
    traced: bool = False
    denoised: bool = False


def variants(backend: str) -> tuple[Variant, ...]:
    """The scenes for a back end, what most files need first."""
    rest = (Variant(True, True, True, traced=True), Variant(denoised=True))
    if backend != "OPTIX":
        return (Variant(), *rest)
    sets = [Variant(motion=motion, **more) for motion in (False, True) for more in PRIMITIVES]
    return (*sets, Variant(traced=True), *rest)


def warm(device: dict[str, Any], folder: str, progress: Progress) -> dict[str, Any]:
    """Render each scene once, in the folder `folder`. Returns the device's name and seconds; raises
    DeviceError, and SceneError for a picture that is empty or not finite.
    """
    started, name = time.monotonic(), ""
    scenes = variants(device["backend"])
    for number, variant in enumerate(scenes):
        progress(number, len(scenes))
        _build(variant)
        name = rendering.use_device(device["backend"], device["index"], device["threads"])
        _render(Path(folder) / "own.exr")
    progress(len(scenes), len(scenes))
    return {"device_name": name, "seconds": time.monotonic() - started}


def _render(path: Path) -> None:
    scene = bpy.context.scene
    scene.render.filepath = str(path)
    rendering.run_render(lambda done, total: None)
    picture = bpy.data.images.load(str(path))
    values = list(picture.pixels)
    bpy.data.images.remove(picture)
    path.unlink()
    # A sum that is not a number is neither above nor below.
    if not 0.0 < sum(values) < float("inf"):
        raise devices.DeviceError("A scene of this node's own came out empty or not finite.", "gpu_fault")


def _build(variant: Variant) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    overrides.forget()
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = EDGE
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.use_motion_blur = variant.motion
    scene.cycles.samples, scene.cycles.seed = SAMPLES, 1
    scene.cycles.use_denoising = scene.cycles.denoising_use_gpu = variant.denoised
    plane = _mesh(scene, _material(variant.traced))
    _light_and_camera(scene, variant.traced)
    if variant.hair:
        _hair(scene)
    if variant.points:
        _points(scene)
    if variant.motion:
        plane.keyframe_insert("location", frame=0)
        plane.location.x += 0.3
        plane.keyframe_insert("location", frame=2)
    if variant.traced:
        plane.cycles.is_caustics_receiver = True


def _mesh(scene: Any, material: Any) -> Any:
    mesh = bpy.data.meshes.new("Plane")
    mesh.from_pydata([(-2, -2, 0), (2, -2, 0), (2, 2, 0), (-2, 2, 0)], [], [(0, 1, 2, 3)])
    mesh.materials.append(material)
    return _linked(scene, "Plane", mesh)


def _material(traced: bool) -> Any:
    """Light that goes through and under the surface, and into a volume; `traced`: bevels ask for rays,
    too.
    """
    material = bpy.data.materials.new("Material")
    material.use_nodes = True
    tree = material.node_tree
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    for name in ("Subsurface Weight", "Transmission Weight", "Coat Weight", "Sheen Weight"):
        shader.inputs[name].default_value = 0.3
    if traced:
        bevel, occlusion = tree.nodes.new("ShaderNodeBevel"), tree.nodes.new("ShaderNodeAmbientOcclusion")
        tree.links.new(bevel.outputs["Normal"], shader.inputs["Normal"])
        tree.links.new(occlusion.outputs["Color"], shader.inputs["Base Color"])
    output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    volume = tree.nodes.new("ShaderNodeVolumePrincipled")
    tree.links.new(volume.outputs["Volume"], output.inputs["Volume"])
    return material


def _light_and_camera(scene: Any, caustics: bool) -> None:
    lamp = bpy.data.lights.new("Lamp", "AREA")
    lamp.energy, lamp.size = 600, 3
    lamp.cycles.is_caustics_light = caustics
    _linked(scene, "Lamp", lamp).location = (1, -1, 5)
    camera = _linked(scene, "Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = (0, -7, 3.2), (1.18, 0, 0)
    scene.camera = camera


def _hair(scene: Any) -> None:
    scene.cycles_curves.shape = "THICK"
    hair = bpy.data.hair_curves.new("Hair")
    hair.add_curves([3])
    for number, point in enumerate(hair.points):
        point.position, point.radius = (0.0, 0.0, 0.4 * number), 0.1
    caster = _linked(scene, "Hair", hair)
    caster.cycles.is_caustics_caster = True


def _points(scene: Any) -> None:
    """A few points, made by Geometry Nodes: Python cannot add any to a point cloud."""
    tree = bpy.data.node_groups.new("Points", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    made, out = tree.nodes.new("GeometryNodePoints"), tree.nodes.new("NodeGroupOutput")
    made.inputs["Count"].default_value, made.inputs["Radius"].default_value = 4, 0.3
    tree.links.new(made.outputs[0], out.inputs[0])
    holder = _linked(scene, "Points", bpy.data.meshes.new("Points"))
    holder.modifiers.new("Points", "NODES").node_group = tree


def _linked(scene: Any, name: str, data: Any) -> Any:
    thing = bpy.data.objects.new(name, data)
    scene.collection.objects.link(thing)
    return thing

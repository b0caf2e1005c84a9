# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared workshop of the sample scenes: shapes, surfaces, lamps, cameras, keyframes, saving.

Everything is made in code, so the .blend files need no outside file and can be rebuilt by anybody.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path

import bpy
from bpy_extras import anim_utils
from mathutils import Matrix, Vector

Point = Sequence[float]
Colour = tuple[float, float, float]
Ring = list[int]


def fresh_scene(name: str) -> bpy.types.Scene:
    """Start from Blender's own factory settings, so that no user's preferences leak into a sample."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene: bpy.types.Scene = bpy.context.scene
    scene.name = name
    bpy.context.preferences.filepaths.save_version = 0
    scene.world = bpy.data.worlds.new(f"{name} world")
    scene.render.filepath = f"//{name}_"
    return scene


def use_cycles(scene: bpy.types.Scene, samples: int, seed: int) -> None:
    """Pin what decides the noise: sample count, seed, and no adaptive sampling, so tiles merge exactly."""
    scene.render.engine = "CYCLES"
    scene.cycles.samples = samples
    scene.cycles.seed = seed
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"


def frame_size(scene: bpy.types.Scene, width: int, height: int, last_frame: int = 1) -> None:
    """Set the picture's size in pixels and the length of the animation."""
    scene.render.resolution_x = width
    scene.render.resolution_y = height
    scene.render.resolution_percentage = 100
    scene.frame_start = 1
    scene.frame_end = last_frame


def ambient(scene: bpy.types.Scene, colour: Colour, strength: float) -> None:
    """Fill the shadows with an even sky of one colour."""
    background = scene.world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (*colour, 1.0)
    background.inputs["Strength"].default_value = strength


def surface(name: str, colour: Colour, **inputs: float) -> bpy.types.Material:
    """Make a Principled material; keywords name its sockets (``roughness``, ``coat_weight``)."""
    material = bpy.data.materials.new(name)
    shader = shader_of(material)
    shader.inputs["Base Color"].default_value = (*colour, 1.0)
    for key, value in inputs.items():
        socket = "IOR" if key == "ior" else key.replace("_", " ").title()
        shader.inputs[socket].default_value = value
    return material


def glowing(name: str, colour: Colour, strength: float) -> bpy.types.Material:
    """Make a material that gives light of its own."""
    material = surface(name, colour)
    shader = shader_of(material)
    shader.inputs["Emission Color"].default_value = (*colour, 1.0)
    shader.inputs["Emission Strength"].default_value = strength
    return material


def shader_of(material: bpy.types.Material) -> bpy.types.Node:
    """Find the one Principled shader every material here is built around."""
    return material.node_tree.nodes["Principled BSDF"]


def feed(material: bpy.types.Material, kind: str, **settings: object) -> bpy.types.Node:
    """Add a texture or maths node to a material and fill in the sockets named by keyword."""
    node = material.node_tree.nodes.new(kind)
    for key, value in settings.items():
        node.inputs[key].default_value = value
    return node


def join(material: bpy.types.Material, *ends: bpy.types.NodeSocket) -> None:
    """Link sockets pairwise: output, input, output, input, and so on."""
    for source, target in zip(ends[::2], ends[1::2], strict=True):
        material.node_tree.links.new(source, target)


def ramp(node: bpy.types.Node, stops: Sequence[tuple[float, Colour]]) -> None:
    """Replace a colour ramp's stops."""
    elements = node.color_ramp.elements
    while len(elements) < len(stops):
        elements.new(1.0)
    for element, (position, colour) in zip(elements, stops, strict=True):
        element.position = position
        element.color = (*colour, 1.0)


def colour_by_height(
    material: bpy.types.Material, low: float, high: float, stops: Sequence[tuple[float, Colour]]
) -> None:
    """Colour a surface by how high each of its points lies in the world."""
    place = feed(material, "ShaderNodeNewGeometry")
    split = feed(material, "ShaderNodeSeparateXYZ")
    level = feed(material, "ShaderNodeMapRange", **{"From Min": low, "From Max": high})
    tint = feed(material, "ShaderNodeValToRGB")
    ramp(tint, stops)
    join(
        material,
        place.outputs["Position"],
        split.inputs["Vector"],
        split.outputs["Z"],
        level.inputs["Value"],
        level.outputs["Result"],
        tint.inputs["Fac"],
        tint.outputs["Color"],
        shader_of(material).inputs["Base Color"],
    )


def solid(
    name: str,
    points: Sequence[Point],
    faces: Sequence[Sequence[int]],
    *materials: bpy.types.Material,
    smooth: bool = True,
) -> bpy.types.Object:
    """Turn points and faces into an object standing in the scene."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    mesh.shade_smooth() if smooth else mesh.shade_flat()
    for material in materials:
        mesh.materials.append(material)
    return place(bpy.data.objects.new(name, mesh))


def place(thing: bpy.types.Object, location: Point | None = None) -> bpy.types.Object:
    """Put an object into the scene, at a spot if one is given."""
    bpy.context.scene.collection.objects.link(thing)
    if location is not None:
        thing.location = location
    return thing


def twin(thing: bpy.types.Object, location: Point) -> bpy.types.Object:
    """Place another object that shares the mesh, which keeps the file small, but not the keyframes."""
    other = thing.copy()
    other.animation_data_clear()
    return place(other, location)


def turned(
    name: str,
    outline: Sequence[tuple[float, float]],
    *materials: bpy.types.Material,
    segments: int = 32,
    subdivide: int = 2,
) -> bpy.types.Object:
    """Turn an outline of (radius, height) on a lathe; radius 0 closes the end with one point."""
    points: list[Point] = []
    rings: list[Ring] = []
    for radius, height in outline:
        ring = _ring(radius, height, segments)
        rings.append([len(points) + i for i in range(len(ring))])
        points += ring
    faces = [face for below, above in pairwise(rings) for face in _band(below, above)]
    return rounded(solid(name, points, faces, *materials), subdivide)


def hoop(
    name: str, outline: Sequence[tuple[float, float]], material: bpy.types.Material, segments: int = 64
) -> bpy.types.Object:
    """Turn a closed outline, as ``turned`` does, into a ring with a hole."""
    return turned(name, [*outline, outline[0]], material, segments=segments, subdivide=0)


def _ring(radius: float, height: float, segments: int) -> list[Point]:
    if radius == 0:
        return [(0.0, 0.0, height)]
    angles = [2 * pi * i / segments for i in range(segments)]
    return [(radius * cos(a), radius * sin(a), height) for a in angles]


def _band(below: Ring, above: Ring) -> list[list[int]]:
    count = max(len(below), len(above))
    quads = []
    for i in range(count):
        j = (i + 1) % count
        corners = [below[i % len(below)], below[j % len(below)], above[j % len(above)], above[i % len(above)]]
        quads.append(list(dict.fromkeys(corners)))
    return quads


def ball(name: str, radius: float, material: bpy.types.Material, location: Point) -> bpy.types.Object:
    """Make a smooth sphere."""
    bpy.ops.mesh.primitive_uv_sphere_add(radius=radius, location=location, segments=48, ring_count=24)
    return _named(name, material)


def box(
    name: str, size: Point, material: bpy.types.Material, location: Point, edge: float = 0.0
) -> bpy.types.Object:
    """Make a block, its edges rounded where asked, since only rounded edges catch the light."""
    bpy.ops.mesh.primitive_cube_add(size=1, location=location)
    block = _named(name, material)
    block.data.transform(Matrix.Diagonal((*size, 1.0)))
    if edge:
        bevel = block.modifiers.new("Bevel", "BEVEL")
        bevel.width, bevel.segments = edge, 3
    return block


def ground(name: str, width: float, material: bpy.types.Material, height: float = 0.0) -> bpy.types.Object:
    """Lay a flat square floor with texture coordinates."""
    bpy.ops.mesh.primitive_plane_add(size=width, location=(0, 0, height))
    return _named(name, material)


def disc(name: str, radius: float, material: bpy.types.Material, height: float = 0.0) -> bpy.types.Object:
    """Lay a flat round floor with texture coordinates."""
    bpy.ops.mesh.primitive_circle_add(radius=radius, vertices=128, fill_type="NGON", location=(0, 0, height))
    return _named(name, material)


def _named(name: str, material: bpy.types.Material) -> bpy.types.Object:
    thing = bpy.context.object
    thing.name = thing.data.name = name
    thing.data.materials.append(material)
    thing.data.shade_smooth()
    return thing


def rounded(thing: bpy.types.Object, levels: int) -> bpy.types.Object:
    """Smooth a coarse mesh at render time, so the file keeps only the coarse one."""
    if levels:
        modifier = thing.modifiers.new("Subdivision", "SUBSURF")
        modifier.levels = modifier.render_levels = levels
    return thing


def softbox(
    name: str, location: Point, target: Point, size: float, watts: float, colour: Colour = (1, 1, 1)
) -> bpy.types.Object:
    """Hang a square lamp and turn it towards a target."""
    lamp = bpy.data.lights.new(name, "AREA")
    lamp.size, lamp.energy, lamp.color = size, watts, colour
    return aim(place(bpy.data.objects.new(name, lamp), location), target)


def sunlight(name: str, towards: Point, strength: float, colour: Colour, softness: float) -> bpy.types.Object:
    """Light the whole scene from one direction."""
    lamp = bpy.data.lights.new(name, "SUN")
    lamp.energy, lamp.color, lamp.angle = strength, colour, softness
    return aim(place(bpy.data.objects.new(name, lamp), (0, 0, 0)), towards)


def mirror_probe(name: str, location: Point, clear: float) -> bpy.types.Object:
    """Record the surroundings for EEVEE, whose mirrors otherwise see only what is in the picture.

    Nothing nearer than ``clear`` is recorded, so that the probe may sit inside the mirror it serves.
    """
    probe = bpy.data.lightprobes.new(name, "SPHERE")
    probe.clip_start, probe.influence_distance = clear, 2 * clear
    return place(bpy.data.objects.new(name, probe), location)


def camera(location: Point, target: Point, lens: float) -> bpy.types.Object:
    """Set up the scene's camera."""
    eye = place(bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera")), location)
    eye.data.lens = lens
    bpy.context.scene.camera = eye
    return aim(eye, target)


def focus(eye: bpy.types.Object, on: bpy.types.Object, fstop: float) -> None:
    """Blur what is nearer or farther than one object."""
    eye.data.dof.use_dof = True
    eye.data.dof.focus_object = on
    eye.data.dof.aperture_fstop = fstop


def aim(thing: bpy.types.Object, target: Point) -> bpy.types.Object:
    """Turn a lamp or a camera so that it looks at a point."""
    direction = Vector(target) - thing.location
    thing.rotation_euler = direction.to_track_quat("-Z", "Y").to_euler()
    return thing


def pivot(name: str, location: Point, *children: bpy.types.Object) -> bpy.types.Object:
    """Place an empty that carries its children round when it turns."""
    hub = place(bpy.data.objects.new(name, None), location)
    for child in children:
        child.parent = hub
    return hub


def animate(thing: bpy.types.Object, path: str, keys: Mapping[float, Point], ease: str = "LINEAR") -> None:
    """Write keyframes; ``LINEAR`` keeps a turning object at one speed, ``BEZIER`` eases in and out."""
    for frame, value in keys.items():
        setattr(thing, path, value)
        thing.keyframe_insert(path, frame=frame)
    held = thing.animation_data
    bag = anim_utils.action_get_channelbag_for_slot(held.action, held.action_slot)
    for key in (key for curve in bag.fcurves for key in curve.keyframe_points):
        key.interpolation = ease


def compositor(scene: bpy.types.Scene) -> bpy.types.NodeTree:
    """Give the scene an empty compositor whose node ``Picture`` takes what is to be written.

    Since Blender 5.0 the compositor is a node group, and its first colour output is the picture.
    """
    tree = bpy.data.node_groups.new("Finish", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    tree.nodes.new("NodeGroupOutput").name = "Picture"
    scene.compositing_node_group = tree
    return tree


def save(folder: Path, name: str) -> Path:
    """Write the scene as one compressed file that holds no trace of the folder it was made in."""
    path = folder / f"{name}.blend"
    bpy.context.scene.frame_set(bpy.context.scene.frame_start)
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=True, copy=True, relative_remap=False)
    return path

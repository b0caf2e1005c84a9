# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes with caches, bakes and other files that are not pictures (`tests/variants/files.py`)."""

import shutil
import struct
import sys
from pathlib import Path

import bpy

from tests.variants.files import case, save, select

# --- fonts, lights, caches of one file ------------------------------------------------------------------


@case
def font_elsewhere(scene, place):
    own = Path(bpy.utils.system_resource("DATAFILES"), "fonts", "DejaVuSansMono.woff2")
    shutil.copy(own, place.elsewhere / "title.woff2")
    bpy.ops.object.text_add(location=(-2, -1.5, 0.2), rotation=(1.2, 0, 0))
    text = bpy.context.object.data
    text.body, text.font = "Agj", bpy.data.fonts.load(str(place.elsewhere / "title.woff2"))


@case
def lamp_with_ies(scene, place):
    profile = place.elsewhere / "spot.ies"
    profile.write_text(
        "IESNA:LM-63-2002\nTILT=NONE\n1 1000 1 3 1 1 2 0 0 0\n1 1 100\n0 45 90\n0\n900 500 10\n"
    )
    bpy.ops.object.light_add(type="POINT", location=(-1, -1, 2))
    light = bpy.context.object.data
    light.energy, light.use_nodes = 200, True
    node = light.node_tree.nodes.new("ShaderNodeTexIES")
    node.mode, node.filepath = "EXTERNAL", str(profile)
    light.node_tree.links.new(node.outputs[0], light.node_tree.nodes["Emission"].inputs["Strength"])


@case
def mesh_cache(scene, place):
    """Vertex positions of every frame, in a .pc2 beside the scene."""
    box = bpy.data.objects["box"]
    count = len(box.data.vertices)
    with (place.elsewhere / "move.pc2").open("wb") as file:
        file.write(struct.pack("<12siiffi", b"POINTCACHE2\0", 1, count, 1.0, 1.0, 10))
        for frame in range(10):
            for vertex in box.data.vertices:
                file.write(struct.pack("<fff", *(part * (1 + frame / 10) for part in vertex.co)))
    modifier = box.modifiers.new("cache", "MESH_CACHE")
    modifier.cache_format, modifier.filepath = "PC2", str(place.elsewhere / "move.pc2")


@case
def alembic_cache(scene, place):
    shape_cache(scene, place, "abc")


@case
def usd_with_layers(scene, place):
    """The file that is named holds a reference only; the shape lies in a layer beside it."""
    shape_cache(scene, place, "usdc")
    (place.elsewhere / "shape.usda").write_text(
        '#usda 1.0\n(\n    defaultPrim = "root"\n    upAxis = "Z"\n    subLayers = [@./parts/a.usda@]\n)\n'
    )
    (place.elsewhere / "parts").mkdir()
    (place.elsewhere / "parts" / "a.usda").write_text(
        '#usda 1.0\n(\n    defaultPrim = "root"\n)\n\ndef Xform "root" (\n'
        "    prepend references = @../shape.usdc@\n)\n{\n}\n"
    )
    bpy.data.cache_files[0].filepath = str(place.elsewhere / "shape.usda")


def shape_cache(scene, place, kind: str) -> None:
    """The box, written to a file and read back by a Mesh Sequence Cache; it grows over ten frames."""
    box = bpy.data.objects["box"]
    for frame, size in ((1, 1.0), (10, 2.0)):
        box.scale = (size, 1, 1)
        box.keyframe_insert("scale", frame=frame)
    for item in scene.objects:
        item.select_set(item is box)
    bpy.context.view_layer.objects.active = box
    path = str(place.elsewhere / f"shape.{kind}")
    bpy.data.objects.remove(bpy.data.objects["ball"])
    if kind == "abc":
        bpy.ops.wm.alembic_export(filepath=path, selected=True, start=1, end=10, flatten=False)
        bpy.data.objects.remove(box)
        bpy.ops.wm.alembic_import(filepath=path, as_background_job=False)
    else:
        bpy.ops.wm.usd_export(filepath=path, selected_objects_only=True, export_animation=True)
        bpy.data.objects.remove(box)
        bpy.ops.wm.usd_import(filepath=path)


def grid(path: Path, radius: float) -> Path:
    """A small cloud."""
    folder = Path(bpy.utils.resource_path("LOCAL"), "python", "lib")
    sys.path.append(str(next(folder.glob("python*")) / "site-packages"))
    import openvdb

    made = openvdb.FloatGrid()
    made.name = "density"
    made.fill((-4, -4, -4), (4, 4, 4), radius)
    made.transform = openvdb.createLinearTransform(voxelSize=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    openvdb.write(str(path), grids=[made])
    return path


def cloud(path: str, sequence: bool = False) -> None:
    volume = bpy.data.volumes.new("cloud")
    volume.filepath, volume.is_sequence = path, sequence
    volume.frame_duration = 10
    item = bpy.data.objects.new("cloud", volume)
    item.location = (0, -1, 1)
    bpy.context.scene.collection.objects.link(item)
    volume.materials.append(smoke())


def smoke() -> bpy.types.Material:
    made = bpy.data.materials.new("smoke")
    made.use_nodes = True
    made.node_tree.nodes.clear()
    shader = made.node_tree.nodes.new("ShaderNodeVolumePrincipled")
    sink = made.node_tree.nodes.new("ShaderNodeOutputMaterial")
    made.node_tree.links.new(shader.outputs[0], sink.inputs["Volume"])
    return made


@case
def volume_elsewhere(scene, place):
    cloud(str(grid(place.elsewhere / "cloud.vdb", 2.0)))


@case
def volume_sequence(scene, place):
    for frame in range(1, 7):
        grid(place.project / "vdb" / f"cloud_{frame:03}.vdb", frame * 0.7)
    cloud("//vdb/cloud_001.vdb", sequence=True)


# --- nodes that read files ------------------------------------------------------------------------------


def shape(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("v 0 0 0\nv 1.5 0 0\nv 0 0 1.5\nf 1 2 3\n")
    return path


def importing(kind: str = "OBJ"):
    """A Geometry Nodes group on the box that shows what it reads; gives the node, the group and modifier."""
    group = bpy.data.node_groups.new("reader", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    node = group.nodes.new(f"GeometryNodeImport{kind}")
    real = group.nodes.new("GeometryNodeRealizeInstances")
    group.links.new(node.outputs[0], real.inputs[0])
    group.links.new(real.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
    modifier = bpy.data.objects["box"].modifiers.new("reader", "NODES")
    modifier.node_group = group
    return node, group, modifier


@case
def import_node(scene, place):
    node, _, _ = importing()
    node.inputs["Path"].default_value = str(shape(place.elsewhere / "shape.obj"))


@case
def import_node_by_text(scene, place):
    """The path stands in a String node."""
    node, group, _ = importing()
    text = group.nodes.new("FunctionNodeInputString")
    text.string = str(shape(place.elsewhere / "s.obj"))
    group.links.new(text.outputs[0], node.inputs["Path"])


@case
def import_node_by_frame(scene, place):
    """The path is put together for each frame."""
    for frame in range(1, 7):
        path = shape(place.elsewhere / "steps" / f"step_{frame}.obj")
        path.write_text(path.read_text().replace("1.5", str(frame / 3)))
    node, group, _ = importing()
    text = group.nodes.new("FunctionNodeInputString")
    text.string = str(place.elsewhere / "steps" / "step_")
    number, clock = (
        group.nodes.new("FunctionNodeValueToString"),
        group.nodes.new("GeometryNodeInputSceneTime"),
    )
    number.data_type = "INT"
    group.links.new(clock.outputs["Frame"], number.inputs[0])
    ending, join = group.nodes.new("FunctionNodeInputString"), group.nodes.new("GeometryNodeStringJoin")
    ending.string = ".obj"
    for part in (ending, number, text):
        group.links.new(part.outputs[0], join.inputs["Strings"])
    group.links.new(join.outputs[0], node.inputs["Path"])


@case
def import_node_by_modifier(scene, place):
    """The path is typed in the modifier's panel."""
    node, group, modifier = importing()
    socket = group.interface.new_socket("File", in_out="INPUT", socket_type="NodeSocketString")
    group.links.new(group.nodes.new("NodeGroupInput").outputs["File"], node.inputs["Path"])
    modifier[socket.identifier] = str(shape(place.elsewhere / "s.obj"))


# --- baked simulations -------------------------------------------------------------------------------


def creeping():
    """A simulation zone on the box; gives the modifier."""
    group = bpy.data.node_groups.new("creep", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    source, sink = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    start = group.nodes.new("GeometryNodeSimulationInput")
    end = group.nodes.new("GeometryNodeSimulationOutput")
    start.pair_with_output(end)
    move = group.nodes.new("GeometryNodeSetPosition")
    move.inputs["Offset"].default_value = (0, 0, 0.2)
    group.links.new(source.outputs[0], start.inputs["Geometry"])
    group.links.new(start.outputs["Geometry"], move.inputs["Geometry"])
    group.links.new(move.outputs["Geometry"], end.inputs["Geometry"])
    group.links.new(end.outputs["Geometry"], sink.inputs[0])
    modifier = bpy.data.objects["box"].modifiers.new("creep", "NODES")
    modifier.node_group = group
    return modifier


def bake(scene, place, directory: str = "", custom: str = "") -> Path:
    modifier = creeping()
    save(place.blend)
    modifier.bake_target, modifier.bake_directory = "DISK", directory
    if custom:
        modifier.bakes[0].use_custom_path, modifier.bakes[0].directory = True, custom
    select("box")
    scene.frame_end = 5
    bpy.ops.object.simulation_nodes_cache_bake(selected=True)
    scene.frame_set(1)
    return save(place.blend)


@case
def nodes_bake(scene, place):
    return bake(scene, place, "//bakes/")


@case
def nodes_bake_without_a_folder(scene, place):
    """Asked for on disk, where no folder is named: Blender packs it."""
    return bake(scene, place)


@case
def nodes_bake_elsewhere(scene, place):
    return bake(scene, place, str(place.elsewhere / "b"))


@case
def nodes_bake_with_its_own_folder(scene, place):
    return bake(scene, place, "//bakes/", str(place.elsewhere / "own"))


def cloth(scene, place) -> bpy.types.PointCache:
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=4, y_subdivisions=4, size=2, location=(0, -1, 2))
    bpy.context.object.name = "flag"
    modifier = bpy.context.object.modifiers.new("cloth", "CLOTH")
    modifier.point_cache.frame_end = scene.frame_end = 5
    return modifier.point_cache


def bake_points(scene, cache) -> None:
    with bpy.context.temp_override(point_cache=cache):
        bpy.ops.ptcache.bake(bake=True)
    scene.frame_set(1)


@case
def cloth_on_disk(scene, place):
    cache = cloth(scene, place)
    save(place.blend)
    cache.use_disk_cache = True
    bake_points(scene, cache)
    return save(place.blend)


@case
def particles_on_disk(scene, place):
    bpy.context.view_layer.objects.active = bpy.data.objects["box"]
    system = bpy.data.objects["box"].modifiers.new("rain", "PARTICLE_SYSTEM").particle_system
    system.settings.count, system.settings.frame_end = 20, 3
    system.settings.render_type, system.settings.instance_object = "OBJECT", bpy.data.objects["ball"]
    save(place.blend)
    system.point_cache.frame_end = scene.frame_end = 5
    system.point_cache.name = "rain"
    system.point_cache.use_disk_cache = True
    bake_points(scene, system.point_cache)
    return save(place.blend)


# --- names --------------------------------------------------------------------------------------------


@case
def scene_with_a_line_break(scene, place):
    """Its name is burnt in, and its cache is named after it."""
    scene.render.use_stamp = scene.render.use_stamp_filename = True
    cache = cloth(scene, place)
    path = place.project / "sh\not.blend"
    save(path)
    cache.use_disk_cache = True
    bake_points(scene, cache)
    return save(path)

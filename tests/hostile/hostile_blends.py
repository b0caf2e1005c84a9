# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: writes .blend files that try to run Python, or to write elsewhere, by themselves.

    python -m tests.hostile.hostile_blends FOLDER ELSEWHERE

Each goes into FOLDER/NAME/NAME.blend. Whatever runs, or is written, leaves something in ELSEWHERE, or beside
the .blend.
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import bpy

from tests.variants import stage as variants
from tests.variants.evaluated import other_scene, shows, strips
from tests.variants.simulated import falling

Scene = bpy.types.Scene
Make = Callable[[Scene, Path, Path], None]
"""Given the stage, the folder the .blend will be in, and the one that must stay empty."""


# --- Freestyle --------------------------------------------------------------------------------------


def scripted(scene: Scene, elsewhere: Path, layer: bpy.types.ViewLayer | None = None) -> None:
    """Have Freestyle run a text of the file where it draws the layer."""
    script = bpy.data.texts.new("style.py")
    script.write(f"open({str(elsewhere / 'freestyle')!r}, 'w')\n")
    scene.render.use_freestyle = True
    settings = (layer or scene.view_layers[0]).freestyle_settings
    settings.mode = "SCRIPT"
    settings.modules.new().script = script


def freestyle_plain(scene: Scene, folder: Path, elsewhere: Path) -> None:
    scripted(scene, elsewhere)


def freestyle_in_the_compositor(scene: Scene, folder: Path, elsewhere: Path) -> None:
    other = other_scene()
    scripted(other, elsewhere)
    shows(scene, other)


def freestyle_in_a_strip(scene: Scene, folder: Path, elsewhere: Path) -> None:
    other = other_scene()
    scripted(other, elsewhere)
    strips(scene).new_scene("strip", other, channel=1, frame_start=1)


def freestyle_behind_a_strips_compositor(scene: Scene, folder: Path, elsewhere: Path) -> None:
    other, third = other_scene(), other_scene("third")
    scripted(third, elsewhere)
    shows(other, third)
    strips(scene).new_scene("strip", other, channel=1, frame_start=1)


def freestyle_in_a_second_layer(scene: Scene, folder: Path, elsewhere: Path) -> None:
    scene.view_layers[0].use_freestyle = False
    scripted(scene, elsewhere, scene.view_layers.new("lines"))


def freestyle_in_a_keyed_layer(scene: Scene, folder: Path, elsewhere: Path) -> None:
    scripted(scene, elsewhere)
    layer = scene.view_layers[0]
    for frame, used in ((-1, False), (0, True)):
        layer.use_freestyle = used
        layer.keyframe_insert("use_freestyle", frame=frame)
    layer.use_freestyle = False


def freestyle_in_a_driven_layer(scene: Scene, folder: Path, elsewhere: Path) -> None:
    scripted(scene, elsewhere)
    scene.view_layers[0].driver_add("use_freestyle").driver.expression = "frame > 0"


def freestyle_with_a_keyed_mode(scene: Scene, folder: Path, elsewhere: Path) -> None:
    scripted(scene, elsewhere)
    settings = scene.view_layers[0].freestyle_settings
    settings.mode = "EDITOR"
    for frame, mode in ((-1, "EDITOR"), (0, "SCRIPT")):
        settings.mode = mode
        scene.keyframe_insert(f"{scene.view_layers[0].path_from_id()}.freestyle_settings.mode", frame=frame)
    settings.mode = "EDITOR"


def freestyle_in_a_linked_scene(scene: Scene, folder: Path, elsewhere: Path) -> None:
    scripted(scene, elsewhere)
    scene.name = "linked"
    library = folder / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(library))
    fresh = variants.stage()
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.scenes = ["linked"]
    shows(fresh, bpy.data.scenes["linked", str(library)])


FREESTYLE = (
    freestyle_plain,
    freestyle_in_the_compositor,
    freestyle_in_a_strip,
    freestyle_behind_a_strips_compositor,
    freestyle_in_a_second_layer,
    freestyle_in_a_keyed_layer,
    freestyle_in_a_driven_layer,
    freestyle_with_a_keyed_mode,
    freestyle_in_a_linked_scene,
)


def freestyle_that_nobody_shows(scene: Scene, folder: Path, elsewhere: Path) -> None:
    scripted(other_scene(), elsewhere)


# --- caches -----------------------------------------------------------------------------------------


def outside(cache: bpy.types.PointCache, elsewhere: Path, folder: Path) -> None:
    """Name a folder for a cache that is on disk."""
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{folder.name}.blend"))
    cache.use_disk_cache = True
    cache.name = folder.name  # first: Blender looks for files that begin so, and calls them baked
    cache.use_external = True
    cache.filepath = f"{elsewhere}/"


def beside(cache: bpy.types.PointCache, folder: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{folder.name}.blend"))
    cache.use_disk_cache = True


def painted() -> bpy.types.PointCache:
    box = bpy.data.objects["box"]
    bpy.context.view_layer.objects.active = box
    modifier = box.modifiers.new("paint", "DYNAMIC_PAINT")
    bpy.ops.dpaint.type_toggle(type="CANVAS")
    surface = modifier.canvas_settings.canvas_surfaces[0]
    surface.surface_format = "VERTEX"
    return surface.point_cache


def paint_outside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    outside(painted(), elsewhere, folder)


def paint_beside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    beside(painted(), folder)


def particles_beside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    system = bpy.data.objects["box"].modifiers.new("dust", "PARTICLE_SYSTEM").particle_system
    beside(system.point_cache, folder)


def cloth_outside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    outside(bpy.data.objects["box"].modifiers.new("cloth", "CLOTH").point_cache, elsewhere, folder)


def soft_body_outside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    outside(bpy.data.objects["box"].modifiers.new("soft", "SOFT_BODY").point_cache, elsewhere, folder)


def rigid_bodies_outside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    """Made by hand: Blender does not survive that this is set as for others, nor that it is played."""
    falling(scene)
    cache = scene.rigidbody_world.point_cache
    cache.name, cache.use_external, cache.filepath = folder.name, True, f"{elsewhere}/"
    flags = ctypes.c_int.from_address(cache.as_pointer() + 16)
    flags.value |= 1 << 6
    assert cache.use_disk_cache


def hair_outside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    system = bpy.data.objects["box"].modifiers.new("hair", "PARTICLE_SYSTEM").particle_system
    system.settings.type, system.settings.count, system.use_hair_dynamics = "HAIR", 3, True
    outside(system.point_cache, elsewhere, folder)


def cloth_put_on_disk_by_a_key(scene: Scene, folder: Path, elsewhere: Path) -> None:
    cache = bpy.data.objects["box"].modifiers.new("cloth", "CLOTH").point_cache
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{folder.name}.blend"))
    for frame, used in ((0, False), (1, True)):
        cache.use_disk_cache = used
        cache.keyframe_insert("use_disk_cache", frame=frame)
    cache.use_disk_cache = False


CACHES = (
    paint_outside,
    paint_beside,
    particles_beside,
    cloth_outside,
    soft_body_outside,
    hair_outside,
    cloth_put_on_disk_by_a_key,
)


def fluid(folder: Path, kind: str) -> bpy.types.FluidModifier:
    bpy.ops.mesh.primitive_cube_add(size=3, location=(0, 0, 1.5))
    modifier = bpy.context.object.modifiers.new("domain", "FLUID")
    modifier.show_viewport = False  # else it is simulated here
    modifier.fluid_type = "DOMAIN"
    settings = modifier.domain_settings
    settings.resolution_max = 6
    settings.cache_type, settings.cache_directory = kind, str(folder)
    return modifier


def fluid_replayed_outside(scene: Scene, folder: Path, elsewhere: Path) -> None:
    fluid(elsewhere / "smoke", "REPLAY").show_viewport = True


def fluid_replayed_in_renders(scene: Scene, folder: Path, elsewhere: Path) -> None:
    fluid(elsewhere / "smoke", "REPLAY")


def fluid_switched_on_by_keys(scene: Scene, folder: Path, elsewhere: Path) -> None:
    modifier = fluid(elsewhere / "smoke", "REPLAY")
    modifier.show_viewport = modifier.show_render = True
    for name in ("show_viewport", "show_render"):
        modifier.keyframe_insert(name, frame=1)
    modifier.show_viewport = modifier.show_render = False


def fluid_that_reads(scene: Scene, folder: Path, elsewhere: Path) -> None:
    fluid(folder / "smoke", "MODULAR")


FLUIDS = (fluid_replayed_outside, fluid_replayed_in_renders, fluid_switched_on_by_keys, fluid_that_reads)


# --- shaders and files -------------------------------------------------------------------------------


def shader_compiled_beside_its_source(scene: Scene, folder: Path, elsewhere: Path) -> None:
    source = elsewhere / "glow.osl"
    source.write_text('shader glow(output color C = color(4, 2, 1)) { fprintf("printed", "x"); }\n')
    scene.cycles.shading_system = True
    tree = bpy.data.objects["box"].data.materials[0].node_tree
    node = tree.nodes.new("ShaderNodeScript")
    node.mode, node.filepath = "EXTERNAL", str(source)
    node.outputs.new("NodeSocketColor", "C")
    glow, sink = tree.nodes.new("ShaderNodeEmission"), tree.nodes["Material Output"]
    tree.links.new(node.outputs["C"], glow.inputs["Color"])
    tree.links.new(glow.outputs[0], sink.inputs["Surface"])


def outputs_behind_a_strip(scene: Scene, folder: Path, elsewhere: Path) -> None:
    other = other_scene()
    tree, layers, sink = variants.compositor(other)
    tree.links.new(layers.outputs["Image"], sink.inputs["Image"])
    node = tree.nodes.new("CompositorNodeOutputFile")
    node.directory, node.file_name = f"{elsewhere}/", "written"
    node.format.media_type, node.format.file_format = "IMAGE", "PNG"
    node.file_output_items.new("RGBA", "x")
    tree.links.new(layers.outputs["Image"], node.inputs[0])
    strips(scene).new_scene("strip", other, channel=1, frame_start=1)


def names_that_are_no_text(scene: Scene, folder: Path, elsewhere: Path) -> None:
    """Looking through this file fails: its animated property has a path that is no UTF-8."""
    outside(painted(), elsewhere, folder)
    scene.view_layers[0].driver_add("use_freestyle").data_path = "PLACE-OF-THE-PATH"


OTHERS = (
    freestyle_that_nobody_shows,
    rigid_bodies_outside,
    shader_compiled_beside_its_source,
    outputs_behind_a_strip,
)


def spoil(blend: Path) -> None:
    """Put bytes that are no UTF-8 into the file."""
    data = blend.read_bytes()
    assert data.count(b"PLACE-OF-THE-PATH") == 1
    blend.write_bytes(data.replace(b"PLACE-OF-THE-PATH", b"PLACE-\xff\xfe-THE-PATH"))


def write(make: Make, target: Path, elsewhere: Path) -> Path:
    folder = target / make.__name__
    folder.mkdir()
    blend = folder / f"{make.__name__}.blend"
    make(variants.stage(), folder, elsewhere)
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=False)
    return blend


def apart(make: Make, target: Path, elsewhere: Path) -> None:
    """In a process of its own: Blender aborts where it frees a fluid."""
    child = os.fork()
    if child == 0:
        write(make, target, elsewhere)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, make.__name__


def clean(target: Path, elsewhere: Path) -> None:
    """Remove what making these files has written."""
    for left in (*target.glob("*/blendcache*"), *target.glob("*/*.blend1"), *elsewhere.iterdir()):
        if left.is_dir():
            shutil.rmtree(left)
        elif left.suffix != ".osl":
            left.unlink()


def main(target: Path, elsewhere: Path) -> None:
    for make in FLUIDS:
        apart(make, target, elsewhere)
    for make in (*FREESTYLE, *CACHES, *OTHERS):
        write(make, target, elsewhere)
    spoil(write(names_that_are_no_text, target, elsewhere))
    clean(target, elsewhere)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

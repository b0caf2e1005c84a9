# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes that link from other .blend files (`tests/variants/files.py`)."""

from collections.abc import Callable
from pathlib import Path

import bpy

from tests.variants.files import GREEN, Place, case, picture, pictured, save, select
from tests.variants.stage import stage

# --- libraries ----------------------------------------------------------------------------------------


def library(path: Path, make: Callable[[], None]) -> None:
    """A .blend at `path` with what `make` makes of a fresh stage."""
    stage()
    make()
    save(path)


def linked(path: Path, kind: str, name: str):
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        setattr(wanted, kind, [name])
    return getattr(bpy.data, kind)[name, str(path)]


def textured_library(place: Place) -> Path:
    """A library whose material has a picture beside it."""
    path = place.elsewhere / "props" / "props.blend"
    picture(path.parent / "tex" / "crate.png", GREEN)

    def make() -> None:
        image = bpy.data.images.new("crate", 1, 1)
        image.source, image.filepath = "FILE", "//tex/crate.png"
        pictured(image, "crate").use_fake_user = True

    library(path, make)
    return path


@case
def library_by_absolute_path(scene, place):
    path = textured_library(place)
    stage()
    bpy.data.objects["box"].data.materials[0] = linked(path, "materials", "crate")


@case
def library_of_a_library(scene, place):
    path, between = textured_library(place), place.elsewhere / "sets" / "set.blend"

    def make() -> None:
        bpy.data.objects["box"].data.materials[0] = linked(path, "materials", "crate")

    library(between, make)
    stage()
    bpy.data.objects.remove(bpy.data.objects["box"])
    bpy.context.scene.collection.objects.link(linked(between, "objects", "box"))


@case
def library_instanced(scene, place):
    """A collection of a library, instanced, with an image only its objects use."""
    path = textured_library(place)

    def make() -> None:
        box = bpy.data.objects["box"]
        box.data.materials[0] = linked(path, "materials", "crate")
        group = bpy.data.collections.new("group")
        group.objects.link(box)
        bpy.context.scene.collection.children.link(group)

    between = place.project / "lib" / "set.blend"
    library(between, make)
    stage()
    bpy.data.objects.remove(bpy.data.objects["box"])
    bpy.context.scene.collection.children.link(linked(between, "collections", "group"))
    bpy.data.libraries["set.blend"].filepath = "//lib/set.blend"


@case
def library_packed_into_the_scene(scene, place):
    """Linked data packed into this file: the library is not needed, the picture beside it is."""
    path = textured_library(place)
    stage()
    made = linked(path, "materials", "crate")
    bpy.data.objects["box"].data.materials[0] = made
    bpy.data.pack_linked_ids_hierarchy(root_id=made)
    packed = next(one for one in bpy.data.materials if one.name == "crate" and one.is_linked_packed)
    bpy.data.objects["box"].data.materials[0] = packed
    save(place.blend)
    path.unlink()
    return place.blend


@case
def auto_smooth(scene, place):
    """A node group of the library that comes with Blender."""
    select("ball")
    bpy.ops.object.shade_auto_smooth(angle=0.3)


@case
def shipped_library_of_another_machine(scene, place):
    """Linked, not packed, by the path another machine's Blender lies at: only a farm can mend it."""
    own = Path(bpy.utils.system_resource("DATAFILES"), "assets", "nodes", "geometry_nodes_essentials.blend")
    with bpy.data.libraries.load(str(own), link=True) as (_, wanted):
        wanted.node_groups = ["Smooth by Angle"]
    group = next(one for one in bpy.data.node_groups if one.library)
    bpy.data.objects["ball"].modifiers.new("smooth", "NODES").node_group = group

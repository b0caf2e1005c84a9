# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: writes scenes whose simulations lie beside the .blend, into FOLDER/NAME/NAME.blend.

python -m tests.support.cached_scenes FOLDER
"""

import sys
from collections.abc import Callable
from pathlib import Path

import bpy

from tests.variants.evaluated import collected, instance
from tests.variants.simulated import LAST, bake, bake_nodes, cloth, creep, play
from tests.variants.stage import stage

Finish = Callable[[], None]


def cloth_on_disk(scene: bpy.types.Scene) -> Finish:
    sheet, cache = cloth(scene)
    cache.use_disk_cache = True
    return lambda: bake(scene, sheet, cache)


def cloth_played_on_disk(scene: bpy.types.Scene) -> Finish:
    _, cache = cloth(scene)
    cache.use_disk_cache = True
    return lambda: play(scene, 3)


def zone_on_disk(scene: bpy.types.Scene) -> Finish:
    box = bpy.data.objects["box"]
    _, modifier = creep(box)
    modifier.bake_target, modifier.bake_directory = "DISK", "//bakes/"
    return lambda: bake_nodes(scene, box)


def zone_to_be_baked_to_disk(scene: bpy.types.Scene) -> Finish:
    _, modifier = creep(bpy.data.objects["box"])
    modifier.bake_target, modifier.bake_directory = "DISK", "//bakes/"
    return lambda: None


def fluid_replayed(scene: bpy.types.Scene) -> Finish:
    """The data's contents do not matter: what is there is told by the files' names."""
    bpy.ops.mesh.primitive_cube_add(size=3, location=(0, 0, 1.5))
    modifier = bpy.context.object.modifiers.new("domain", "FLUID")
    modifier.fluid_type = "DOMAIN"
    domain = modifier.domain_settings
    domain.cache_type, domain.cache_directory, domain.cache_frame_end = "REPLAY", "//smoke/", LAST

    def finish() -> None:
        folder = Path(bpy.path.abspath("//smoke/data"))
        folder.mkdir(parents=True, exist_ok=True)
        for frame in (1, 2, 3, 5):
            (folder / f"fluid_data_{frame:04}.vdb").write_bytes(b"")

    return finish


def linked_cloth_on_disk(scene: bpy.types.Scene) -> Finish:
    """The cache is the library's: it lies beside that, not beside the scene."""
    sheet, cache = cloth(scene)
    cache.use_disk_cache = True
    collected(scene, sheet, "flags")
    library = Path(bpy.data.filepath).parent / "assets" / "flag.blend"
    library.parent.mkdir(exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(library))
    bake(scene, sheet, cache)
    bpy.ops.wm.save_as_mainfile(filepath=str(library))
    fresh = stage()
    with bpy.data.libraries.load(str(library), link=True, relative=False) as (_, wanted):
        wanted.collections = ["flags"]
    instance(fresh, bpy.data.collections["flags"])
    return lambda: None


MAKERS = (
    cloth_on_disk,
    cloth_played_on_disk,
    zone_on_disk,
    zone_to_be_baked_to_disk,
    fluid_replayed,
    linked_cloth_on_disk,
)


def main(folder: str) -> None:
    for make in MAKERS:
        scene = stage()
        path = Path(folder) / make.__name__ / f"{make.__name__}.blend"
        path.parent.mkdir(parents=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
        finish = make(scene)
        bpy.ops.wm.save_as_mainfile(filepath=str(path))  # caches on disk go beside the saved file
        finish()
        bpy.ops.wm.save_as_mainfile(filepath=str(path))


if __name__ == "__main__":
    main(sys.argv[1])

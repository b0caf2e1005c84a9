# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: writes .blend files that name an artist's private files as their own.

    python -m tests.hostile.greedy_scenes HOME

HOME becomes an artist's home with what people have in it, and HOME/work/received a project from a stranger,
one .blend for each way to have files sent along.
"""

import sys
from pathlib import Path

import bpy

from tests.fakes.asset_scenes import fresh, picture, use

KEEPSAKES = {
    "keys/service-account.json": b'{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----"}',
    "wallet/keystore.json": b'{"version": 3, "crypto": {}}',
    "backup/data/home.tar.gz": b"\x1f\x8b\x08\0home",
    "backup/config/settings.json": b'{"password": "x"}',
    "backup/meta/1.json": b'{"password": "x"}',
    "backup/meta/00001_00000.json": b'{"password": "x"}',
    "backup/mesh/model.npz": b"PK\3\4",
    "backup/noise/scan_0001.obj.gz": b"\x1f\x8b\x08\0obj",
    "backup/data/taxes_2024.uni": b"my taxes of that year",
    "backup/blobs/cv.blob": b"my life",
}
PICTURES = ("scans/passport.png", *(f"photos/IMG_{number:04}.png" for number in range(1, 6)))
OTHERS = "work/other/secret.png"


def main(home: Path) -> None:
    for name, data in KEEPSAKES.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    fresh()
    for name in (*PICTURES, OTHERS, "work/received/tex/wood.png"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        picture(home / name)
    project = home / "work" / "received"
    for make in (single, sequence, fluid_cache, nodes_bake, points, linked, library, beside, sounds):
        fresh()
        make(home, project)
        bpy.ops.wm.save_as_mainfile(filepath=str(project / f"{make.__name__}.blend"), relative_remap=False)


def single(home: Path, project: Path) -> None:
    use("//../../scans/passport.png", "climbing")
    use(str(home / OTHERS), "absolute")


def sequence(home: Path, project: Path) -> None:
    use("//../../photos/IMG_0001.png", "photos", "SEQUENCE")


def fluid_cache(home: Path, project: Path) -> None:
    modifier = bpy.data.objects["Cube"].modifiers.new("fluid", "FLUID")
    modifier.fluid_type = "DOMAIN"
    modifier.domain_settings.cache_directory = "//../../backup"
    modifier.show_render = False


def nodes_bake(home: Path, project: Path) -> None:
    group = bpy.data.node_groups.new("bake", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    group.nodes.new("GeometryNodeBake")
    group.nodes.new("NodeGroupOutput")
    modifier = bpy.data.objects["Cube"].modifiers.new("bake", "NODES")
    modifier.node_group = group
    bpy.context.view_layer.update()
    for bake in modifier.bakes:
        bake.use_custom_path, bake.bake_target, bake.directory = True, "DISK", "//../../backup"


def points(home: Path, project: Path) -> None:
    """A beginning of names in a text, that nodes would put the rest behind."""
    group = bpy.data.node_groups.new("reader", "GeometryNodeTree")
    group.nodes.new("FunctionNodeInputString").string = "//../../scans/s"
    bpy.data.objects["Cube"].modifiers.new("reader", "NODES").node_group = group


def linked(home: Path, project: Path) -> None:
    """Links beside the scene, one of them in a folder that is called as Blender's own files' place."""
    (project / "_blender").mkdir()
    (project / "tex" / "photo.png").symlink_to("../../../photos/IMG_0001.png")
    (project / "_blender" / "photo.png").symlink_to("../../../photos/IMG_0002.png")
    (project / "all").symlink_to("../../photos")
    for number, path in enumerate(("//tex/photo.png", "//_blender/photo.png", "//all/IMG_0003.png")):
        use(path, f"linked{number}")


def library(home: Path, project: Path) -> None:
    """A library outside, and a picture that only the library names."""
    bpy.data.materials.new("shared").use_fake_user = True
    use("//secret.png", "shared_too")
    path = home / "work" / "other" / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), relative_remap=False)
    fresh()
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        wanted.materials = ["shared_too"]
    linked = next(one for one in bpy.data.materials if one.library)
    bpy.data.objects["Cube"].data.materials.append(linked)


def beside(home: Path, project: Path) -> None:
    """What belongs to the scene goes without a question."""
    use("//tex/wood.png", "wood")


def sounds(home: Path, project: Path) -> None:
    """A film of the artist's as a movie texture."""
    (home / "films").mkdir()
    (home / "films" / "birthday.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    use(str(home / "films" / "birthday.mp4"), "film", "MOVIE")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

# SPDX-License-Identifier: GPL-3.0-or-later
"""`python asset_scenes.py FOLDER` saves .blend files that name files in every awkward way.

FOLDER/project/scene.blend     relative, absolute, Windows, UDIM, sequence, font, sound, linked library
FOLDER/project/packed.blend    the same, compressed
FOLDER/project/evil.blend      names what no artist means to upload
FOLDER/project/missing.blend   names files that are nowhere
FOLDER/elsewhere/              files outside the scene's folder, and the library
"""

import sys
import wave
from pathlib import Path

import bpy


def main(folder: Path) -> None:
    project, elsewhere = folder / "project", folder / "elsewhere"
    for path in (project / "tex", elsewhere / "tex", folder / "home" / ".ssh"):
        path.mkdir(parents=True)
    library(elsewhere)
    scene(project, elsewhere)
    evil(project, folder)
    missing(project)


def fresh() -> None:
    bpy.ops.wm.read_homefile(use_empty=False, use_factory_startup=True)
    bpy.context.scene.render.engine = "CYCLES"


def picture(path: Path) -> str:
    image = bpy.data.images.new("made", 2, 2)
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return str(path)


def use(path: str, name: str, source: str = "FILE") -> None:
    """A material on the cube that shows the image at `path`, whether or not it is there."""
    image = bpy.data.images.new(name, 2, 2)
    image.source, image.filepath = source, path
    material = bpy.data.materials.new(name)
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    shader = material.node_tree.nodes["Principled BSDF"]
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    bpy.data.objects["Cube"].data.materials.append(material)


def library(folder: Path) -> None:
    fresh()
    picture(folder / "tex" / "inlib.png")
    use("//tex/inlib.png", "inlib")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "library.blend"), compress=True, relative_remap=False)


def scene(project: Path, elsewhere: Path) -> None:
    fresh()
    picture(project / "tex" / "beside.png")
    use("//tex/beside.png", "beside")
    use(picture(elsewhere / "absolute.png"), "absolute")
    picture(project / "tex" / "Moved.PNG")
    use("D:\\work\\project\\tex\\moved.png", "windows")
    for number in ("1001", "1002"):
        picture(project / "tex" / f"udim.{number}.png")
    use("//tex/udim.<UDIM>.png", "udim", "TILED")
    for number in ("0001", "0002", "x"):
        picture(project / "tex" / f"seq{number}.png")
    use("//tex/seq0001.png", "seq", "SEQUENCE")
    with wave.open(str(elsewhere / "beep.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 80)
    bpy.data.sounds.load(str(elsewhere / "beep.wav")).use_fake_user = True
    with bpy.data.libraries.load(str(elsewhere / "library.blend"), link=True) as (_, wanted):
        wanted.materials = ["inlib"]
    linked = next(one for one in bpy.data.materials if one.library)
    bpy.data.objects["Cube"].data.materials.append(linked)
    for name, compress in (("scene", False), ("packed", True)):
        bpy.ops.wm.save_as_mainfile(
            filepath=str(project / f"{name}.blend"), compress=compress, relative_remap=False
        )


def evil(project: Path, folder: Path) -> None:
    fresh()
    keys = folder / "home" / ".ssh"
    (keys / "id_rsa").write_text("key")
    picture(keys / "hidden.png")
    (project / "link.png").symlink_to(keys / "id_rsa")
    (project / "notes.txt").write_text("diary")
    for number, path in enumerate(
        (
            "/etc/passwd",
            "/dev/zero",
            "/proc/self/environ",
            str(keys / "id_rsa"),
            str(keys / "hidden.png"),
            "//../home/.ssh/hidden.png",
            "//link.png",
            "//notes.txt",
            "//pipe.png",
            "/",
        )
    ):
        use(path, f"evil{number}")
    use("/etc/", "folder", "SEQUENCE")
    evil_caches(keys)
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "evil.blend"), relative_remap=False)


def evil_caches(keys: Path) -> None:
    """A cache's folder, and texts of nodes, that lead to keys."""
    (keys / "data").mkdir()
    (keys / "data" / "fluid_data_0001.vdb").write_bytes(b"key")
    (keys / "notes.csv").write_text("key")
    (keys / "step_1.obj").write_text("key")
    modifier = bpy.data.objects["Cube"].modifiers.new("fluid", "FLUID")
    modifier.fluid_type = "DOMAIN"
    modifier.domain_settings.cache_directory = str(keys)
    modifier.show_render = False
    group = bpy.data.node_groups.new("reader", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    node = group.nodes.new("GeometryNodeImportCSV")
    node.inputs["Path"].default_value = str(keys / "notes.csv")
    group.nodes.new("FunctionNodeInputString").string = str(keys / "step_")
    group.links.new(node.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
    bpy.data.objects["Cube"].modifiers.new("reader", "NODES").node_group = group


def missing(project: Path) -> None:
    fresh()
    use("//tex/gone.png", "gone")
    use("/nowhere/at/all.exr", "nowhere")
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "missing.blend"), relative_remap=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: writes .blend files that try to run code or to write where they must not.

    python -m tests.support.hostile_scenes FOLDER MARKER

Whatever runs creates a file whose name begins with MARKER.
"""

import sys
from pathlib import Path

import bpy

from tests.variants import stage as variants


def save(folder: Path, name: str) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{name}.blend"), compress=True)


def scripts(folder: Path, marker: str) -> None:
    """A registered text block, one that sets a handler, and a driver that needs Python."""
    scene = variants.stage()
    block = bpy.data.texts.new("autorun.py")
    block.write(f"import bpy\nopen({marker + '-text'!r}, 'w')\n")
    block.write(f"bpy.app.handlers.render_pre.append(lambda *a: open({marker + '-handler'!r}, 'w'))\n")
    block.use_module = True
    ball = bpy.data.objects["ball"]
    ball.driver_add("scale", 0).driver.expression = f"len(str(open({marker + '-driver'!r}, 'w')))"
    ball.driver_add("scale", 1).driver.expression = "1 + frame * 0"
    variants.compositor(scene)
    save(folder, "scripts")


def freestyle(folder: Path, marker: str) -> None:
    scene = variants.stage()
    script = bpy.data.texts.new("style.py")
    script.write(f"open({marker + '-freestyle'!r}, 'w')\n")
    scene.render.use_freestyle = True
    settings = scene.view_layers[0].freestyle_settings
    settings.mode = "SCRIPT"
    settings.modules.new().script = script
    save(folder, "freestyle")


def outputs(folder: Path, marker: str) -> None:
    """File Output nodes that point everywhere but below the output folder."""
    scene = variants.stage()
    scene.name = "../../../" + Path(marker).name
    scene.render.filepath = f"{marker}-main"
    tree, layers, sink = variants.compositor(scene)
    tree.links.new(layers.outputs["Image"], sink.inputs["Image"])
    up = "../" * 12
    tricks = [
        (f"//{up}{marker}-relative/", "a", "x"),
        (f"{marker}-absolute/", "b", "x"),
        ("//ok/", f"{up}{marker}-name", "x"),
        ("//ok/", f"{marker}-root", "x"),
        ("//ok/", "c", f"{up}{marker}-item"),
        ("//ok/", "{scene_name}", "d"),
        ("//{scene_name}/", "e", "x"),
        ("..\\..\\..\\", f"..\\..\\{Path(marker).name}", "x"),
        ("", "", "x"),
    ]
    for directory, name, item in tricks:
        node = tree.nodes.new("CompositorNodeOutputFile")
        node.directory, node.file_name = directory, name
        node.format.media_type = "IMAGE"
        node.format.file_format = "PNG"
        node.file_output_items.new("RGBA", item)
        tree.links.new(layers.outputs["Image"], node.inputs[0])
    save(folder, "outputs")


if __name__ == "__main__":
    target, named = Path(sys.argv[1]), sys.argv[2]
    for make in (scripts, freestyle, outputs):
        make(target, named)

# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: what an artist's own Blender would write. Knows nothing of the farm.

    python -m tests.support.plain_blender '{"blend": ..., "frames": [1], "folder": ..., ...}' ...

Each argument is one render: the file is opened, the given settings are changed as in Blender's own panels,
and each frame is rendered as an animation of one frame into FOLDER/####.ext, or `apart` into
FOLDER/FRAME/####.ext. File Output nodes write under outputs/ there, below the path they name after `//`.
"""

import json
import sys
from typing import Any

import bpy


def render(job: dict[str, Any]) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=job["blend"], load_ui=False)
    scene = bpy.context.scene
    change(scene, job)
    nodes = scene.compositing_node_group.nodes if scene.compositing_node_group else ()
    outputs = {n: n.directory for n in nodes if n.bl_idname == "CompositorNodeOutputFile"}
    for frame in job["frames"]:
        folder = f"{job['folder']}/{frame}" if job.get("apart") else job["folder"]
        for node, directory in outputs.items():
            node.directory = f"{folder}/outputs/{directory.removeprefix('//')}"
        scene.render.filepath = f"{folder}/####"
        bpy.ops.render.render(animation=True, frame_start=frame, frame_end=frame)


def change(scene: bpy.types.Scene, job: dict[str, Any]) -> None:
    if job.get("samples"):
        scene.cycles.samples = scene.eevee.taa_render_samples = job["samples"]
    if job.get("seed") is not None:
        scene.cycles.seed = job["seed"]
    if job.get("resolution_percentage"):
        scene.render.resolution_percentage = job["resolution_percentage"]
    if job.get("format"):
        image = scene.render.image_settings
        image.media_type = "MULTI_LAYER_IMAGE" if job["format"] == "OPEN_EXR_MULTILAYER" else "IMAGE"
        image.file_format = job["format"]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        render(json.loads(argument))

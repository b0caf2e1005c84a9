# SPDX-License-Identifier: GPL-3.0-or-later
"""`python tiny_scene.py FILE SAMPLES`: an animated scene of 16x16 pixels and 4 frames."""

import sys

import bpy


def main(path: str, samples: int) -> None:
    bpy.ops.wm.read_homefile(use_empty=False, use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = False
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.render.resolution_percentage = 100
    scene.frame_start, scene.frame_end = 1, 4
    cube = bpy.data.objects["Cube"]
    cube.keyframe_insert("location", frame=1)
    cube.location.x = 2
    cube.keyframe_insert("location", frame=4)
    bpy.ops.wm.save_as_mainfile(filepath=path, compress=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

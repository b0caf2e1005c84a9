# SPDX-License-Identifier: GPL-3.0-or-later
"""What part of the picture is rendered, through which camera."""

import bpy

from tests.variants.composited import bloom
from tests.variants.stage import LINEAR, variant


@variant(LINEAR)
def odd_size(scene):
    scene.render.resolution_x, scene.render.resolution_y = 61, 37


@variant(LINEAR)
def percentage(scene):
    scene.render.resolution_x, scene.render.resolution_y = 173, 131
    scene.render.resolution_percentage = 37


@variant(LINEAR)
def border_kept(scene):
    """The artist's border without cropping: the rest of the frame is empty."""
    scene.render.use_border = True
    scene.render.use_crop_to_border = False
    scene.render.border_min_x, scene.render.border_max_x = 0.2, 0.83
    scene.render.border_min_y, scene.render.border_max_y = 0.15, 0.7
    scene.render.image_settings.color_mode = "RGBA"


@variant(LINEAR)
def border_kept_composited(scene):
    border_kept(scene)
    bloom(scene)


@variant(LINEAR)
def border_cropped(scene):
    border_kept(scene)
    scene.render.use_crop_to_border = True


@variant(LINEAR)
def border_cropped_composited(scene):
    border_cropped(scene)
    scene.cycles.use_denoising = True
    bloom(scene)


@variant(LINEAR)
def motion_blur(scene):
    scene.render.use_motion_blur = True
    scene.render.motion_blur_shutter = 1.0
    scene.camera.data.dof.use_dof = True
    scene.camera.data.dof.aperture_fstop = 0.5


@variant(LINEAR)
def camera_markers(scene):
    """A second camera from frame 3 on."""
    bpy.ops.object.camera_add(location=(4, -4, 3), rotation=(1.1, 0, 0.8))
    second = bpy.context.object
    scene.timeline_markers.new("one", frame=1).camera = scene.camera
    scene.timeline_markers.new("two", frame=3).camera = second


@variant(LINEAR)
def panorama(scene):
    scene.camera.data.type = "PANO"
    scene.camera.rotation_euler = (1.4, 0, 0)

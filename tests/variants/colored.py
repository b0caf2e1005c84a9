# SPDX-License-Identifier: GPL-3.0-or-later
"""Colour spaces other than Blender's own: the file's, and the scene's working space."""

import bpy

from tests.variants.composited import bloom
from tests.variants.stage import LINEAR, variant


def float_file(scene):
    image = scene.render.image_settings
    image.file_format, image.color_depth = "OPEN_EXR", "32"
    return image


@variant(LINEAR)
def file_in_another_color_space(scene):
    image = float_file(scene)
    image.color_management, image.linear_colorspace_settings.name = "OVERRIDE", "ACEScg"


@variant(LINEAR)
def file_in_another_view(scene):
    image = scene.render.image_settings
    image.color_management, image.view_settings.view_transform = "OVERRIDE", "Standard"
    image.view_settings.exposure = 0.7


@variant(LINEAR)
def another_working_space(scene):
    bpy.ops.wm.set_working_color_space(working_space="ACEScg")


@variant(LINEAR)
def another_working_space_of_floats(scene):
    another_working_space(scene)
    float_file(scene)


@variant(LINEAR)
def another_working_space_denoised(scene):
    another_working_space(scene)
    bloom(scene)
    scene.cycles.use_denoising = True

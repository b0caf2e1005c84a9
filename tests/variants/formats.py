# SPDX-License-Identifier: GPL-3.0-or-later
"""File formats and colour management."""

from tests.variants.composited import bloom
from tests.variants.stage import FINAL, LINEAR, variant


@variant(LINEAR)
def png16(scene):
    scene.render.image_settings.color_depth = "16"


@variant(LINEAR)
def jpeg(scene):
    scene.render.image_settings.file_format = "JPEG"


@variant(LINEAR)
def tiff16(scene):
    scene.render.image_settings.file_format = "TIFF"
    scene.render.image_settings.color_depth = "16"


@variant(LINEAR)
def exr_half(scene):
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "16"


@variant(LINEAR)
def exr_float_alpha(scene):
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "32"


@variant(LINEAR)
def movie(scene):
    """Becomes PNG frames. Blender refuses movies of less than 16 pixels, even where none is written."""
    scene.render.image_settings.media_type = "VIDEO"
    scene.render.image_settings.file_format = "FFMPEG"


@variant(FINAL)
def multilayer(scene):
    scene.view_layers[0].use_pass_z = True
    scene.view_layers[0].use_pass_normal = True
    scene.view_layers[0].use_pass_mist = True
    scene.cycles.use_denoising = True
    scene.render.image_settings.media_type = "MULTI_LAYER_IMAGE"
    scene.render.image_settings.file_format = "OPEN_EXR_MULTILAYER"


@variant(FINAL)
def multilayer_composited(scene):
    multilayer(scene)
    bloom(scene)


@variant(LINEAR)
def bw_dithered(scene):
    scene.render.image_settings.color_mode = "BW"
    scene.render.dither_intensity = 2.0


@variant(LINEAR)
def filmic_curves(scene):
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - High Contrast"
    scene.view_settings.exposure = 0.7
    scene.view_settings.gamma = 1.2
    scene.view_settings.use_curve_mapping = True
    curve = scene.view_settings.curve_mapping
    curve.curves[3].points.new(0.4, 0.55)
    curve.update()

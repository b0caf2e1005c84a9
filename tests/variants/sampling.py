# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples, adaptive sampling, denoising, and the tiles Cycles cuts itself."""

from tests.variants.composited import light_groups_and_aov
from tests.variants.stage import APPROXIMATE, FINAL, LINEAR, WHOLE, variant


@variant(LINEAR)
def plain(scene):
    """Nothing special: no compositor, no denoising."""


@variant(LINEAR)
def denoised(scene):
    scene.cycles.use_denoising = True


@variant(LINEAR)
def denoised_fast_no_passes(scene):
    scene.cycles.use_denoising = True
    scene.cycles.denoising_prefilter = "FAST"
    scene.cycles.denoising_input_passes = "RGB"


@variant(LINEAR)
def denoised_albedo_balanced(scene):
    scene.cycles.use_denoising = True
    scene.cycles.denoising_prefilter = "NONE"
    scene.cycles.denoising_input_passes = "RGB_ALBEDO"
    scene.cycles.denoising_quality = "BALANCED"


@variant(LINEAR)
def denoised_transparent(scene):
    scene.cycles.use_denoising = True
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"


@variant(LINEAR)
def denoised_float(scene):
    """Five samples, stored as floats: a sum that no power of two divides."""
    scene.cycles.use_denoising = True
    scene.cycles.samples = 5
    scene.cycles.film_exposure = 1.7
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "32"


@variant(LINEAR)
def denoised_adaptive_float(scene):
    denoised_float(scene)
    adaptive(scene)
    scene.cycles.adaptive_threshold = 0.02
    scene.cycles.film_exposure = 1.0


@variant(FINAL)
def denoised_exposed_adaptive(scene):
    denoised_float(scene)
    adaptive(scene)


@variant(FINAL)
def denoised_light_passes(scene):
    scene.cycles.use_denoising = True
    light_groups_and_aov(scene)


@variant(LINEAR)
def cycles_tiles(scene):
    """Cycles cuts the frame into tiles of its own, through a file on disk."""
    scene.cycles.use_auto_tile = True
    scene.cycles.tile_size = 32


@variant(LINEAR)
def cycles_tiles_denoised(scene):
    denoised_float(scene)
    scene.cycles.film_exposure = 1.0
    cycles_tiles(scene)


@variant(FINAL)
def cycles_tiles_denoised_exposed(scene):
    denoised_float(scene)
    cycles_tiles(scene)


@variant(WHOLE)
def cycles_tiles_adaptive(scene):
    adaptive(scene)
    cycles_tiles(scene)


@variant(WHOLE)
def cycles_tiles_adaptive_denoised(scene):
    """As every large picture with Blender's own defaults; some of Cycles' tiles need fewer samples."""
    denoised_adaptive_float(scene)
    scene.cycles.adaptive_threshold = 0.1
    cycles_tiles(scene)


@variant(LINEAR)
def adaptive(scene):
    scene.cycles.samples = 48
    scene.cycles.use_adaptive_sampling = True
    scene.cycles.adaptive_threshold = 0.1
    scene.cycles.adaptive_min_samples = 4


@variant(LINEAR)
def adaptive_automatic(scene):
    scene.cycles.samples = 64
    scene.cycles.use_adaptive_sampling = True


@variant(LINEAR)
def transparent(scene):
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"


@variant(LINEAR)
def sample_subset(scene):
    """The artist renders only samples 2 to 5 of 8."""
    scene.cycles.samples = 8
    scene.cycles.use_sample_subset = True
    scene.cycles.sample_offset = 2
    scene.cycles.sample_subset_length = 4


@variant(LINEAR)
def animated_seed(scene):
    scene.cycles.use_animated_seed = True


@variant(LINEAR)
def sampling_patterns(scene):
    scene.cycles.sampling_pattern = "BLUE_NOISE"


@variant(APPROXIMATE)
def path_guiding(scene):
    scene.cycles.use_guiding = True

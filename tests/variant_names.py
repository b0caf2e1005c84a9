# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenes of tests/variants.py by the way they must go. (That file imports bpy, this one does not.)"""

WHOLE = ("volume", "adaptive_subdivision", "cycles_tiles_adaptive")
"""Rendered whole, finished apart."""

FINAL = (
    "multilayer",
    "multilayer_composited",
    "cycles_tiles_denoised_exposed",
    "denoised_exposed_adaptive",
    "denoised_light_passes",
    "grouped_compositor",
    "grouped_without_scene",
    "shadow_catcher_denoised",
)
"""Rendered and finished by one Blender."""

LINEAR = (
    "plain",
    "odd_size",
    "percentage",
    "denoised",
    "denoised_fast_no_passes",
    "denoised_albedo_balanced",
    "denoised_transparent",
    "denoised_float",
    "denoised_adaptive_float",
    "cycles_tiles",
    "cycles_tiles_denoised",
    "adaptive",
    "adaptive_automatic",
    "transparent",
    "png16",
    "jpeg",
    "tiff16",
    "exr_half",
    "exr_float_alpha",
    "bw_dithered",
    "filmic_curves",
    "bloom",
    "bloom_denoised",
    "alpha_and_depth",
    "two_layers_uncomposited",
    "layer_with_own_samples",
    "sample_subset",
    "two_layers_cryptomatte_outputs",
    "two_layers_adaptive_denoised",
    "border_kept",
    "border_kept_composited",
    "border_cropped",
    "border_cropped_composited",
    "motion_blur",
    "camera_markers",
    "animated_seed",
    "sampling_patterns",
    "panorama",
    "shadow_catcher",
    "light_groups_and_aov",
    "own_denoise_node",
    "noisy_and_denoised",
    "no_output",
)
"""Cut into tiles."""

APPROXIMATE = ("path_guiding",)
"""Promised to be near, not equal."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that the farm changes, animated by the scene itself."""

from tests.variants.composited import bloom
from tests.variants.stage import FINAL, variant


def keyed(scene, path, values, frames=(1, 10)):
    """Key a setting of the scene's, evenly between two frames."""
    owner, _, name = path.rpartition(".")
    settings = scene.path_resolve(owner)
    for frame, value in zip(frames, values, strict=True):
        setattr(settings, name, value)
        scene.keyframe_insert(path, frame=frame)
    scene.frame_set(1)


def driven(scene, path, expression):
    curve = scene.driver_add(path)
    curve.driver.expression = expression


@variant(FINAL, frames=(3, 9))
def exposure_set_back(scene):
    scene.cycles.use_denoising = True
    keyed(scene, "cycles.film_exposure", (1.5, 0.3))


@variant(FINAL, frames=(4, 6))
def denoising_set_back(scene):
    keyed(scene, "cycles.use_denoising", (False, True), (1, 5))


@variant(FINAL, frames=(2, 8))
def samples_set_back(scene):
    keyed(scene, "cycles.samples", (1, 9))


@variant(FINAL, frames=(2, 8))
def driven_samples(scene):
    driven(scene, "cycles.samples", "frame + 1")


@variant(FINAL, frames=(4, 6))
def adaptive_sampling_set_back(scene):
    scene.cycles.samples = 48
    scene.cycles.adaptive_threshold = 0.1
    keyed(scene, "cycles.use_adaptive_sampling", (False, True), (1, 5))


@variant(FINAL, frames=(4, 6))
def driven_subset(scene):
    scene.cycles.use_sample_subset = True
    scene.cycles.sample_subset_length = 2
    driven(scene, "cycles.sample_offset", "frame / 4")


@variant(FINAL, frames=(4, 6))
def driven_film_exposure_composited(scene):
    bloom(scene)
    driven(scene, "cycles.film_exposure", "frame / 5")


@variant(FINAL, frames=(2, 8))
def seed_set_back(scene):
    keyed(scene, "cycles.seed", (1, 900))


@variant(FINAL, frames=(2, 8))
def driven_seed_denoised(scene):
    scene.cycles.use_denoising = True
    driven(scene, "cycles.seed", "frame * 7")


@variant(FINAL, frames=(2, 8))
def keyed_in_a_strip(scene):
    """Keys that a strip of the nonlinear editor plays."""
    keyed(scene, "cycles.samples", (1, 9))
    data = scene.animation_data
    action, slot = data.action, data.action_slot
    data.action = None
    strip = data.nla_tracks.new().strips.new("played", 1, action)
    strip.action_slot = slot

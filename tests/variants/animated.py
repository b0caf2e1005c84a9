# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that change with the frame, by keys, drivers or strips: facts are of one frame, jobs of many."""

import bpy

from tests.variants.evaluated import fog
from tests.variants.layered import second_layer
from tests.variants.stage import APPROXIMATE, FINAL, LINEAR, REFUSED, WHOLE, compositor, variant


def keyed(owner, path, *values, first=1, at=None):
    """Key a property: one value a frame from `first` on; at `at` (an owner and a name below it) where set."""
    target, name = at or (owner, path)
    for frame, value in enumerate(values, first):
        setattr(target, name, value)
        owner.keyframe_insert(path, frame=frame)


def cycles(scene, name, *values):
    keyed(scene, f"cycles.{name}", *values, at=(scene.cycles, name))


def render(scene, name, *values):
    keyed(scene, f"render.{name}", *values, at=(scene.render, name))


def layer(scene, name, *values):
    first = scene.view_layers[0]
    keyed(scene, f'view_layers["{first.name}"].{name}', *values, at=(first, name))


# --- what facts are decided from ----------------------------------------------------------------------


@variant(FINAL, frames=(1, 3), said="cycles.samples")
def keyed_samples(scene):
    cycles(scene, "samples", 2, 4, 7)


@variant(FINAL, frames=(1, 3), said="cycles.film_exposure")
def keyed_film_exposure(scene):
    cycles(scene, "film_exposure", 1.5, 1.0, 0.3)


@variant(FINAL, frames=(1, 3))
def keyed_film_exposure_denoised(scene):
    scene.cycles.use_denoising = True
    cycles(scene, "film_exposure", 1.5, 1.0, 0.3)


@variant(FINAL, frames=(1, 2), said="cycles.use_denoising")
def keyed_denoising(scene):
    cycles(scene, "use_denoising", False, True)


@variant(FINAL, frames=(1, 2))
def keyed_adaptive_threshold(scene):
    scene.cycles.use_adaptive_sampling = True
    scene.cycles.samples = 40
    cycles(scene, "adaptive_threshold", 0.5, 0.01)


@variant(FINAL, frames=(1, 2))
def keyed_adaptive_sampling(scene):
    scene.cycles.samples = 40
    scene.cycles.adaptive_threshold = 0.2
    cycles(scene, "use_adaptive_sampling", False, True)


@variant(FINAL, frames=(1, 2))
def keyed_sample_subset(scene):
    scene.cycles.sample_subset_length = 2
    cycles(scene, "use_sample_subset", False, True)


@variant(FINAL, frames=(1, 2))
def keyed_cycles_tiles(scene):
    scene.cycles.tile_size = 32
    cycles(scene, "use_auto_tile", False, True)


@variant(FINAL, frames=(1, 3))
def keyed_seed(scene):
    cycles(scene, "seed", 1, 9, 4)


@variant(FINAL, frames=(1, 3))
def seed_driven_by_the_frame(scene):
    scene.driver_add("cycles.seed").driver.expression = "frame * 7"


@variant(FINAL, frames=(1, 3))
def exposure_by_a_nonlinear_strip(scene):
    cycles(scene, "film_exposure", 1.5, 1.0, 0.3)
    data = scene.animation_data
    action, slot = data.action, data.action_slot
    data.action = None
    strip = data.nla_tracks.new().strips.new("fade", 1, action)
    strip.action_slot = slot


@variant(FINAL, frames=(1, 2))
def exposure_driven_by_a_custom_property(scene):
    scene["light"] = 0.4
    scene.keyframe_insert('["light"]', frame=1)
    scene["light"] = 1.4
    scene.keyframe_insert('["light"]', frame=2)
    driver = scene.driver_add("cycles.film_exposure").driver
    one = driver.variables.new()
    one.name = "light"
    one.targets[0].id_type = "SCENE"
    one.targets[0].id = scene
    one.targets[0].data_path = '["light"]'
    driver.expression = "light"


@variant(FINAL, frames=(1, 2))
def keyed_layer(scene):
    """The first layer is switched off, so the second's picture is written."""
    second_layer(scene)
    layer(scene, "use", True, False)


@variant(FINAL, frames=(1, 2))
def keyed_layer_samples(scene):
    layer(scene, "samples", 2, 5)


@variant(FINAL, frames=(1, 2))
def keyed_pass(scene):
    scene.render.image_settings.media_type = "MULTI_LAYER_IMAGE"
    scene.render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
    layer(scene, "use_pass_normal", False, True)


@variant(FINAL, frames=(1, 2))
def keyed_stamp(scene):
    for name in ("frame", "date", "time", "render_time", "memory", "hostname", "filename"):
        setattr(scene.render, f"use_stamp_{name}", False)
    render(scene, "use_stamp", False, True)


@variant(FINAL, frames=(1, 2))
def keyed_strip(scene):
    """A strip of colour covers the picture from the second frame on."""
    strip = scene.sequence_editor_create().strips.new_effect("red", "COLOR", 1, 1, length=10)
    strip.color = (0.7, 0.1, 0.1)
    for frame, muted in ((1, True), (2, False)):
        strip.mute = muted
        strip.keyframe_insert("mute", frame=frame)


@variant(APPROXIMATE, frames=(1,), said="Path guiding")
def keyed_path_guiding(scene):
    cycles(scene, "use_guiding", False, True)


@variant(REFUSED, said="Freestyle")
def keyed_freestyle(scene):
    scene.render.use_freestyle = True
    layer(scene, "use_freestyle", False, True)


@variant(FINAL, frames=(1, 3))
def keyed_shutter(scene):
    scene.render.use_motion_blur = True
    render(scene, "motion_blur_shutter", 0.1, 0.5, 1.0)
    render(scene, "motion_blur_position", "START", "CENTER", "END")


@variant(FINAL, frames=(1, 3))
def keyed_simplify(scene):
    bpy.data.objects["ball"].modifiers.new("fine", "SUBSURF").render_levels = 2
    render(scene, "use_simplify", False, True, True)
    render(scene, "simplify_subdivision_render", 2, 1, 0)


# --- what objects and materials change ----------------------------------------------------------------


@variant(WHOLE, frames=(1, 2))
def keyed_adaptive_subdivision(scene):
    ball = bpy.data.objects["ball"]
    modifier = ball.modifiers.new("fine", "SUBSURF")
    keyed(
        ball,
        'modifiers["fine"].use_adaptive_subdivision',
        False,
        True,
        at=(modifier, "use_adaptive_subdivision"),
    )


@variant(FINAL, frames=(1, 2))
def keyed_shadow_catcher(scene):
    scene.cycles.use_denoising = True
    scene.render.film_transparent = True
    keyed(bpy.data.objects["Plane"], "is_shadow_catcher", False, True)


@variant(WHOLE, frames=(1, 2))
def keyed_fog_density(scene):
    cube = fog(scene)
    shader = cube.data.materials[0].node_tree.nodes["Principled Volume"]
    for frame, value in ((1, 0.0), (2, 0.5)):
        shader.inputs["Density"].default_value = value
        shader.inputs["Density"].keyframe_insert("default_value", frame=frame)


# --- what every tile evaluates alike ------------------------------------------------------------------


@variant(LINEAR, frames=(1, 3))
def keyed_view(scene):
    keyed(scene, "view_settings.exposure", 0.0, 0.7, 1.5, at=(scene.view_settings, "exposure"))
    keyed(scene, "view_settings.gamma", 1.0, 1.1, 1.3, at=(scene.view_settings, "gamma"))
    scene.view_settings.use_white_balance = True
    name = "white_balance_temperature"
    keyed(scene, f"view_settings.{name}", 6500.0, 5000.0, 3000.0, at=(scene.view_settings, name))


@variant(LINEAR, frames=(1, 3))
def keyed_dither(scene):
    render(scene, "dither_intensity", 0.0, 1.0, 2.0)


@variant(LINEAR, frames=(1, 3))
def keyed_bounces(scene):
    cycles(scene, "max_bounces", 0, 4, 12)
    cycles(scene, "sample_clamp_indirect", 0.0, 0.5, 0.1)
    cycles(scene, "filter_width", 0.5, 1.5, 4.0)
    cycles(scene, "blur_glossy", 0.0, 1.0, 2.0)


@variant(LINEAR, frames=(1, 3))
def keyed_transparent_film(scene):
    scene.render.image_settings.color_mode = "RGBA"
    render(scene, "film_transparent", False, True, True)


@variant(LINEAR, frames=(1, 3))
def keyed_animated_seed(scene):
    cycles(scene, "use_animated_seed", False, True, True)


@variant(LINEAR, frames=(1, 3))
def keyed_custom_property_drives_the_world(scene):
    scene["dusk"] = 1.0
    scene.keyframe_insert('["dusk"]', frame=1)
    scene["dusk"] = 0.1
    scene.keyframe_insert('["dusk"]', frame=3)
    strength = scene.world.node_tree.nodes["Background"].inputs["Strength"]
    driver = strength.driver_add("default_value").driver
    one = driver.variables.new()
    one.name = "dusk"
    one.targets[0].id_type = "SCENE"
    one.targets[0].id = scene
    one.targets[0].data_path = '["dusk"]'
    driver.expression = "dusk"


@variant(LINEAR, frames=(1, 3))
def keyed_camera(scene):
    camera = scene.camera
    keyed(camera.data, "lens", 30.0, 50.0, 70.0)
    keyed(camera.data, "shift_x", 0.0, 0.1, 0.2)
    keyed(camera.data, "type", "PERSP", "ORTHO", "PANO")


@variant(LINEAR, frames=(1, 3))
def keyed_compositor_value(scene):
    tree, layers, sink = compositor(scene)
    gamma = tree.nodes.new("ShaderNodeGamma")
    tree.links.new(layers.outputs["Image"], gamma.inputs["Color"])
    tree.links.new(gamma.outputs["Color"], sink.inputs["Image"])
    for frame, value in ((1, 1.0), (3, 2.5)):
        gamma.inputs["Gamma"].default_value = value
        gamma.inputs["Gamma"].keyframe_insert("default_value", frame=frame)


@variant(LINEAR, frames=(1, 3))
def muted_curve_on_samples(scene):
    cycles(scene, "samples", 2, 4, 7)
    action = scene.animation_data.action
    bag = action.layers[0].strips[0].channelbag(scene.animation_data.action_slot)
    bag.fcurves[0].mute = True
    scene.cycles.samples = 5


@variant(LINEAR, frames=(1, 3), said="scripts off")
def driver_in_python(scene):
    """It keeps the value it was saved with, in plain Blender with scripts off too."""
    driver = bpy.data.objects["box"].driver_add("location", 0).driver
    driver.expression = "len(str(frame)) * 0.5"

# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: writes small .blend files, each with one thing that farms get wrong, into a folder.

    python tests/variants.py FOLDER [NAME ...]

Every variant is the same little stage (64x48, 4 samples, a moving glossy ball over a chequered floor) with
one feature changed, so that a difference names its cause.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import bpy

Variant = Callable[[bpy.types.Scene], None]
VARIANTS: dict[str, Variant] = {}


def variant(make: Variant) -> Variant:
    VARIANTS[make.__name__] = make
    return make


# --- the stage --------------------------------------------------------------------------------------


def material(name: str, color: tuple[float, float, float], roughness: float, metallic: float = 0.0):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    shader = made.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*color, 1)
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Metallic"].default_value = metallic
    return made


def stage() -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_plane_add(size=8)
    floor = bpy.context.object
    floor.data.materials.append(material("floor", (0.7, 0.6, 0.4), 0.6))
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.8, location=(-0.7, 0, 0.8))
    ball = bpy.context.object
    ball.name = "ball"
    ball.data.materials.append(material("gold", (0.9, 0.6, 0.2), 0.15, 1.0))
    for frame, x in ((1, -0.7), (10, 0.9)):
        ball.location.x = x
        ball.keyframe_insert("location", frame=frame)
    bpy.ops.mesh.primitive_cube_add(size=1, location=(1, 0.5, 0.5), rotation=(0, 0, 0.5))
    box = bpy.context.object
    box.name = "box"
    box.data.materials.append(material("blue", (0.1, 0.2, 0.8), 0.4))
    bpy.ops.object.light_add(type="AREA", location=(2, -2, 4), rotation=(0.5, 0.4, 0))
    bpy.context.object.data.energy = 300
    bpy.ops.object.camera_add(location=(0, -5.5, 2.4), rotation=(1.2, 0, 0))
    scene.camera = bpy.context.object
    scene.world = bpy.data.worlds.new("sky")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (0.3, 0.4, 0.6, 1)
    settings(scene)
    return scene


def settings(scene: bpy.types.Scene) -> None:
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    scene.cycles.samples = 4
    scene.cycles.seed = 7
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = False
    scene.frame_start, scene.frame_end = 1, 10


def compositor(scene: bpy.types.Scene):
    tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    scene.compositing_node_group = tree
    layers = tree.nodes.new("CompositorNodeRLayers")
    return tree, layers, tree.nodes.new("NodeGroupOutput")


# --- the variants -----------------------------------------------------------------------------------


@variant
def plain(scene):
    """Nothing special: no compositor, no denoising."""


@variant
def odd_size(scene):
    scene.render.resolution_x, scene.render.resolution_y = 61, 37


@variant
def percentage(scene):
    scene.render.resolution_x, scene.render.resolution_y = 173, 131
    scene.render.resolution_percentage = 37


@variant
def denoised(scene):
    scene.cycles.use_denoising = True


@variant
def denoised_fast_no_passes(scene):
    scene.cycles.use_denoising = True
    scene.cycles.denoising_prefilter = "FAST"
    scene.cycles.denoising_input_passes = "RGB"


@variant
def denoised_albedo_balanced(scene):
    scene.cycles.use_denoising = True
    scene.cycles.denoising_prefilter = "NONE"
    scene.cycles.denoising_input_passes = "RGB_ALBEDO"
    scene.cycles.denoising_quality = "BALANCED"


@variant
def denoised_transparent(scene):
    scene.cycles.use_denoising = True
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"


@variant
def denoised_float(scene):
    """Five samples, stored as floats: a sum that no power of two divides."""
    scene.cycles.use_denoising = True
    scene.cycles.samples = 5
    scene.cycles.film_exposure = 1.7
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "32"


@variant
def denoised_adaptive_float(scene):
    denoised_float(scene)
    adaptive(scene)
    scene.cycles.adaptive_threshold = 0.02
    scene.cycles.film_exposure = 1.0


@variant
def denoised_exposed_adaptive(scene):
    denoised_float(scene)
    adaptive(scene)


@variant
def denoised_light_passes(scene):
    scene.cycles.use_denoising = True
    light_groups_and_aov(scene)


@variant
def cycles_tiles(scene):
    """Cycles cuts the frame into tiles of its own, through a file on disk."""
    scene.cycles.use_auto_tile = True
    scene.cycles.tile_size = 32


@variant
def cycles_tiles_denoised(scene):
    denoised_float(scene)
    scene.cycles.film_exposure = 1.0
    cycles_tiles(scene)


@variant
def cycles_tiles_denoised_exposed(scene):
    denoised_float(scene)
    cycles_tiles(scene)


@variant
def cycles_tiles_adaptive(scene):
    adaptive(scene)
    cycles_tiles(scene)


@variant
def adaptive(scene):
    scene.cycles.samples = 48
    scene.cycles.use_adaptive_sampling = True
    scene.cycles.adaptive_threshold = 0.1
    scene.cycles.adaptive_min_samples = 4


@variant
def adaptive_automatic(scene):
    scene.cycles.samples = 64
    scene.cycles.use_adaptive_sampling = True


@variant
def transparent(scene):
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"


@variant
def png16(scene):
    scene.render.image_settings.color_depth = "16"


@variant
def jpeg(scene):
    scene.render.image_settings.file_format = "JPEG"


@variant
def tiff16(scene):
    scene.render.image_settings.file_format = "TIFF"
    scene.render.image_settings.color_depth = "16"


@variant
def exr_half(scene):
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "16"


@variant
def exr_float_alpha(scene):
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "32"


@variant
def multilayer(scene):
    scene.view_layers[0].use_pass_z = True
    scene.view_layers[0].use_pass_normal = True
    scene.view_layers[0].use_pass_mist = True
    scene.cycles.use_denoising = True
    scene.render.image_settings.media_type = "MULTI_LAYER_IMAGE"
    scene.render.image_settings.file_format = "OPEN_EXR_MULTILAYER"


@variant
def multilayer_composited(scene):
    multilayer(scene)
    bloom(scene)


@variant
def bw_dithered(scene):
    scene.render.image_settings.color_mode = "BW"
    scene.render.dither_intensity = 2.0


@variant
def filmic_curves(scene):
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - High Contrast"
    scene.view_settings.exposure = 0.7
    scene.view_settings.gamma = 1.2
    scene.view_settings.use_curve_mapping = True
    curve = scene.view_settings.curve_mapping
    curve.curves[3].points.new(0.4, 0.55)
    curve.update()


@variant
def bloom(scene):
    tree, layers, sink = compositor(scene)
    glare = tree.nodes.new("CompositorNodeGlare")
    glare.inputs["Threshold"].default_value = 0.4
    blur = tree.nodes.new("CompositorNodeBlur")
    blur.inputs["Size"].default_value = (3, 3)
    tree.links.new(layers.outputs["Image"], glare.inputs["Image"])
    tree.links.new(glare.outputs["Image"], blur.inputs["Image"])
    tree.links.new(blur.outputs["Image"], sink.inputs["Image"])


@variant
def bloom_denoised(scene):
    scene.cycles.use_denoising = True
    bloom(scene)


@variant
def alpha_and_depth(scene):
    """The compositor mixes by alpha and by a normalised depth."""
    scene.render.film_transparent = True
    scene.view_layers[0].use_pass_z = True
    scene.view_layers[0].use_pass_mist = True
    tree, layers, sink = compositor(scene)
    over = tree.nodes.new("CompositorNodeAlphaOver")
    over.inputs["Background"].default_value = (0.6, 0.1, 0.2, 1)
    tree.links.new(layers.outputs["Image"], over.inputs["Foreground"])
    tree.links.new(layers.outputs["Alpha"], over.inputs["Factor"])
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    tree.links.new(layers.outputs["Mist"], mix.inputs["Factor"])
    tree.links.new(over.outputs["Image"], mix.inputs["A"])
    tree.links.new(mix.outputs["Result"], sink.inputs["Image"])


@variant
def grouped_compositor(scene):
    """Render Layers inside a node group."""
    inner = bpy.data.node_groups.new("Inner", "CompositorNodeTree")
    inner.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    source = inner.nodes.new("CompositorNodeRLayers")
    source.scene = scene
    sink = inner.nodes.new("NodeGroupOutput")
    gamma = inner.nodes.new("ShaderNodeGamma")
    gamma.inputs["Gamma"].default_value = 1.4
    inner.links.new(source.outputs["Image"], gamma.inputs["Color"])
    inner.links.new(gamma.outputs["Color"], sink.inputs["Image"])
    tree, layers, out = compositor(scene)
    tree.nodes.remove(layers)
    group = tree.nodes.new("CompositorNodeGroup")
    group.node_tree = inner
    tree.links.new(group.outputs[0], out.inputs["Image"])


def second_layer(scene):
    """A layer of its own for the box, excluded from the first."""
    collection = bpy.data.collections.new("boxes")
    scene.collection.children.link(collection)
    box = bpy.data.objects["box"]
    for owner in list(box.users_collection):
        owner.objects.unlink(box)
    collection.objects.link(box)
    layer = scene.view_layers.new("Boxes")
    for item in layer.layer_collection.children:
        item.exclude = False
    scene.view_layers[0].layer_collection.children["boxes"].exclude = True
    return layer


@variant
def two_layers_uncomposited(scene):
    second_layer(scene)


@variant
def layer_with_own_samples(scene):
    second_layer(scene).samples = 2


@variant
def sample_subset(scene):
    """The artist renders only samples 2 to 5 of 8."""
    scene.cycles.samples = 8
    scene.cycles.use_sample_subset = True
    scene.cycles.sample_offset = 2
    scene.cycles.sample_subset_length = 4


@variant
def two_layers_cryptomatte_outputs(scene):
    scene.cycles.use_denoising = True
    scene.render.film_transparent = True
    layer = second_layer(scene)
    layer.cycles.use_denoising = False
    scene.view_layers[0].use_pass_cryptomatte_object = True
    tree, layers, sink = compositor(scene)
    layers.layer = scene.view_layers[0].name
    boxes = tree.nodes.new("CompositorNodeRLayers")
    boxes.layer = "Boxes"
    over = tree.nodes.new("CompositorNodeAlphaOver")
    tree.links.new(layers.outputs["Image"], over.inputs["Background"])
    tree.links.new(boxes.outputs["Image"], over.inputs["Foreground"])
    matte = tree.nodes.new("CompositorNodeCryptomatteV2")
    matte.source = "RENDER"
    matte.scene = scene
    matte.layer_name = scene.view_layers[0].name + ".CryptoObject"
    matte.matte_id = "ball"
    tree.links.new(layers.outputs["Image"], matte.inputs["Image"])
    output = tree.nodes.new("CompositorNodeOutputFile")
    output.directory = "//mattes/"
    output.file_name = "matte_####"
    output.format.media_type = "IMAGE"
    output.format.file_format = "PNG"
    output.file_output_items.new("FLOAT", "ball")
    output.file_output_items.new("RGBA", "boxes")
    tree.links.new(matte.outputs["Matte"], output.inputs["ball"])
    tree.links.new(boxes.outputs["Image"], output.inputs["boxes"])
    tree.links.new(over.outputs["Image"], sink.inputs["Image"])


@variant
def two_layers_adaptive_denoised(scene):
    """Each layer counts its samples for itself."""
    two_layers_cryptomatte_outputs(scene)
    scene.view_layers["Boxes"].cycles.use_denoising = True
    adaptive(scene)
    scene.cycles.adaptive_threshold = 0.03
    scene.render.image_settings.color_depth = "16"


@variant
def border_kept(scene):
    """The artist's border without cropping: the rest of the frame is empty."""
    scene.render.use_border = True
    scene.render.use_crop_to_border = False
    scene.render.border_min_x, scene.render.border_max_x = 0.2, 0.83
    scene.render.border_min_y, scene.render.border_max_y = 0.15, 0.7
    scene.render.image_settings.color_mode = "RGBA"


@variant
def border_kept_composited(scene):
    border_kept(scene)
    bloom(scene)


@variant
def border_cropped(scene):
    border_kept(scene)
    scene.render.use_crop_to_border = True


@variant
def border_cropped_composited(scene):
    border_cropped(scene)
    scene.cycles.use_denoising = True
    bloom(scene)


@variant
def motion_blur(scene):
    scene.render.use_motion_blur = True
    scene.render.motion_blur_shutter = 1.0
    scene.camera.data.dof.use_dof = True
    scene.camera.data.dof.aperture_fstop = 0.5


@variant
def camera_markers(scene):
    """A second camera from frame 3 on."""
    bpy.ops.object.camera_add(location=(4, -4, 3), rotation=(1.1, 0, 0.8))
    second = bpy.context.object
    scene.timeline_markers.new("one", frame=1).camera = scene.camera
    scene.timeline_markers.new("two", frame=3).camera = second


@variant
def animated_seed(scene):
    scene.cycles.use_animated_seed = True


@variant
def sampling_patterns(scene):
    scene.cycles.sampling_pattern = "BLUE_NOISE"


@variant
def panorama(scene):
    scene.camera.data.type = "PANO"
    scene.camera.rotation_euler = (1.4, 0, 0)


@variant
def volume(scene):
    made = bpy.data.materials.new("smoke")
    made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    shader = tree.nodes.new("ShaderNodeVolumePrincipled")
    sink = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(shader.outputs[0], sink.inputs["Volume"])
    bpy.ops.mesh.primitive_cube_add(size=6, location=(0, 0, 3))
    bpy.context.object.data.materials.append(made)


@variant
def grouped_without_scene(scene):
    """Render Layers in a group, of no scene: Blender writes black."""
    grouped_compositor(scene)
    bpy.data.node_groups["Inner"].nodes["Render Layers"].scene = None


@variant
def shadow_catcher_denoised(scene):
    shadow_catcher(scene)
    scene.cycles.use_denoising = True


@variant
def adaptive_subdivision(scene):
    ball = bpy.data.objects["ball"]
    modifier = ball.modifiers.new("fine", "SUBSURF")
    modifier.use_adaptive_subdivision = True


@variant
def path_guiding(scene):
    scene.cycles.use_guiding = True


@variant
def shadow_catcher(scene):
    scene.render.film_transparent = True
    bpy.data.objects["Plane"].is_shadow_catcher = True
    scene.render.image_settings.color_mode = "RGBA"


@variant
def light_groups_and_aov(scene):
    layer = scene.view_layers[0]
    layer.use_pass_diffuse_direct = True
    layer.use_pass_glossy_indirect = True
    layer.use_pass_vector = True
    layer.use_pass_object_index = True
    tree, layers, sink = compositor(scene)
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    mix.blend_type = "ADD"
    tree.links.new(layers.outputs["Diffuse Direct"], mix.inputs["A"])
    tree.links.new(layers.outputs["Glossy Indirect"], mix.inputs["B"])
    blur = tree.nodes.new("CompositorNodeVecBlur")
    layer.use_pass_z = True
    tree.links.new(mix.outputs["Result"], blur.inputs["Image"])
    tree.links.new(layers.outputs["Depth"], blur.inputs["Z"])
    tree.links.new(layers.outputs["Vector"], blur.inputs["Speed"])
    tree.links.new(blur.outputs["Image"], sink.inputs["Image"])


@variant
def own_denoise_node(scene):
    """The artist denoises in the compositor, with the passes stored by the scene."""
    scene.view_layers[0].cycles.denoising_store_passes = True
    tree, layers, sink = compositor(scene)
    denoise = tree.nodes.new("CompositorNodeDenoise")
    tree.links.new(layers.outputs["Image"], denoise.inputs["Image"])
    tree.links.new(layers.outputs["Denoising Albedo"], denoise.inputs["Albedo"])
    tree.links.new(layers.outputs["Denoising Normal"], denoise.inputs["Normal"])
    tree.links.new(denoise.outputs["Image"], sink.inputs["Image"])


@variant
def noisy_and_denoised(scene):
    """Both the denoised and the noisy picture are used."""
    scene.cycles.use_denoising = True
    scene.view_layers[0].cycles.denoising_store_passes = True
    tree, layers, sink = compositor(scene)
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    tree.links.new(layers.outputs["Image"], mix.inputs["A"])
    tree.links.new(layers.outputs["Noisy Image"], mix.inputs["B"])
    tree.links.new(mix.outputs["Result"], sink.inputs["Image"])


@variant
def no_output(scene):
    """A compositor whose output is not connected: Blender writes the render as it is."""
    compositor(scene)


def main(folder: str, names: list[str]) -> None:
    for name in names or list(VARIANTS):
        scene = stage()
        VARIANTS[name](scene)
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder) / f"{name}.blend"), compress=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files: more than one a frame, odd letters, templates, views."""

from tests.variants.stage import FINAL, LINEAR, compositor, variant


def outputs(scene, *nodes, multilayer=False):
    """File Output nodes, each with its folder, its name and its items."""
    tree, layers, sink = compositor(scene)
    tree.links.new(layers.outputs["Image"], sink.inputs["Image"])
    for directory, name, items in nodes:
        node = tree.nodes.new("CompositorNodeOutputFile")
        node.directory, node.file_name = directory, name
        node.format.media_type = "MULTI_LAYER_IMAGE" if multilayer else "IMAGE"
        node.format.file_format = "OPEN_EXR_MULTILAYER" if multilayer else "PNG"
        for number, item in enumerate(items):
            node.file_output_items.new("RGBA", item)
            tree.links.new(layers.outputs["Image"], node.inputs[number])


@variant(LINEAR)
def output_without_number(scene):
    outputs(scene, ("//plain/", "beauty", ("",)))


@variant(LINEAR)
def output_number_in_the_middle(scene):
    outputs(scene, ("//plain/", "a_####_b.v2", ("x", "y.png")))


@variant(LINEAR)
def output_odd_letters(scene):
    outputs(scene, ("//50% & more+/", "é日_%d_%20_'q'", ("a b", "c,d")))


@variant(LINEAR)
def output_long_names(scene):
    outputs(scene, ("//" + "d" * 120 + "/", "n" * 180, ("x",)))


@variant(LINEAR)
def output_templates(scene):
    scene.camera.name, scene.name = "Cam A", "sc/e:ne"
    name = "{camera_name}_{resolution_x:#####}_{fps:.##}_{{b}}_####"
    outputs(scene, ("//{blend_name}/{scene_name}/", name, ("x", "{scene_name}")))


@variant(LINEAR)
def output_template_unknown(scene):
    """Blender writes nothing for a variable that it does not know."""
    outputs(scene, ("//o/", "{nothing}", ("x",)), ("//o/", "known", ("x",)))


@variant(LINEAR)
def output_multilayer(scene):
    outputs(scene, ("//layers/", "all_", ("one", "two")), multilayer=True)


@variant(FINAL)
def output_beside_strips(scene):
    """The strips make the picture: nothing is composited, and nothing but the frame is written."""
    outputs(scene, ("//o/", "p_", ("x",)))
    strip = scene.sequence_editor_create().strips.new_effect(
        "color", "COLOR", channel=1, frame_start=1, length=20
    )
    strip.color = (0.4, 0.2, 0.1)


@variant(FINAL, frames=(2, 8))
def output_of_a_layer_that_is_switched_off(scene):
    outputs(scene, ("//o/", "p_", ("x",)))
    tree = scene.compositing_node_group
    layer = scene.view_layers.new("Boxes")
    source = tree.nodes.new("CompositorNodeRLayers")
    source.layer = layer.name
    (node,) = (one for one in tree.nodes if one.bl_idname == "CompositorNodeOutputFile")
    tree.links.new(source.outputs["Image"], node.inputs[0])
    for frame, use in ((1, True), (5, False)):
        layer.use = use
        scene.keyframe_insert('view_layers["Boxes"].use', frame=frame)


@variant(LINEAR)
def output_folders_of_one_name(scene):
    outputs(scene, ("//hero/beauty/", "p_", ("x",)), ("//set/beauty/", "p_", ("x",)))


@variant(LINEAR, frames=(-2, 0))
def output_below_zero(scene):
    scene.frame_start, scene.frame_end = -2, 0
    outputs(scene, ("//m/", "m_", ("x",)))


@variant(FINAL)
def stereo_files(scene):
    scene.render.use_multiview = True
    scene.render.image_settings.views_format = "INDIVIDUAL"


@variant(FINAL)
def stereo_side_by_side(scene):
    scene.render.use_multiview = True
    scene.render.image_settings.views_format = "STEREO_3D"
    scene.render.image_settings.stereo_3d_format.display_mode = "SIDEBYSIDE"


@variant(FINAL)
def stereo_outputs(scene):
    stereo_files(scene)
    outputs(scene, ("//o/", "p_", ("x",)))


@variant(FINAL)
def three_views(scene):
    stereo_files(scene)
    scene.render.views_format = "MULTIVIEW"
    view = scene.render.views.new("up")
    view.file_suffix, view.camera_suffix = ".up", ".up"


@variant(LINEAR)
def files_without_ending(scene):
    scene.render.use_file_extension = False


@variant(LINEAR)
def preview_beside(scene):
    image = scene.render.image_settings
    image.file_format, image.use_preview = "OPEN_EXR", True

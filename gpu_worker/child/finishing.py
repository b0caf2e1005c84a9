# SPDX-License-Identifier: GPL-3.0-or-later
"""Finishing one frame: denoise, composite, colour-manage and encode the merged tiles, once.

Every Render Layers node is replaced by an Image node on the merged multilayer EXR, the view layers are
switched off, and Blender renders: only its compositor runs, and Blender itself writes the files. This
changes the loaded scene, so it happens in a child that never renders.
"""

import time
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.child import rendering
from gpu_worker.child.denoising import Scaling

_prepared: dict[str, Any] = {}


def forget() -> None:
    """A scene was opened: what was prepared for the one before is gone."""
    _prepared.clear()


def finish_frame(command: dict[str, Any]) -> dict[str, Any]:
    """Turn a merged EXR into the frame's files (docs/architecture.md, "The Blender child").

    Returns files (relative to the folder `path`, the frame first), seconds and peak memory in bytes.
    Raises SceneError.
    """
    started = time.monotonic()
    scene = bpy.context.scene
    rendering.pin_settings(command["settings"])
    rendering.set_format(command["settings"]["format"])
    folder = Path(command["path"])
    if "image" not in _prepared:
        _prepare(scene, command["merged"], command["area"])
    else:
        _prepared["image"].filepath = command["merged"]
        _prepared["image"].reload()
    rendering.write_files(command["frame"], folder, lambda done, total: None)
    return {
        "files": rendering.list_files(folder),
        "seconds": time.monotonic() - started,
        "render_seconds": 0.0,
        "peak_memory": rendering.peak_memory(),
    }


def _prepare(scene: Any, merged: str, area: dict[str, int]) -> None:
    """Point the scene's compositor at the merged file. Done once for a scene."""
    image = bpy.data.images.load(merged)
    scaling = Scaling(scene, area)
    written = _written_layer(scene)
    if not (scene.render.use_compositing and scene.compositing_node_group):
        scene.compositing_node_group = _bare_compositor(written)
        scene.render.use_compositing = True
    _read_from_image(_editable(scene.compositing_node_group), scene, image, scaling)
    scene.render.use_sequencer = False
    scene.cycles.use_denoising = False
    for layer in scene.view_layers:
        layer.use = False
    _prepared["image"] = image


def _written_layer(scene: Any) -> str:
    """The layer Blender writes when nothing composites: the first that renders."""
    return str(next(layer.name for layer in scene.view_layers if layer.use))


def _bare_compositor(layer: str) -> Any:
    """What a scene without compositing does, as nodes: the layer's picture goes out as it is."""
    tree = bpy.data.node_groups.new("Farm", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    source = tree.nodes.new("CompositorNodeRLayers")
    source.layer = layer
    sink = tree.nodes.new("NodeGroupOutput")
    tree.links.new(source.outputs["Image"], sink.inputs["Image"])
    return tree


def _editable(tree: Any) -> Any:
    """The tree, or the local copy that takes the place of a linked one."""
    return tree.make_local() if tree.library is not None else tree


def _read_from_image(tree: Any, scene: Any, image: Any, scaling: Scaling) -> None:
    for node in list(tree.nodes):
        if node.bl_idname == "CompositorNodeRLayers":
            _replace_render_layers(tree, node, scene, image, scaling)
        elif node.bl_idname == "CompositorNodeCryptomatteV2" and node.source == "RENDER":
            _read_matte_from_image(node, image)


def _read_matte_from_image(node: Any, image: Any) -> None:
    layer, mattes = node.layer_name, node.matte_id
    node.source = "IMAGE"
    node.image = image
    node.layer_name = layer
    node.matte_id = mattes


def _image_node(tree: Any, image: Any, layer: str) -> Any:
    node = tree.nodes.new("CompositorNodeImage")
    node.image = image
    if node.has_layers:
        node.layer = layer
    return node


def _replace_render_layers(tree: Any, node: Any, scene: Any, image: Any, scaling: Scaling) -> None:
    """Give every link that leaves a Render Layers node the same pass of the merged file."""
    source = _image_node(tree, image, node.layer)
    passes = {socket.name: socket for socket in source.outputs}
    picture = scaling.picture(tree, scene, node.layer, passes)
    for output in list(node.outputs):
        targets = [link.to_socket for link in output.links]
        if targets:
            feed = _matching(tree, output.name, picture, passes, scaling)
            for target in targets:
                tree.links.new(feed, target)
    tree.nodes.remove(node)


def _matching(tree: Any, name: str, picture: Any, passes: dict[str, Any], scaling: Scaling) -> Any:
    if name == "Image":
        return picture
    if name == "Noisy Image":
        return scaling.noisy(tree, passes)
    if name == "Alpha":
        separate = tree.nodes.new("CompositorNodeSeparateColor")
        tree.links.new(picture, separate.inputs["Image"])
        return separate.outputs["Alpha"]
    if name not in passes:
        raise rendering.SceneError(f"The compositor uses the pass '{name}', which the render does not write.")
    return passes[name]

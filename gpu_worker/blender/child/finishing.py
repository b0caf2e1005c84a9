# SPDX-License-Identifier: GPL-3.0-or-later
"""Finishing one frame: denoise, composite, colour-manage and encode the merged tiles, once.

Blender is made to believe that it has just rendered them (`child/merged.py`), and goes on by itself. What
Cycles would have denoised is denoised before, by Blender's own Denoise node in a scene of its own.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy

from gpu_worker.blender.child import merged, rendering
from gpu_worker.blender.child.denoising import Scaling, used_layers
from gpu_worker.blender.child.errors import SceneError
from gpu_worker.blender.child.exr_attributes import attributes
from gpu_worker.blender.child.naming import escape_template
from gpu_worker.blender.child.overrides import RENDER, overrides


def finish_frame(command: dict[str, Any]) -> dict[str, Any]:
    """Turn a merged EXR of the rendered area into the frame's files (gpu_worker/blender/README.md).

    Returns files (relative to the folder `path`, the frame first), seconds and peak memory in bytes.
    Raises SceneError.
    """
    started = time.monotonic()
    scene = bpy.context.scene
    if scene.render.engine != merged.NAME:
        rendering.start_from_own_settings(command)
    source = merged.source
    source.path, source.problem = command["merged"], ""
    source.stamps = _cryptomattes(command["merged"])
    source.pictures = _denoised(scene, command)
    rendering.set_format(command["settings"]["format"])
    if scene.render.engine != merged.NAME:
        # Once a scene: Blender 5.0 does not survive that settings are given back and forth with it.
        merged.register()
        overrides.put(scene, RENDER, "engine", merged.NAME)
    _, files = rendering.write_files(command["frame"], Path(command["path"]), lambda done, total: None)
    if source.problem:
        raise SceneError(f"The merged picture could not be used: {source.problem}")
    return {
        "files": files,
        "seconds": time.monotonic() - started,
        "render_seconds": 0.0,
        "peak_memory": rendering.peak_memory(),
    }


def _cryptomattes(path: str) -> dict[str, str]:
    return {name: value for name, value in attributes(path).items() if name.startswith("cryptomatte/")}


def _denoised(scene: Any, command: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """The layers' finished pictures, and those before denoising, as flat arrays of floats, RGBA."""
    scaling = Scaling(scene, command["area"])
    if not scaling.denoised:
        return {}
    layers = [layer.name for layer in used_layers(scene)]
    area, folder = command["area"], Path(command["path"]) / "denoised"
    with _own_scene(area["x1"] - area["x0"], area["y1"] - area["y0"]) as own:
        written = _denoising_tree(own, scaling, layers, command["merged"], folder)
        rendering.render_scene(own)
        found = {key: _floats(path) for key, path in written.items()}
    shutil.rmtree(folder)
    return found


@contextmanager
def _own_scene(width: int, height: int) -> Iterator[Any]:
    """A scene of nothing but a compositor, which is gone afterwards with what it brought."""
    before = {group: set(group) for group in (bpy.data.scenes, bpy.data.node_groups, bpy.data.images)}
    own = bpy.data.scenes.new("Render farm: denoising")
    own.view_layers[0].use = False
    own.render.resolution_x, own.render.resolution_y = width, height
    own.render.resolution_percentage = 100
    own.render.compositor_device = own.render.compositor_denoise_device = "CPU"
    try:
        yield own
    finally:
        for group, known in before.items():
            for block in set(group) - known:
                group.remove(block)


def _denoising_tree(
    own: Any, scaling: Scaling, layers: list[str], path: str, folder: Path
) -> dict[tuple[str, str], Path]:
    """Make `own` write each layer's pictures; where they will be, by layer and pass."""
    tree = own.compositing_node_group = bpy.data.node_groups.new(own.name, "CompositorNodeTree")
    image = bpy.data.images.load(path)
    output = tree.nodes.new("CompositorNodeOutputFile")
    output.directory, output.file_name = escape_template(f"{folder}/"), ""
    output.format.media_type, output.format.file_format = "IMAGE", "OPEN_EXR"
    output.format.color_mode, output.format.color_depth = "RGBA", "32"
    written = {}
    for number, layer in enumerate(layers):
        source = tree.nodes.new("CompositorNodeImage")
        source.image = image
        if source.has_layers:
            source.layer = layer
        passes = {socket.name: socket for socket in source.outputs}
        feeds = {"Noisy Image": scaling.noisy(tree, passes)}
        if layer in scaling.denoised:
            feeds["Combined"] = scaling.picture(tree, passes)
        else:
            feeds["Combined"] = feeds["Noisy Image"]
        for name, feed in feeds.items():
            item = f"{number}-{name[0]}"
            output.file_output_items.new("RGBA", item)
            tree.links.new(feed, output.inputs[item])
            written[layer, name] = folder / f"{item}.exr"
    return written


def _floats(path: Path) -> Any:
    """The numbers in an EXR of one layer, as they are stored."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    numbers = numpy.empty(image.size[0] * image.size[1] * 4, numpy.float32)
    image.pixels.foreach_get(numbers)
    return numbers

# SPDX-License-Identifier: GPL-3.0-or-later
"""A render engine that renders nothing: it gives Blender the passes that are already there.

While a frame is finished it stands in Cycles' place. To Blender the picture was just rendered: layers,
passes, compositor, colour management and files are its own, and not a node of the artist's is touched.
"""

from dataclasses import dataclass, field
from typing import Any

import bpy
from cycles.engine import list_render_passes, register_passes

NAME = "FARM_MERGED"


@dataclass
class Source:
    """What the engine gives next: the stitched EXR of the rendered area, pictures that take the place of
    its passes (by layer and pass, RGBA), and what the EXR says of cryptomattes. `problem`: why it could not.
    """

    path: str = ""
    pictures: dict[tuple[str, str], Any] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    problem: str = ""


source = Source()


class MergedEngine(bpy.types.RenderEngine):  # type: ignore[misc]
    """Blender calls these methods."""

    bl_idname = NAME
    bl_label = "Render farm: rendered already"

    def update_render_passes(self, scene: Any, layer: Any) -> None:
        """Blender asks which sockets a layer's node has."""
        self.register_pass(scene, layer, "Combined", 4, "RGBA", "COLOR")
        register_passes(self, scene, layer)

    def render(self, depsgraph: Any) -> None:
        """Blender wants one view layer."""
        layer = depsgraph.view_layer.name
        for name, channels, _ in list_render_passes(depsgraph.scene, depsgraph.view_layer):
            self.add_pass(name, len(channels), channels, layer=layer)
        result = self.begin_result(0, 0, self.resolution_x, self.resolution_y, layer=layer)
        try:
            _fill(result, layer)
        except Exception as error:  # Blender would only print it
            source.problem = source.problem or str(error)
        self.end_result(result)
        # What is told of the whole picture belongs to the frame's result, not to this layer's.
        for name, value in source.stamps.items():
            self.get_result().stamp_data_add_field(name, value)


def _fill(result: Any, layer: str) -> None:
    (given,) = result.layers
    given.load_from_file(source.path)
    for stored in given.passes:
        picture = source.pictures.get((layer, stored.name))
        if picture is not None:
            stored.rect.foreach_set(picture)


def register() -> None:
    """Make the engine known to Blender, once a process."""
    if not MergedEngine.is_registered:
        bpy.utils.register_class(MergedEngine)

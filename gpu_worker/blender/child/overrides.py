# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm changes of a scene's settings, so that neither a key nor a driver sets it back.

Blender evaluates the scene's animation again when a render starts, after the farm has set what it needs.
So whatever is set here has its curves and drivers muted, is looked at again in the scene that the engine
was given, and is given back, unmuted, before the next task.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy

TOUCHED: dict[str, tuple[str, ...]] = {
    "RenderSettings": (
        "engine",
        "filepath",
        "use_file_extension",
        "use_compositing",
        "use_sequencer",
        "use_border",
        "use_crop_to_border",
        "border_min_x",
        "border_max_x",
        "border_min_y",
        "border_max_y",
        "resolution_x",
        "resolution_y",
        "resolution_percentage",
        "threads_mode",
        "threads",
        "use_persistent_data",
        "compositor_device",
        "compositor_denoise_device",
    ),
    "ImageFormatSettings": (
        "media_type",
        "file_format",
        "color_mode",
        "color_depth",
        "exr_codec",
        "use_exr_interleave",
    ),
    "CyclesRenderSettings": (
        "device",
        "samples",
        "seed",
        "use_denoising",
        "denoising_use_gpu",
        "film_exposure",
        "use_adaptive_sampling",
        "use_sample_subset",
        "sample_offset",
        "sample_subset_length",
        "use_layer_samples",
    ),
    "SceneEEVEE": ("taa_render_samples",),
    "CyclesRenderLayerSettings": ("denoising_store_passes", "pass_debug_sample_count"),
}
"""All settings the farm ever sets, by Blender's type. A test animates each of them."""

SET_ALONG: dict[str, tuple[tuple[str, str], ...]] = {
    "ImageFormatSettings": (("linear_colorspace_settings", "name"),),
}
"""What Blender sets by itself when one of these is set, by part and name: a file's own colour space is
forgotten with its format.
"""

RENDER, IMAGE, CYCLES, EEVEE = "render", "render.image_settings", "cycles", "eevee"
"""Where settings are, below the scene."""


def of_layer(layer: Any) -> str:
    """Where Cycles' settings of a view layer are."""
    return f'view_layers["{bpy.utils.escape_identifier(layer.name)}"].cycles'


class SetBack(Exception):
    """A setting of the farm's had another value once the scene was evaluated."""


@dataclass
class _Group:
    """The settings at one place: what the file has, what was set, the curves that were muted, and what the
    file has of what is set along, by part and name.
    """

    own: dict[str, Any]
    now: dict[str, Any]
    muted: list[Any]
    along: list[tuple[str, str, Any]]


class Overrides:
    """The changed settings of the scene that is open."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def forget(self) -> None:
        """Another scene was opened."""
        self._groups.clear()

    def put(self, scene: Any, where: str, name: str, value: Any) -> None:
        """Set `name` of the settings at `where`, whatever the scene's animation says of it."""
        owner = scene.path_resolve(where)
        group = self._group(owner, where)
        if name not in group.own:
            raise KeyError(f"{owner.bl_rna.identifier}.{name} is not listed as touched.")
        if name not in group.now:
            group.muted += _mute(scene, owner, name)
        setattr(owner, name, value)
        group.now[name] = getattr(owner, name)

    def _group(self, owner: Any, where: str) -> _Group:
        # All are remembered before the first is set: setting one may change others, as formats do.
        if where not in self._groups:
            kind = owner.bl_rna.identifier
            own = {name: getattr(owner, name) for name in TOUCHED[kind]}
            along = [
                (part, name, getattr(getattr(owner, part), name)) for part, name in SET_ALONG.get(kind, ())
            ]
            self._groups[where] = _Group(own, {}, [], along)
        return self._groups[where]

    def give_back(self, scene: Any) -> None:
        """Make the scene what its file says."""
        for where, group in self._groups.items():
            owner = scene.path_resolve(where)
            for name, value in group.own.items():
                if getattr(owner, name) != value:
                    setattr(owner, name, value)
            for part, name, value in group.along:
                if value:  # Blender takes no empty name
                    setattr(getattr(owner, part), name, value)
            for curve in group.muted:
                curve.mute = False
        self._groups.clear()

    @contextmanager
    def watched(self) -> Iterator[Callable[[], None]]:
        """While Blender renders, compare; the function that is given raises SetBack where a value differs.

        The scene that an engine renders exists only while it does, so that a handler has to look at it.
        """
        wrong: list[str] = []

        def look(scene: Any, depsgraph: Any = None) -> None:
            if depsgraph is not None and depsgraph.mode == "RENDER" and scene == bpy.context.scene:
                wrong.extend(self._different(depsgraph.scene_eval))

        def judge() -> None:
            wrong.extend(self._different(bpy.context.scene))
            if wrong:
                raise SetBack(wrong[0])

        bpy.app.handlers.frame_change_post.append(look)
        try:
            yield judge
        finally:
            bpy.app.handlers.frame_change_post.remove(look)

    def _different(self, scene: Any) -> Iterator[str]:
        for where, group in self._groups.items():
            owner = scene.path_resolve(where)
            for name, value in group.now.items():
                if getattr(owner, name) != value:
                    yield f"{where}.{name} was set to {value} and is {getattr(owner, name)} in the render"


def _mute(scene: Any, owner: Any, name: str) -> list[Any]:
    """The scene's curves and drivers of one setting, muted now."""
    muted = [curve for curve in all_curves(scene) if not curve.mute and _is_of(curve, scene, owner, name)]
    for curve in muted:
        curve.mute = True
    return muted


def _is_of(curve: Any, scene: Any, owner: Any, name: str) -> bool:
    where, _, last = curve.data_path.rpartition(".")
    if last != name:
        return False
    try:
        found = scene.path_resolve(where) if where else scene
    except ValueError:
        return False
    return bool(found.as_pointer() == owner.as_pointer())


def all_curves(block: Any) -> Iterator[Any]:
    """All curves and drivers of a data-block: its action's, its strips', its drivers."""
    data = block.animation_data
    if data is None:
        return
    actions = [data.action] if data.action else []
    actions += [action for track in data.nla_tracks for action in _actions(track.strips)]
    for action in dict.fromkeys(actions):
        yield from curves_of(action)
    yield from data.drivers


def _actions(strips: Any) -> Iterator[Any]:
    for strip in strips:
        if strip.type == "META":
            yield from _actions(strip.strips)
        elif strip.action:
            yield strip.action


def curves_of(action: Any) -> Iterator[Any]:
    """All curves of an action."""
    for layer in action.layers:
        for strip in layer.strips:
            for bag in strip.channelbags:
                yield from bag.fcurves


overrides = Overrides()
"""Those of the scene that this process has open."""

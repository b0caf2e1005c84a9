# SPDX-License-Identifier: GPL-3.0-or-later
"""Which properties of a data-block change with the frame: keys, drivers and NLA strips."""

import re
from collections.abc import Iterator
from typing import Any

HARMLESS = re.compile(
    r"""\["                                     # custom properties
    | view_settings\.(exposure|gamma|white_balance_\w+|use_white_balance)$
    | render\.(dither_intensity|film_transparent)$
    | cycles\.(max_bounces|diffuse_bounces|glossy_bounces|transmission_bounces|volume_bounces
              |transparent_max_bounces|min_light_bounces|min_transparent_bounces|caustics_\w+|blur_glossy
              |sample_clamp_\w+|light_sampling_threshold|filter_width|film_transparent_\w+|use_fast_gi
              |ao_bounces_render|rolling_shutter_\w+|use_animated_seed)$
    | (gravity|use_gravity|audio_volume|use_audio\w*)$""",
    re.VERBOSE,
)
"""Properties of a scene that every tile of a frame evaluates alike, and nothing is decided from. Not so
motion blur: Blender reads an animated shutter otherwise when it renders one frame than in an animation.
"""


def animated_paths(block: Any) -> set[str]:
    """The data paths of `block` (its own and those below it) that keys or drivers set."""
    data = getattr(block, "animation_data", None)
    if data is None:
        return set()
    curves = [*data.drivers, *_keyed(data.action, data.action_slot)]
    for track in data.nla_tracks:
        for strip in track.strips:
            curves += _strip_curves(strip)
    return {curve.data_path for curve in curves if not curve.mute}


def _strip_curves(strip: Any) -> Iterator[Any]:
    yield from _keyed(strip.action, strip.action_slot)
    for inner in getattr(strip, "strips", ()):
        yield from _strip_curves(inner)


def _keyed(action: Any, slot: Any) -> Iterator[Any]:
    if action is None or slot is None:
        return
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(slot)
            yield from bag.fcurves if bag else ()


def is_animated(block: Any, path: str) -> bool:
    """Whether keys or drivers set this property of `block`."""
    return path in animated_paths(block)


def ever_on(block: Any, path: str) -> bool:
    """Whether a switch of `block` is on, or may be at some frame."""
    return bool(block.path_resolve(path)) or is_animated(block, path)


def telling_settings(scene: Any) -> list[str]:
    """Animated settings of the scene that facts or the farm's own changes depend on, in order."""
    return sorted(path for path in animated_paths(scene) if not HARMLESS.match(path))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering one frame, or one region of it, in a Blender that keeps its scene warm."""

import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.child import compositor
from gpu_worker.child.denoising import store_for_denoising, used_layers

Progress = Callable[[int, int], None]

SAMPLE_COUNT = re.compile(r"Sample (\d+)/(\d+)")


class SceneError(Exception):
    """The scene cannot be rendered as asked; the text is for the artist."""


class DeviceError(Exception):
    """The device that was asked for cannot be used; the text is for the GPU's owner."""


CHANGED = {
    "render": ("use_compositing", "use_sequencer", "use_border", "use_crop_to_border"),
    "cycles": (
        "use_denoising",
        "film_exposure",
        "use_adaptive_sampling",
        "use_sample_subset",
        "sample_offset",
        "sample_subset_length",
        "use_layer_samples",
    ),
}
"""What `_linear_output` and audits change, by the part of the scene it is in."""


class OwnSettings:
    """The settings of the file that rendering changes: the next task must start from them again."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def keep(self, scene: Any) -> None:
        """Remember the freshly opened scene's settings."""
        for group, names in CHANGED.items():
            self._kept[group] = {name: getattr(getattr(scene, group), name) for name in names}

    def restore(self, scene: Any) -> None:
        """Give the scene its own settings back."""
        for group, values in self._kept.items():
            for name, value in values.items():
                setattr(getattr(scene, group), name, value)


_own_settings = OwnSettings()


def open_scene(path: str) -> None:
    """Load a .blend without running anything it carries and without its window layout."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False
    try:
        bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    except RuntimeError as error:
        raise SceneError(f"Blender cannot open this file: {_last_line(str(error))}") from error
    _own_settings.keep(bpy.context.scene)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else "no reason given"


def use_device(backend: str, index: int, threads: int) -> str:
    """Render with `threads` CPU threads, or with the one GPU `index` of `backend`.

    Returns the device's name. Raises DeviceError where Cycles does not list the GPU: there is no
    silent fall back to the CPU.
    """
    scene = bpy.context.scene
    scene.render.threads_mode = "FIXED"
    scene.render.threads = max(1, min(threads, 1024))
    if backend == "CPU":
        scene.cycles.device = "CPU"
        return "CPU"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    try:
        preferences.compute_device_type = backend
    except TypeError as error:
        raise DeviceError(f"This Blender has no {backend} support.") from error
    preferences.refresh_devices()
    found = [device for device in preferences.devices if device.type == backend]
    if index >= len(found):
        raise DeviceError(f"{backend} device {index} was asked for, but Cycles sees {len(found)} of them.")
    for device in preferences.devices:
        device.use = device == found[index]
    scene.cycles.device = "GPU"
    return str(found[index].name)


def set_border(width: int, height: int, region: dict[str, int]) -> None:
    """Render exactly the pixels of `region` (half open, y up) of a `width` x `height` frame.

    The fractions point a quarter into the pixel: an exact quotient loses or gains a pixel when
    Blender truncates it in float32.
    """
    render = bpy.context.scene.render
    whole = (region["x0"], region["y0"], region["x1"], region["y1"]) == (0, 0, width, height)
    render.use_border = not whole
    render.use_crop_to_border = not whole
    if not whole:
        render.border_min_x = (region["x0"] + 0.25) / width
        render.border_max_x = (region["x1"] + 0.25) / width
        render.border_min_y = (region["y0"] + 0.25) / height
        render.border_max_y = (region["y1"] + 0.25) / height


def pin_settings(settings: dict[str, Any]) -> None:
    """What the job pins, whatever the .blend says."""
    scene = bpy.context.scene
    scene.render.resolution_percentage = settings["resolution_percentage"]
    if scene.render.engine == "CYCLES":
        scene.cycles.samples = settings["samples"]
        scene.cycles.seed = settings["seed"]
    elif scene.render.engine == "BLENDER_EEVEE":
        scene.eevee.taa_render_samples = settings["samples"]


def set_format(name: str) -> None:
    """Write files of the format `name`; the scene's own format keeps all of its settings."""
    image = bpy.context.scene.render.image_settings
    if image.file_format == name:
        return
    image.media_type = "MULTI_LAYER_IMAGE" if name == "OPEN_EXR_MULTILAYER" else "IMAGE"
    image.file_format = name


def _linear_output(area: dict[str, int]) -> None:
    """Scene-linear floats with every pass, undenoised and uncomposited."""
    scene = bpy.context.scene
    scene.render.use_compositing = False
    scene.render.use_sequencer = False
    store_for_denoising(scene, area)
    image = scene.render.image_settings
    image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_mode = "RGBA"
    image.color_depth = "32"
    image.exr_codec = "ZIP"
    image.use_exr_interleave = True


@dataclass
class Watch:
    """What Blender's status lines tell of a render."""

    first: float | None = None
    last: float = 0.0
    begins: bool = True
    counts: list[int] = field(default_factory=list)
    """The most samples a pixel took, one number a view layer."""

    def see(self, done: int) -> None:
        """Each layer counts from 0; after the last sample the engine says 0 once more."""
        if done == 0:
            self.begins = True
        elif self.begins:
            self.counts.append(done)
            self.begins = False
        else:
            self.counts[-1] = max(self.counts[-1], done)

    @property
    def seconds(self) -> float:
        """From the engine's first word to its last."""
        return 0.0 if self.first is None else self.last - self.first


@contextmanager
def _watched(progress: Progress) -> Iterator[Watch]:
    """Report samples as they are taken."""
    watch = Watch()

    def on_stats(*arguments: object) -> None:
        text = next((a for a in arguments if isinstance(a, str)), "")
        match = SAMPLE_COUNT.search(text)
        if match:
            watch.see(int(match[1]))
            progress(int(match[1]), int(match[2]))
        if "Mem:" in text:
            watch.last = time.monotonic()
            watch.first = watch.first or watch.last

    bpy.app.handlers.render_stats.append(on_stats)
    try:
        yield watch
    finally:
        bpy.app.handlers.render_stats.remove(on_stats)


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def render_frame(command: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Render one region of one frame as the command says (docs/architecture.md, "The Blender child").

    `output` "linear" writes one multilayer EXR at `path`; "final" lets Blender write its own files
    under the folder `path`. Raises SceneError.
    """
    started = time.monotonic()
    path = Path(command["path"])
    start_from_own_settings(command["settings"])
    if command["output"] == "linear":
        begin_linear(command)
        watch = linear_picture(command, command["region"], path, progress)
        files = [path.name]
    else:
        set_format(command["settings"]["format"])
        watch = write_files(command["frame"], path, progress)
        files = list_files(path)
    ended = time.monotonic()
    return {
        "files": files,
        "seconds": ended - started,
        "render_seconds": watch.seconds,
        "samples": samples_by_layer(watch) if command["output"] == "linear" else {},
        "peak_memory": peak_memory(),
    }


def start_from_own_settings(settings: dict[str, Any]) -> None:
    """The scene as its file has it, with what the job pins and what keeps it warm."""
    scene = bpy.context.scene
    _own_settings.restore(scene)
    pin_settings(settings)
    keep_warm(settings["samples"])
    scene.render.use_overwrite = True
    scene.render.use_placeholder = False


def keep_warm(samples: int) -> None:
    """Keep the synced scene for the next render of `samples` samples, except where that breaks.

    Blender 5.0 writes past its buffers when a kept scene is rendered with a single sample and only some
    of its layers have cryptomattes.
    """
    scene = bpy.context.scene
    matted = {_has_cryptomatte(layer) for layer in used_layers(scene)}
    scene.render.use_persistent_data = samples > 1 or len(matted) < 2


def _has_cryptomatte(layer: Any) -> bool:
    return bool(
        layer.use_pass_cryptomatte_object
        or layer.use_pass_cryptomatte_material
        or layer.use_pass_cryptomatte_asset
    )


def begin_linear(command: dict[str, Any]) -> None:
    """What all linear pictures of a frame have in common."""
    _linear_output(command["area"])
    bpy.context.scene.frame_set(command["frame"])


def samples_by_layer(watch: Watch) -> dict[str, int]:
    """The most samples a pixel of each layer took, where a sample count pass needs them."""
    layers = used_layers(bpy.context.scene)
    if not any(layer.cycles.pass_debug_sample_count for layer in layers):
        return {}
    if len(layers) != len(watch.counts):
        raise SceneError("Blender did not say how many samples each view layer took.")
    return {layer.name: count for layer, count in zip(layers, watch.counts, strict=True)}


def run_render(progress: Progress, animation: bool = False) -> Watch:
    """Run Blender's render operator on the current frame.

    `animation` renders a range of one frame: the names Blender gives to files then carry the frame
    number, those of File Output nodes too.
    """
    with _watched(progress) as watch:
        try:
            bpy.ops.render.render(animation=animation, write_still=not animation)
        except RuntimeError as error:
            raise SceneError(f"Blender could not render: {_last_line(str(error))}") from error
    return watch


def linear_picture(command: dict[str, Any], region: dict[str, int], path: Path, progress: Progress) -> Watch:
    """Render `region` of the frame that was begun to `path`."""
    set_border(command["width"], command["height"], region)
    render = bpy.context.scene.render
    render.use_file_extension = False
    render.filepath = compositor.escape_template(str(path))
    watch = run_render(progress)
    if not path.is_file():
        raise SceneError(f"Blender wrote no picture for frame {command['frame']}.")
    return watch


def write_files(frame: int, folder: Path, progress: Progress) -> Watch:
    """Let Blender write the frame and what File Output nodes write under `folder`."""
    compositor.redirect_file_outputs(folder)
    scene = bpy.context.scene
    scene.frame_start = scene.frame_end = frame
    scene.frame_step = 1
    scene.render.use_file_extension = True
    scene.render.filepath = compositor.escape_template(str(folder / "frame"))
    return run_render(progress, animation=True)


def list_files(folder: Path) -> list[str]:
    """Files under `folder`, relative, the frame itself first."""
    found = sorted(
        os.path.relpath(os.path.join(root, name), folder)
        for root, _, names in os.walk(folder)
        for name in names
    )
    frames = [name for name in found if "/" not in name and name.startswith("frame")]
    if not frames:
        raise SceneError("Blender wrote no picture.")
    return frames + [name for name in found if name not in frames]

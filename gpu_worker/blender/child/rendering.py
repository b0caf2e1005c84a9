# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering one frame, or one region of it, in a Blender that keeps its scene warm."""

import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.blender.child import defusing, devices, naming
from gpu_worker.blender.child.denoising import (
    most_samples,
    passes_of,
    store_for_denoising,
    store_sample_counts,
    used_layers,
)
from gpu_worker.blender.child.errors import SceneError
from gpu_worker.blender.child.overrides import CYCLES, EEVEE, IMAGE, RENDER, SetBack, all_curves, overrides

Progress = Callable[[int, int], None]

SAMPLE_COUNT = re.compile(r"Sample (\d+)/(\d+)")
DEVICE_MEMORY = re.compile(r"\bMem: *(\d+(?:\.\d+)?)([KMG])")
"""What Cycles says of the memory that it holds on its device."""

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def open_scene(path: str) -> None:
    """Load a .blend without running anything it carries, without its window layout and made harmless before
    it is evaluated. Raises SceneError.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False
    try:
        with defusing.defused():
            bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    except RuntimeError as error:
        raise SceneError(f"Blender cannot open this file: {_last_line(str(error))}") from error
    overrides.forget()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else "no reason given"


_device: tuple[str, int, int] | None = None


def use_device(backend: str, index: int, threads: int) -> str:
    """Render with `threads` CPU threads, or with the one GPU `index` of `backend`.

    Returns the device's name. Raises DeviceError where Cycles does not list the GPU: there is no
    silent fall back to the CPU.
    """
    global _device  # noqa: PLW0603
    _device = backend, index, threads
    scene = bpy.context.scene
    overrides.put(scene, RENDER, "threads_mode", "FIXED")
    overrides.put(scene, RENDER, "threads", max(1, min(threads, 1024)))
    if backend == "CPU":
        overrides.put(scene, CYCLES, "device", "CPU")
        return "CPU"
    name = devices.select(_preferences(), backend, index)
    overrides.put(scene, CYCLES, "device", "GPU")
    _verify_device(scene)
    return name


def _preferences() -> Any:
    return bpy.context.preferences.addons["cycles"].preferences


def _verify_device(scene: Any) -> None:
    """Raise DeviceError where Cycles would render on anything but the device that was asked for."""
    if _device is not None and _device[0] != "CPU":
        devices.verify(_preferences(), scene, *_device[:2])


def put_device_again() -> None:
    """The device's settings are given back with all others after a task."""
    if _device is not None:
        use_device(*_device)


def set_border(width: int, height: int, region: dict[str, int]) -> None:
    """Render exactly the pixels of `region` (half open, y up) of a `width` x `height` frame.

    The fractions point a quarter into the pixel: an exact quotient loses or gains a pixel when
    Blender truncates it in float32.
    """
    whole = (region["x0"], region["y0"], region["x1"], region["y1"]) == (0, 0, width, height)
    _put_render(use_border=not whole, use_crop_to_border=not whole)
    if not whole:
        _put_render(
            border_min_x=(region["x0"] + 0.25) / width,
            border_max_x=(region["x1"] + 0.25) / width,
            border_min_y=(region["y0"] + 0.25) / height,
            border_max_y=(region["y1"] + 0.25) / height,
        )


def _put_render(**settings: object) -> None:
    for name, value in settings.items():
        overrides.put(bpy.context.scene, RENDER, name, value)


def pin_settings(settings: dict[str, Any], asked: list[str] | None) -> None:
    """What the artist asked for beside the file, whatever that says.

    What was not asked for stays the file's, which may be animated. Farms that do not tell what was
    (None) are taken to have asked for what differs.
    """
    scene = bpy.context.scene
    _pin(asked, "resolution_percentage", RENDER, "resolution_percentage", settings["resolution_percentage"])
    if scene.render.engine == "CYCLES":
        _pin(asked, "samples", CYCLES, "samples", settings["samples"])
        _pin(asked, "seed", CYCLES, "seed", settings["seed"])
    elif scene.render.engine == "BLENDER_EEVEE":
        _pin(asked, "samples", EEVEE, "taa_render_samples", settings["samples"])


def _pin(asked: list[str] | None, word: str, where: str, name: str, value: object) -> None:
    scene = bpy.context.scene
    if word in asked if asked is not None else getattr(scene.path_resolve(where), name) != value:
        overrides.put(scene, where, name, value)


def set_format(name: str) -> None:
    """Write files of the format `name`; the scene's own format keeps all of its settings."""
    if bpy.context.scene.render.image_settings.file_format != name:
        kind = "MULTI_LAYER_IMAGE" if name == "OPEN_EXR_MULTILAYER" else "IMAGE"
        _put_image(media_type=kind, file_format=name)


def _put_image(**settings: object) -> None:
    for name, value in settings.items():
        overrides.put(bpy.context.scene, IMAGE, name, value)


def _linear_output(area: dict[str, int]) -> None:
    """Scene-linear floats with every pass, undenoised and uncomposited."""
    _put_render(use_compositing=False, use_sequencer=False)
    store_for_denoising(bpy.context.scene, area)
    store_sample_counts(bpy.context.scene)
    _put_image(
        media_type="MULTI_LAYER_IMAGE",
        file_format="OPEN_EXR_MULTILAYER",
        color_mode="RGBA",
        color_depth="32",
        exr_codec="ZIP",
        use_exr_interleave=True,
    )


@dataclass
class Watch:
    """What Blender's status lines tell of a render."""

    first: float | None = None
    last: float = 0.0
    begins: bool = True
    counts: list[int] = field(default_factory=list)
    """The most samples a pixel took, one number a view layer."""
    device_memory: int = 0
    """The most bytes that Cycles took of its device, a GPU's video memory among others."""

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
        held = DEVICE_MEMORY.search(text)
        if held:
            watch.device_memory = max(watch.device_memory, int(float(held[1]) * UNITS[held[2]]))
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
    """Render one region of one frame as the command says (gpu_worker/blender/README.md).

    `output` "linear" writes one multilayer EXR at `path`; "final" lets Blender write its own files
    under the folder `path`. Raises SceneError.
    """
    started = time.monotonic()
    path = Path(command["path"])
    start_from_own_settings(command)
    if command["output"] == "linear":
        begin_linear(command)
        watch = linear_picture(command, command["region"], path, progress)
        files, samples = [path.name], samples_by_layer(watch, command["region"])
    else:
        (watch, files), samples = final_frame(command, path, progress), {}
    ended = time.monotonic()
    return {
        "files": files,
        "seconds": ended - started,
        "render_seconds": watch.seconds,
        "samples": samples,
        "peak_memory": peak_memory(),
        "device_memory": watch.device_memory,
    }


def start_from_own_settings(command: dict[str, Any]) -> None:
    """The scene as its file has it, with what the artist asked for beside it."""
    overrides.give_back(bpy.context.scene)
    put_device_again()
    pin_settings(command["settings"], command.get("asked"))


def is_animated() -> bool:
    """Whether the scene's own settings are animated: Blender leaves them as a frame had them."""
    return next(all_curves(bpy.context.scene), None) is not None


def final_frame(command: dict[str, Any], folder: Path, progress: Progress) -> tuple[Watch, list[str]]:
    """One Blender's own frame: only where it is written, and what was asked for, is not the file's."""
    set_format(command["settings"]["format"])
    scene = bpy.context.scene
    if scene.render.use_persistent_data and not stays_right_warm(scene):
        _put_render(use_persistent_data=False)
    return write_files(command["frame"], folder, progress)


def stays_right_warm(scene: Any) -> bool:
    """Whether a scene that Blender 5.0 keeps synced gives the same picture again.

    It keeps one buffer for all view layers, and writes past it, or leaves passes black, where they do
    not store the very same passes.
    """
    stored = {passes_of(scene, layer) for layer in used_layers(scene)}
    return len(stored) < 2


def begin_linear(command: dict[str, Any]) -> None:
    """What all linear pictures of a frame have in common."""
    scene = bpy.context.scene
    scene.frame_set(command["frame"])
    _linear_output(command["area"])
    _put_render(use_persistent_data=stays_right_warm(scene))


def samples_by_layer(watch: Watch, region: dict[str, int]) -> dict[str, int]:
    """What the sample counts of a picture of `region` are stored as shares of, where it has them."""
    try:
        return most_samples(bpy.context.scene, region, watch.counts)
    except ValueError as error:
        raise SceneError("Blender did not say how many samples each view layer took.") from error


def run_render(progress: Progress, frame: int | None = None) -> Watch:
    """Run Blender's render operator, on the current frame or on an animation of one `frame`.

    In an animation the names that Blender gives to files carry the frame's number, those of File Output
    nodes too. The scene's own first and last frame stay as they are: drivers and stamps read them.
    """
    of = (
        {"write_still": True}
        if frame is None
        else {"animation": True, "frame_start": frame, "frame_end": frame}
    )
    defusing.look_again()
    scene = bpy.context.scene
    if scene.render.engine == "CYCLES":
        _verify_device(scene)
    with _watched(progress) as watch, overrides.watched() as judge:
        try:
            bpy.ops.render.render(**of)
            judge()
        except RuntimeError as error:
            raise _blamed(f"Blender could not render: {_last_line(str(error))}", str(error)) from error
        except SetBack as error:
            raise SceneError(f"The scene changed what the farm set: {error}.") from error
    return watch


def _blamed(sentence: str, text: str) -> Exception:
    """The error of whoever is to blame for what Blender said: a GPU, or else the scene."""
    on_gpu = _device is not None and _device[0] != "CPU"
    code = devices.meaning(text) if on_gpu else None
    return devices.DeviceError(sentence, code) if code else SceneError(sentence)


def render_scene(scene: Any) -> None:
    """Run the compositor of a scene of the farm's own, at frame 1 as in all new scenes."""
    try:
        bpy.ops.render.render(scene=scene.name)
    except RuntimeError as error:
        raise SceneError(f"Blender could not denoise: {_last_line(str(error))}") from error


def linear_picture(command: dict[str, Any], region: dict[str, int], path: Path, progress: Progress) -> Watch:
    """Render `region` of the frame that was begun to `path`."""
    set_border(command["width"], command["height"], region)
    _put_render(use_file_extension=False, filepath=naming.escape_template(str(path)))
    watch = run_render(progress)
    if not path.is_file():
        raise SceneError(f"Blender wrote no picture for frame {command['frame']}.")
    return watch


def write_files(frame: int, folder: Path, progress: Progress) -> tuple[Watch, list[str]]:
    """Let Blender write the frame and what File Output nodes write under `folder`; what it wrote, by names
    that are safe, the frame first.
    """
    scene = bpy.context.scene
    # A GPU denoises and composites otherwise. Tiles are finished on CPUs, and whole frames must equal them.
    _put_render(compositor_device="CPU", compositor_denoise_device="CPU")
    overrides.put(scene, CYCLES, "denoising_use_gpu", False)
    _put_render(filepath=naming.escape_template(str(folder / naming.FRAME)))
    try:
        with naming.redirected(scene, folder):
            watch = run_render(progress, frame)
        return watch, naming.written(scene, frame, folder)
    except naming.Missing as error:
        raise SceneError(str(error)) from error

# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: writes the scenes of benchmarks/gpu_check.py, and what Cycles sees on this machine.

    python benchmarks/gpu_check_scenes.py FOLDER     # holds setup.json; scenes.json is written

Settings are saved in the files, since a node renders what the file says.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import bpy  # noqa: E402

from benchmarks.gpu_check_records import Scene, Setup  # noqa: E402
from tests.variants.stage import stage  # noqa: E402

PASSES = (
    "z",
    "mist",
    "position",
    "normal",
    "uv",
    "object_index",
    "material_index",
    "diffuse_direct",
    "diffuse_indirect",
    "diffuse_color",
    "glossy_direct",
    "glossy_indirect",
    "glossy_color",
    "emit",
    "environment",
    "ambient_occlusion",
)
"""Of a view layer's `use_pass_...`."""

SHEETS = 7
"""A GPU records four hits of a shadow ray at once."""

Change = Callable[[Any], None]


@dataclass(frozen=True)
class Wanted:
    """A scene to make: from a file, or from the stage of tests/variants for None."""

    name: str
    source: Path | None
    size: tuple[int, int]
    samples: int
    change: Change = lambda scene: None


def wanted(setup: Setup) -> list[Wanted]:
    """All scenes, small ones for a dry run."""
    orbit, layers = ROOT / "samples" / "orbit.blend", ROOT / "samples" / "layers.blend"
    tile, large = ((48, 32), (64, 32)) if setup.dry else ((320, 180), (1280, 720))
    # Where the emulated GPU takes samples in pairs, 4 of them are two addends, which have only one order.
    few, many = (8, 16) if setup.dry else (64, 1024)
    found = [
        Wanted("orbit", orbit, tile, few),
        Wanted("layers", layers, tile, few),
        Wanted("passes", None, tile, few, all_passes),
        Wanted("blur", None, tile, few, blurred),
        Wanted("transparent", None, tile, few, transparent),
        Wanted("volume", None, tile, few, foggy),
        Wanted("many samples", orbit, (96, 54), many),
        Wanted("adaptive", orbit, tile, 48 if setup.dry else 512, adaptive),
        Wanted("adaptive stage", None, tile, 48 if setup.dry else 512, adaptive),
        Wanted("plain frame", orbit, tile, few),
        Wanted("denoised on GPU", orbit, tile, 4 if setup.dry else 16, denoised_on(gpu=True)),
        Wanted("denoised on CPU", orbit, tile, 4 if setup.dry else 16, denoised_on(gpu=False)),
        Wanted("large orbit", orbit, large, 8 if setup.dry else 128),
    ]
    for path in map(Path, setup.extra):
        found.append(Wanted(path.stem, path, tile, few))
        found.append(Wanted(f"large {path.stem}", path, large, 8 if setup.dry else 128))
    return found


def all_passes(scene: Any) -> None:
    """Every pass that the stage can fill, motion vectors too, and cryptomattes."""
    layer = scene.view_layers[0]
    for name in PASSES:
        setattr(layer, f"use_pass_{name}", True)
    layer.use_pass_vector = True
    scene.world.mist_settings.depth = 12
    for number, thing in enumerate(scene.objects):
        thing.pass_index = number + 1
    cryptomattes(scene)


def cryptomattes(scene: Any) -> None:
    """By object, material and asset."""
    layer = scene.view_layers[0]
    for name in ("object", "material", "asset"):
        setattr(layer, f"use_pass_cryptomatte_{name}", True)


def blurred(scene: Any) -> None:
    """Motion and depth of field: many pixels hold several things, in cryptomattes as well."""
    scene.render.use_motion_blur = True
    scene.camera.data.dof.use_dof = True
    scene.camera.data.dof.focus_distance = 4.0
    scene.camera.data.dof.aperture_fstop = 0.4
    cryptomattes(scene)


def transparent(scene: Any) -> None:
    """Shadows fall through more sheets of half transparent stuff than a GPU records at once."""
    sheet = bpy.data.materials.new("sheet")
    sheet.use_nodes = True
    sheet.node_tree.nodes["Principled BSDF"].inputs["Alpha"].default_value = 0.7
    for number in range(SHEETS):
        bpy.ops.mesh.primitive_plane_add(size=1.5, location=(0.3 + number / 20, -0.6, 2.0 + number / 10))
        bpy.context.object.data.materials.append(sheet)


def foggy(scene: Any) -> None:
    """Even fog around everything: Cycles guides its sampling, and need not look where the fog is dense."""
    fog = bpy.data.materials.new("fog")
    fog.use_nodes = True
    tree = fog.node_tree
    tree.nodes.clear()
    scatter = tree.nodes.new("ShaderNodeVolumeScatter")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    scatter.inputs["Density"].default_value = 0.3
    tree.links.new(scatter.outputs["Volume"], output.inputs["Volume"])
    bpy.ops.mesh.primitive_cube_add(size=4, location=(0, 0, 1))
    bpy.context.object.data.materials.append(fog)


def adaptive(scene: Any) -> None:
    """Pixels stop when they are good enough; a tile then tells when they did."""
    scene.cycles.use_adaptive_sampling = True
    scene.cycles.adaptive_threshold = 0.02
    scene.cycles.adaptive_min_samples = 4


def denoised_on(gpu: bool) -> Change:
    """Cycles denoises by itself, there; nothing else changes the picture, which is stored as floats."""

    def change(scene: Any) -> None:
        scene.cycles.use_denoising = True
        scene.cycles.denoiser = "OPENIMAGEDENOISE"
        scene.cycles.denoising_use_gpu = gpu
        scene.render.use_compositing = False
        scene.render.image_settings.file_format = "OPEN_EXR"
        scene.render.image_settings.color_depth = "32"
        for layer in scene.view_layers:
            layer.cycles.use_denoising = True

    return change


def make(one: Wanted, folder: Path) -> Scene:
    """Write it."""
    if one.source is None:
        scene = stage()
    else:
        bpy.ops.wm.open_mainfile(filepath=str(one.source), load_ui=False, use_scripts=False)
        scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = one.size
    scene.render.resolution_percentage = 100
    scene.cycles.samples = one.samples
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = False
    one.change(scene)
    blend = folder / f"{one.name.replace(' ', '-')}.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=False)
    frame = min(scene.frame_start + 3, scene.frame_end)
    made = Scene(one.name, str(blend), frame, *one.size, one.samples, scene.cycles.seed)
    if not scene.cycles.use_adaptive_sampling:
        return made
    cycles = scene.cycles
    return replace(made, threshold=cycles.adaptive_threshold, min_samples=cycles.adaptive_min_samples)


def main() -> None:
    """Write all scenes, then scenes.json."""
    folder = Path(sys.argv[1])
    made = [asdict(make(one, folder)) for one in wanted(Setup.load(folder))]
    (folder / "scenes.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main()

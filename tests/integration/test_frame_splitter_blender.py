# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of this package against the Blender they imitate, in one short-lived process."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import Adaptive, SceneFacts
from farm_protocol.fields import Tile
from farm_protocol.records import RenderSettings
from frame_splitter.exactness import adaptive_reach
from frame_splitter.exr import Image, check, crop, read, write
from frame_splitter.formats import EXTENSIONS
from frame_splitter.outputs import frame_path
from frame_splitter.stitch import stitch
from frame_splitter.tiles import border_area, frame_size, grid, relative, with_overscan

pytestmark = pytest.mark.blender

PATTERNS = (
    "/a/f",
    "/a/f####",
    "/a/##b##",
    "/a/b##/c",
    "/a/f.png",
    "/a/f##.jpg",
    "/a/f##.PNG",
    "/a/f##.v2",
    "/a/",
)
FRAMES = (1, -1, 12345)
BORDERS = (
    (0.25, 0.25, 0.75, 0.75),
    (0.1, 0.2, 0.9, 0.7),
    (1 / 3, 0.0, 2 / 3, 1.0),
    (0.7, 0.3, 1.0, 0.9),
    (0.0, 0.6, 0.1, 0.61),
)
SIZES = ((37, 23, 100), (64, 48, 37), (30, 10, 100))

PRELUDE = """
import json, sys
import bpy
folder, wish = sys.argv[1], json.loads(sys.argv[2])

def scene(width, height, samples):
    bpy.ops.wm.read_factory_settings(use_empty=False)
    made = bpy.context.scene
    made.render.engine = "CYCLES"
    made.cycles.samples = samples
    made.cycles.use_denoising = False
    made.cycles.use_adaptive_sampling = False
    made.render.threads_mode = "FIXED"
    made.render.threads = 1
    made.render.resolution_x, made.render.resolution_y = width, height
    made.render.resolution_percentage = 100
    image = made.render.image_settings
    image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth = "32"
    image.exr_codec = "ZIP"
    return made

def render(made, name):
    made.render.filepath = folder + "/" + name
    bpy.ops.render.render(write_still=True)

def border(made, fractions, crop):
    made.render.use_border, made.render.use_crop_to_border = True, crop
    made.render.border_min_x, made.render.border_min_y = fractions[:2]
    made.render.border_max_x, made.render.border_max_y = fractions[2:]
"""


def blender(script: str, folder: Path, wish: Any) -> Any:
    """Run a script with bpy; it answers by writing answer.json."""
    command = [sys.executable, "-c", PRELUDE + script, str(folder), json.dumps(wish)]
    done = subprocess.run(command, capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads((folder / "answer.json").read_text())


LAYERS = """
made = scene(32, 24, 1)
layer = made.view_layers[0]
for name in ("z", "mist", "normal", "vector", "uv", "cryptomatte_object", "cryptomatte_material"):
    setattr(layer, "use_pass_" + name, True)
layer.cycles.denoising_store_passes = True
made.view_layers.new("Second.Layer")
render(made, "layers.exr")

made.render.image_settings.media_type = "IMAGE"
names = {}
for pattern in wish["patterns"]:
    made.render.image_settings.file_format = "PNG"
    made.render.filepath = pattern
    names[pattern] = [made.render.frame_path(frame=frame) for frame in wish["frames"]]
endings = {}
for word in wish["formats"]:
    made.render.image_settings.media_type = (
        "MULTI_LAYER_IMAGE" if word == "OPEN_EXR_MULTILAYER" else "IMAGE"
    )
    made.render.image_settings.file_format = word
    endings[word] = made.render.file_extension
json.dump({"names": names, "endings": endings}, open(folder + "/answer.json", "w"))
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A multilayer EXR by Blender, and Blender's own names for some patterns and formats."""
    folder = tmp_path_factory.mktemp("rendered")
    wish = {"patterns": PATTERNS, "frames": FRAMES, "formats": list(EXTENSIONS)}
    return folder / "layers.exr", blender(LAYERS, folder, wish)


def test_blenders_own_picture_is_read(rendered: tuple[Path, Any]) -> None:
    image = check(rendered[0], 32, 24)
    names = [part.name for part in image.parts]
    assert names[0] == "ViewLayer.Combined"
    assert {"ViewLayer.Depth", "ViewLayer.CryptoObject00", "Second.Layer.Combined"} <= set(names)
    assert set(image.parts[0].channels) == {f"ViewLayer.Combined.{letter}" for letter in "RGBA"}
    assert "BlenderMultiChannel" in image.parts[0].attributes


LOAD = """
found = []
for path in wish:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    image = bpy.data.images.load(path)
    len(image.pixels)  # decides the type
    tree = bpy.data.node_groups.new("g", "CompositorNodeTree")
    node = tree.nodes.new("CompositorNodeImage")
    node.image = image
    layers = {}
    for layer in ("ViewLayer", "Second.Layer"):
        node.layer = layer
        layers[layer] = [out.name for out in node.outputs if out.enabled and not out.is_unavailable]
    matte = tree.nodes.new("CompositorNodeCryptomatteV2")
    matte.source, matte.image = "IMAGE", image
    mattes = []
    for name in ("ViewLayer.CryptoObject", "ViewLayer.CryptoMaterial"):
        matte.layer_name = name
        matte.matte_id = "Cube"
        mattes.append([matte.layer_name, [entry.name for entry in matte.entries]])
    found.append({"type": image.type, "layers": layers, "mattes": mattes})
json.dump(found, open(folder + "/answer.json", "w"))
"""


def test_blender_loads_what_was_stitched_as_its_own(rendered: tuple[Path, Any], tmp_path: Path) -> None:
    own, merged, packed = rendered[0], tmp_path / "merged.exr", tmp_path / "packed.exr"
    whole = read(own)
    area = Tile(0, 0, 32, 24)
    pieces: list[tuple[Tile, Image]] = []
    for index, tile in enumerate(grid(area, 3, 2)):
        write(tmp_path / f"{index}.exr", crop(whole, tile))
        pieces.append((tile, check(tmp_path / f"{index}.exr", tile.width, tile.height)))
    again = stitch(pieces, area, area)
    write(merged, again, compress=False)
    write(packed, again)
    for before, after in zip(whole.parts, read(merged).parts, strict=True):
        assert before.name == after.name
        assert {name: str(value) for name, value in before.attributes.items()} == {
            name: str(value) for name, value in after.attributes.items()
        }
        for name, pixels in before.channels.items():
            assert pixels.tobytes() == after.channels[name].tobytes()
    first, *others = blender(LOAD, tmp_path, [str(own), str(merged), str(packed)])
    assert first["type"] == "MULTILAYER"
    assert {"Combined", "Depth", "Denoising Albedo", "CryptoObject00"} <= set(first["layers"]["ViewLayer"])
    assert [name for name, _ in first["mattes"]] == ["ViewLayer.CryptoObject", "ViewLayer.CryptoMaterial"]
    assert others == [first, first]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_file_names_are_blenders(rendered: tuple[Path, Any], pattern: str) -> None:
    ours = [frame_path(pattern, frame, ".png") for frame in FRAMES]
    assert ours == [name.replace("\\", "/") for name in rendered[1]["names"][pattern]]


def test_extensions_are_blenders(rendered: tuple[Path, Any]) -> None:
    assert rendered[1]["endings"] == EXTENSIONS


REGIONS = """
stored = []
for index, (width, height, percentage, fractions) in enumerate(wish):
    made = scene(width, height, 1)
    made.render.resolution_percentage = percentage
    border(made, fractions, False)
    stored.append([made.render.border_min_x, made.render.border_min_y,
                   made.render.border_max_x, made.render.border_max_y])
    render(made, f"frame{index}.exr")
    made.render.use_crop_to_border = True
    render(made, f"crop{index}.exr")
json.dump(stored, open(folder + "/answer.json", "w"))
"""


def test_render_regions_are_blenders(make_facts: Callable[..., SceneFacts], tmp_path: Path) -> None:
    cases = [(*size, border) for size in SIZES for border in BORDERS]
    wish = [case for case in cases if expected_area(make_facts, *case) is not None]
    assert len(wish) >= 12
    stored = blender(REGIONS, tmp_path, wish)
    for index, (case, border) in enumerate(zip(wish, stored, strict=True)):
        assert border == pytest.approx(case[3], abs=1e-6)
        width, height, area = expected_area(make_facts, *case[:3], tuple(border)) or pytest.fail("no area")
        cropped = read(tmp_path / f"crop{index}.exr")
        assert (cropped.width, cropped.height) == (area.width, area.height)
        frame = read(tmp_path / f"frame{index}.exr")
        assert (frame.width, frame.height) == (width, height)
        alpha = frame.parts[0].channels["ViewLayer.Combined.A"][::-1]
        expected = numpy.zeros_like(alpha)
        expected[area.y0 : area.y1, area.x0 : area.x1] = 1
        assert numpy.array_equal(alpha, expected)


def expected_area(
    make_facts: Callable[..., SceneFacts],
    width: int,
    height: int,
    percentage: int,
    border: tuple[float, ...],
) -> tuple[int, int, Tile] | None:
    facts = make_facts(resolution_x=width, resolution_y=height, border=border)
    size = frame_size(facts, percentage)
    try:
        return *size, border_area(facts, *size)[0]
    except InvalidInput:
        return None


ADAPTIVE = """
made = scene(48, 32, wish["samples"])
made.cycles.use_adaptive_sampling = True
made.cycles.adaptive_threshold, made.cycles.adaptive_min_samples = wish["threshold"], wish["least"]
render(made, "whole.exr")
for index, (x0, y0, x1, y1) in enumerate(wish["tiles"]):
    border(made, ((x0 + 0.25) / 48, (y0 + 0.25) / 32, (x1 + 0.25) / 48, (y1 + 0.25) / 32), True)
    render(made, f"{index}.exr")
json.dump(0, open(folder + "/answer.json", "w"))
"""


def test_adaptive_tiles_with_overscan_equal_the_frame(
    make_facts: Callable[..., SceneFacts], tmp_path: Path
) -> None:
    facts = make_facts(adaptive=Adaptive(True, 0.01, 1))
    overscan = adaptive_reach(facts, RenderSettings(80, 0, 100, "PNG"))
    assert overscan == 4
    area = Tile(0, 0, 48, 32)
    tiles = grid(area, 2, 2)
    wide = [with_overscan(tile, overscan, area) for tile in tiles]
    regions = [[t.x0, t.y0, t.x1, t.y1] for t in (*wide, *tiles)]
    wish = {"samples": 80, "threshold": 0.01, "least": 1, "tiles": regions}
    blender(ADAPTIVE, tmp_path, wish)
    whole = combined(read(tmp_path / "whole.exr"))
    images = [read(tmp_path / f"{index}.exr") for index in range(8)]
    cut = [
        (tile, crop(image, relative(tile, region)))
        for tile, image, region in zip(tiles, images, wide, strict=False)
    ]
    assert combined(stitch(cut, area, area)) == whole
    without = list(zip(tiles, images[4:], strict=True))
    assert combined(stitch(without, area, area)) != whole


def combined(image: Image) -> list[bytes]:
    return [pixels.tobytes() for pixels in image.parts[0].channels.values()]

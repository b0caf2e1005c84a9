# SPDX-License-Identifier: GPL-3.0-or-later
"""Every format that Blender writes is decoded, and cut off anywhere it is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from frame_splitter.formats import EXTENSIONS
from gpu_worker.pictures.finished_files import check
from gpu_worker.pictures.requests import FinishedFile

pytestmark = pytest.mark.blender

SIZE = (60, 44)

WRITE = """
import sys
import bpy

bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 1
scene.render.resolution_x, scene.render.resolution_y = 60, 44
scene.camera = bpy.data.objects.new("c", bpy.data.cameras.new("c"))
scene.collection.objects.link(scene.camera)
scene.world = bpy.data.worlds.new("sky")
scene.world.use_nodes = True
tree = scene.world.node_tree
noise = tree.nodes.new("ShaderNodeTexNoise")
tree.links.new(noise.outputs[1], tree.nodes["Background"].inputs[0])
scene.render.threads_mode, scene.render.threads = "FIXED", 1
bpy.ops.render.render()
image = scene.render.image_settings
for line in sys.argv[2:]:
    name, _, options = line.partition(" ")
    image.media_type = "MULTI_LAYER_IMAGE" if name == "OPEN_EXR_MULTILAYER" else "IMAGE"
    image.file_format = name
    for option in options.split():
        key, _, value = option.partition("=")
        setattr(image, key, int(value) if value.isdigit() and key != "color_depth" else value)
    path = f"{sys.argv[1]}/{line.replace(' ', '-')}{scene.render.file_extension}"
    bpy.data.images["Render Result"].save_render(path)
"""

KINDS = (
    *EXTENSIONS,
    *(f"TIFF tiff_codec={codec}" for codec in ("NONE", "LZW", "PACKBITS")),
    "TIFF color_depth=16 color_mode=RGBA",
    "PNG color_depth=16 color_mode=RGBA",
    "PNG color_mode=BW",
    *(f"DPX color_depth={depth} color_mode=RGB" for depth in ("8", "10", "12", "16")),
    "DPX color_depth=10 color_mode=RGBA",
    "DPX color_depth=10 use_cineon_log=1",
    *(f"OPEN_EXR exr_codec={codec}" for codec in ("NONE", "DWAA", "PIZ", "PXR24", "RLE")),
    "JPEG2000 jpeg2k_codec=J2K",
    "JPEG2000 color_depth=16 color_mode=RGBA",
    "WEBP quality=100",
    "JPEG color_mode=BW",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    command = [sys.executable, "-c", WRITE, str(folder), *KINDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    files = {path.name.rpartition(".")[0]: path for path in folder.iterdir()}
    return {kind: files[kind.replace(" ", "-")] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_what_blender_writes_is_whole(written: dict[str, Path], kind: str) -> None:
    check(FinishedFile(str(written[kind]), "frame", (SIZE,)))
    with pytest.raises(InvalidInput, match="60x44 pixels where 61x44 were rendered"):
        check(FinishedFile(str(written[kind]), "frame", ((61, 44),)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_is_not(written: dict[str, Path], tmp_path: Path, kind: str) -> None:
    data = written[kind].read_bytes()
    cut = tmp_path / written[kind].name
    for kept in (0, 1, 7, 100, len(data) // 3, len(data) // 2, len(data) - 100, len(data) - 30):
        cut.write_bytes(data[:kept])
        with pytest.raises(InvalidInput):
            check(FinishedFile(str(cut), "frame"))


def test_an_ending_is_not_needed(written: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "0001"
    bare.write_bytes(written["PNG"].read_bytes())
    check(FinishedFile(str(bare), "frame", (SIZE,)))
    bare.write_bytes(b"no picture at all")
    with pytest.raises(InvalidInput, match="cannot be opened"):
        check(FinishedFile(str(bare), "frame"))

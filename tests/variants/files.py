# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes with files beside them, or far from them: what a bundle must carry, kind by kind.

    python -m tests.variants.files FOLDER NAME ...
    python -m tests.variants.files --studio FOLDER

The first writes FOLDER/NAME/project/scene.blend, its files, and FOLDER/NAME/elsewhere for what lies
outside of the project; the second a studio's OCIO configuration.
`tests/integration/test_assets_travel.py` moves all of it away before the farm renders.
"""

import shutil
import sys
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bpy

from tests.variants.stage import compositor, material, stage


@dataclass(frozen=True)
class Place:
    """Where a case lies: its project, and the folder of what is not in it."""

    project: Path
    elsewhere: Path

    @property
    def blend(self) -> Path:
        return self.project / "scene.blend"


Make = Callable[[bpy.types.Scene, Place], "Path | None"]
CASES: dict[str, Make] = {}


def case(make: Make) -> Make:
    """Register a case; it may save the scene itself, and then gives its path."""
    CASES[make.__name__] = make
    return make


def write(folder: Path, name: str) -> None:
    place = Place(folder / name / "project", folder / name / "elsewhere")
    for path in (place.project, place.elsewhere):
        path.mkdir(parents=True)
    saved = CASES[name](stage(), place)
    if saved is None:
        save(place.blend)


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), relative_remap=False)
    return path


def picture(path: Path, color: tuple[float, float, float], size: int = 8) -> Path:
    """A small picture of one colour with a darker lower half."""
    image = bpy.data.images.new("made", size, size)
    half = size * size // 2
    image.pixels = [*(c * 0.5 for c in color), 1.0] * half + [*color, 1.0] * half
    path.parent.mkdir(parents=True, exist_ok=True)
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return path


RED, GREEN, BLUE = (1, 0.1, 0.1), (0.1, 1, 0.1), (0.1, 0.1, 1)


def pictured(image: bpy.types.Image, name: str = "pictured") -> bpy.types.Material:
    made = material(name, (1, 1, 1), 0.5)
    node = made.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    shader = made.node_tree.nodes["Principled BSDF"]
    made.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    return made


def paint(path: str, on: str = "box", source: str = "FILE") -> bpy.types.Image:
    """A picture on an object, by the path as an artist would have typed it."""
    image = bpy.data.images.new(path, 1, 1)
    image.source, image.filepath = source, path
    bpy.data.objects[on].data.materials[0] = pictured(image)
    return image


def select(name: str) -> None:
    for item in bpy.context.view_layer.objects:
        item.select_set(item.name == name)
    bpy.context.view_layer.objects.active = bpy.data.objects[name]


# --- pictures -----------------------------------------------------------------------------------------


@case
def picture_beside(scene, place):
    picture(place.project / "tex" / "wood.png", RED)
    paint("//tex/wood.png")


@case
def picture_by_absolute_path(scene, place):
    paint(str(picture(place.elsewhere / "stock" / "wood.png", RED)))


@case
def picture_above_the_project(scene, place):
    picture(place.elsewhere / "wood.png", GREEN)
    paint("//../elsewhere/wood.png")


@case
def picture_with_odd_name(scene, place):
    """A line break and a backslash, which no message carries as they are."""
    picture(place.project / "te\nx" / "wo\\od ~ab~.png", RED)
    paint("//te\nx/wo\\od ~ab~.png")


def sequence(folder: Path, numbers: tuple[int, ...] = (1, 2, 4, 5)) -> None:
    for number, color in zip(numbers, (RED, GREEN, BLUE, RED), strict=True):
        picture(folder / f"clip_{number:04}.png", color)


def play(image: bpy.types.Image, on: str) -> None:
    node = bpy.data.objects[on].data.materials[0].node_tree.nodes["Image Texture"]
    node.image_user.frame_duration, node.image_user.frame_start = 6, 1
    node.image_user.use_auto_refresh = True


@case
def sequence_with_a_gap(scene, place):
    """Frame 3 is not there; nothing is lost where it is not asked for."""
    sequence(place.project / "tex")
    play(paint("//tex/clip_0001.png", source="SEQUENCE"), "box")


@case
def sequence_elsewhere(scene, place):
    sequence(place.elsewhere)
    play(paint(str(place.elsewhere / "clip_0001.png"), source="SEQUENCE"), "box")


@case
def udim_tiles(scene, place):
    for tile, color in ((1001, RED), (1002, GREEN)):
        picture(place.elsewhere / f"skin.{tile}.png", color)
    image = bpy.data.images.load(str(place.elsewhere / "skin.1001.png"))
    image.source = "TILED"
    image.filepath = str(place.elsewhere / "skin.<UDIM>.png")
    bpy.data.objects["box"].data.materials[0] = pictured(image)


@case
def picture_in_the_compositor(scene, place):
    tree, layers, sink = compositor(scene)
    node = tree.nodes.new("CompositorNodeImage")
    node.image = bpy.data.images.load(str(picture(place.elsewhere / "plate.png", BLUE, 64)))
    over = tree.nodes.new("CompositorNodeAlphaOver")
    over.inputs["Factor"].default_value = 0.4
    tree.links.new(layers.outputs["Image"], over.inputs["Background"])
    tree.links.new(node.outputs["Image"], over.inputs["Foreground"])
    tree.links.new(over.outputs["Image"], sink.inputs["Image"])


@case
def clip_of_pictures(scene, place):
    """A movie clip that is a numbered sequence, in the compositor."""
    sequence(place.project / "plates", (1, 2, 3, 4))
    clip = bpy.data.movieclips.load(str(place.project / "plates" / "clip_0001.png"))
    clip.filepath = "//plates/clip_0001.png"
    tree, _, sink = compositor(scene)
    node = tree.nodes.new("CompositorNodeMovieClip")
    node.clip = clip
    tree.links.new(node.outputs["Image"], sink.inputs["Image"])


@case
def picture_of_the_world(scene, place):
    tree = scene.world.node_tree
    node = tree.nodes.new("ShaderNodeTexEnvironment")
    node.image = bpy.data.images.load(str(picture(place.elsewhere / "sky.png", GREEN, 16)))
    tree.links.new(node.outputs["Color"], tree.nodes["Background"].inputs["Color"])


def film(path: Path) -> Path:
    """Four frames of a movie that grow brighter."""
    scene = bpy.data.scenes.new("film")
    scene.render.resolution_x, scene.render.resolution_y = 32, 24
    scene.frame_end = 4
    scene.view_settings.view_transform = "Standard"
    strip = scene.sequence_editor_create().strips.new_effect("grey", "COLOR", 1, frame_start=1, length=4)
    for frame in (1, 4):
        strip.color = (frame / 5, 0.2, 0.1)
        strip.keyframe_insert("color", frame=frame)
    scene.render.image_settings.media_type = "VIDEO"
    scene.render.ffmpeg.format, scene.render.ffmpeg.codec = "MKV", "FFV1"
    scene.render.filepath, scene.render.use_file_extension = str(path), False
    bpy.ops.render.render(animation=True, scene="film")
    bpy.data.scenes.remove(scene)
    return path


@case
def movie_on_an_object(scene, place):
    play(paint(str(film(place.elsewhere / "film.mkv")), source="MOVIE"), "box")


# --- what nobody needs --------------------------------------------------------------------------------


@case
def named_but_not_needed(scene, place):
    """All of it is nowhere: texts, sounds, a picture nobody uses, one of a hidden object, of a node without
    a link, of a brush, and of an object in a collection that is switched off.
    """
    (place.project / "notes.txt").write_text("notes")
    bpy.data.texts.load(str(place.project / "notes.txt"))
    (place.project / "notes.txt").unlink()
    bpy.data.images.new("spare", 1, 1).use_fake_user = True
    bpy.data.images["spare"].source, bpy.data.images["spare"].filepath = "FILE", "//gone/spare.png"
    paint("//gone/hidden.png")
    bpy.data.objects["box"].hide_render = True
    lonely = bpy.data.images.new("lonely", 1, 1)
    lonely.source, lonely.filepath = "FILE", "//gone/lonely.png"
    nodes = bpy.data.materials["gold"].node_tree.nodes
    nodes.new("ShaderNodeTexImage").image = lonely
    bpy.ops.mesh.primitive_cube_add(size=1, location=(-2, 0.5, 0.5))
    bpy.context.object.data.materials.append(material("off", RED, 0.4))
    bpy.context.object.name = "off"
    paint("//gone/off.png", "off")
    off = bpy.data.collections.new("off")
    scene.collection.children.link(off)
    off.objects.link(bpy.data.objects["off"])
    scene.collection.objects.unlink(bpy.data.objects["off"])
    off.hide_render = True


@case
def sound_that_is_gone(scene, place):
    sound = place.project / "beep.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 800)
    bpy.ops.object.speaker_add()
    bpy.context.object.data.sound = bpy.data.sounds.load(str(sound))
    save(place.blend)
    sound.unlink()
    return place.blend


# --- the sequencer ------------------------------------------------------------------------------------


@case
def strip_of_pictures(scene, place):
    sequence(place.elsewhere, (1, 2, 3, 4))
    editor = scene.sequence_editor_create()
    first = str(place.elsewhere / "clip_0001.png")
    strip = editor.strips.new_image("plates", first, channel=1, frame_start=1)
    for number in (2, 3, 4):
        strip.elements.append(f"clip_{number:04}.png")
    strip.frame_final_duration = 4


@case
def strip_of_a_movie(scene, place):
    editor = scene.sequence_editor_create()
    editor.strips.new_movie("film", str(film(place.elsewhere / "film.mkv")), channel=1, frame_start=1)


@case
def strip_beside_the_scene(scene, place):
    """The strip's folder is the scene's own: `//`."""
    picture(place.project / "plate.png", BLUE, 32)
    editor = scene.sequence_editor_create()
    strip = editor.strips.new_image("plate", str(place.project / "plate.png"), channel=1, frame_start=1)
    strip.directory, strip.frame_final_duration = "//", 9


# --- colours ------------------------------------------------------------------------------------------

LOOK = (
    "looks:\n  - !<Look>\n    name: Studio Red\n    process_space: Linear Rec.709\n"
    "    transform: !<CDLTransform> {slope: [1, 0.3, 0.3]}\n\n"
)
SPACE = (
    "colorspaces:\n  - !<ColorSpace>\n    name: Studio Plate\n    family: Studio\n    encoding: sdr-video\n"
    "    isdata: false\n    to_scene_reference: !<FileTransform> {src: plate.spi1d}\n\n"
)
TABLE = "Version 1\nFrom 0.0 1.0\nLength 3\nComponents 1\n{\n0.0\n0.2\n1.0\n}\n"


def studio(folder: Path, tables: Path | None = None) -> Path:
    """A configuration with a look and a colour space of its own, whose table lies in `tables`."""
    own = Path(bpy.utils.system_resource("DATAFILES"), "colormanagement")
    shutil.copytree(own, folder, dirs_exist_ok=True)
    config, tables = folder / "config.ocio", tables or folder / "luts"
    tables.mkdir(parents=True, exist_ok=True)
    (tables / "plate.spi1d").write_text(TABLE)
    text = (
        config.read_text().replace("\nlooks:\n", "\n" + LOOK, 1).replace("\ncolorspaces:\n", "\n" + SPACE, 1)
    )
    if not tables.is_relative_to(folder):
        text = text.replace("src: plate.spi1d", f"src: {tables}/plate.spi1d")
    config.write_text(text)
    return config


@case
def colors_of_a_studio(scene, place):
    """A look and a picture's colour space out of a configuration whose tables lie in another folder. OCIO
    must name it (`studio_config`) before Blender loads.
    """
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "Studio Red"
    picture(place.project / "tex" / "plate.png", RED)
    paint("//tex/plate.png").colorspace_settings.name = "Studio Plate"


def studio_config(folder: str) -> None:
    """A program: `studio`'s configuration in FOLDER/ocio, and its table in FOLDER/tables."""
    studio(Path(folder, "ocio"), Path(folder, "tables"))


def main(folder: str, names: list[str]) -> None:
    for name in names:
        write(Path(folder), name)


if __name__ == "__main__":
    # The registry must be the one that other modules see.
    from tests.variants import file_caches, file_libraries, files  # noqa: F401

    if sys.argv[1] == "--studio":
        files.studio_config(sys.argv[2])
    else:
        files.main(sys.argv[1], sys.argv[2:])

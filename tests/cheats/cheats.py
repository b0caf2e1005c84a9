# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways a node may cheat with what it renders: one table for the tests, the demo and the child.

A cheat changes what is asked of Blender, the open scene, the picture that came out, or the file's bytes.
This module needs no Blender.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from frame_splitter import exr
from frame_splitter.exr import Image, Part, Pixels
from tests.cheats import broken_files

Command = dict[str, Any]

PAINTED = 16
"""Pixels. The edge of the square that is painted over, in the middle of the tile."""


@dataclass(frozen=True)
class Cheat:
    """What a cheat does, in words, and how. `ask`: another command for Blender. `change`: something in the
    scene, which is loaded afresh afterwards. `picture`: the decoded picture. `file`: the file itself.
    `merge`: an honest picture and what was made in another way.
    `audits`: it is done to audits, and tiles are rendered honestly. `broken`: the file does not even
    pass the node's own check, so that the node's program must be another one, too.
    """

    what: str
    ask: Callable[[Command], Command] | None = None
    change: Callable[[Any], None] | None = None
    picture: Callable[[Image, Command], Image] | None = None
    file: Callable[[Path], None] | None = None
    audits: bool = False
    broken: bool = False
    merge: Callable[[Image, Image], Image] | None = None


# --- another command -----------------------------------------------------------------------------------


def _ask_for(command: Command, settings: dict[str, Any]) -> Command:
    """The command with other settings, each of which is to count whatever the file says."""
    return command | {"settings": settings, "asked": None}


def samples(share: float) -> Callable[[Command], Command]:
    """Fewer samples than the job pins."""

    def ask(command: Command) -> Command:
        settings = command["settings"]
        return _ask_for(command, settings | {"samples": max(1, int(settings["samples"] * share))})

    return ask


def one_sample_less(command: Command) -> Command:
    settings = command["settings"]
    return _ask_for(command, settings | {"samples": max(1, settings["samples"] - 1)})


def another_seed(command: Command) -> Command:
    return _ask_for(command, command["settings"] | {"seed": command["settings"]["seed"] + 1})


def later_frame(command: Command) -> Command:
    return command | {"frame": command["frame"] + 5}


def frame_before(command: Command) -> Command:
    return command | {"frame": command["frame"] - 1}


def tile_opposite(command: Command) -> Command:
    """The tile on the other side of the frame, which is another node's."""
    width, region = command["width"], command["region"]
    return command | {"region": region | {"x0": width - region["x1"], "x1": width - region["x0"]}}


def half_size(command: Command) -> Command:
    """Half the resolution; `blown_up` makes the picture as large as it should be."""
    settings = command["settings"]
    halved = {name: command[name] // 2 for name in ("width", "height")}
    region = {name: command["region"][name] // 2 for name in ("x0", "y0", "x1", "y1")}
    settings = settings | {"resolution_percentage": settings["resolution_percentage"] // 2}
    return _ask_for(command, settings) | halved | {"region": region, "area": region}


# --- another scene -------------------------------------------------------------------------------------


def one_bounce(bpy: Any) -> None:
    cycles = bpy.context.scene.cycles
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = 1


def one_bounce_less(bpy: Any) -> None:
    """The last bounce of each kind that the scene allows, which adds least."""
    cycles = bpy.context.scene.cycles
    for kind in ("max_bounces", "diffuse_bounces", "glossy_bounces", "transmission_bounces"):
        setattr(cycles, kind, getattr(cycles, kind) - 1)


def stop_early(bpy: Any) -> None:
    """Adaptive sampling is content with twice the noise."""
    bpy.context.scene.cycles.adaptive_threshold *= 2


def no_textures(bpy: Any) -> None:
    """Pictures no longer feed materials."""
    for material in bpy.data.materials:
        links = material.node_tree.links if material.node_tree else []
        for link in [one for one in links if one.from_node.bl_idname == "ShaderNodeTexImage"]:
            links.remove(link)


def denoise_in_cycles(bpy: Any) -> None:
    """Taken up by the child: Cycles denoises the few samples itself."""
    bpy.context.scene["denoise_in_cycles"] = True


# --- another picture -----------------------------------------------------------------------------------


def edited(image: Image, change: Callable[[str, Pixels], Pixels | None]) -> Image:
    """`image` with the channels that `change` gives back in place of its own."""

    def pixels(name: str, old: Pixels) -> Pixels:
        new = change(name, old)
        return old if new is None else new.astype(old.dtype)

    parts = tuple(
        replace(part, channels={name: pixels(name, old) for name, old in part.channels.items()})
        for part in image.parts
    )
    return Image(image.width, image.height, parts)


def everywhere(make: Callable[[Pixels], Pixels], passes: str = "") -> Callable[[Image, Command], Image]:
    """All of the passes whose channels' names contain `passes`."""
    return lambda image, _: edited(image, lambda name, old: make(old) if passes in name else None)


def blown_up(image: Image, command: Command) -> Image:
    """Each pixel four times."""
    region = command["region"]
    height, width = region["y1"] - region["y0"], region["x1"] - region["x0"]

    def twice(old: Pixels) -> Pixels:
        return old.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]

    parts = tuple(
        Part(part.name, {name: twice(old) for name, old in part.channels.items()}, part.attributes)
        for part in image.parts
    )
    return Image(width, height, parts)


def in_the_middle(pixels: Pixels, value: float, side: int) -> Pixels:
    new = pixels.copy()
    top, left = ((edge - side) // 2 for edge in pixels.shape)
    new[top : top + side, left : left + side] = value
    return new


def painted(side: int) -> Callable[[Image, Command], Image]:
    """A red square."""
    colour = {"R": 0.8, "G": 0.05, "B": 0.05}

    def change(name: str, old: Pixels) -> Pixels | None:
        value = colour.get(name.rpartition(".")[2])
        return in_the_middle(old, value, side) if value is not None and "Combined" in name else None

    return lambda image, _: edited(image, change)


def patched(passes: str, make: Callable[[Pixels], Pixels]) -> Callable[[Image, Command], Image]:
    """Less than a hundredth of the tile, in the passes whose channels' names contain `passes`."""

    def change(name: str, old: Pixels) -> Pixels | None:
        if passes not in name:
            return None
        edge = int((0.009 * old.size) ** 0.5)
        top, left = old.shape[0] // 3, old.shape[1] // 4
        new = old.copy()
        place = (slice(top, top + edge), slice(left, left + edge))
        new[place] = make(old[place])
        return new

    return lambda image, _: edited(image, change)


def halved(pixels: Pixels) -> Pixels:
    """What was nothing becomes something, too."""
    return pixels / 2 + 0.1


def as_elsewhere(pixels: Pixels) -> Pixels:
    """Off by as little as another processor's arithmetic is."""
    return pixels * (1 + numpy.random.default_rng(5).normal(0, 2e-6, pixels.shape))


def noise(pixels: Pixels) -> Pixels:
    return numpy.random.default_rng(5).random(pixels.shape)


def in_the_dark(honest: Image, false: Image) -> Image:
    """The false picture where the honest one is darkest, a third of it."""
    light = sum(pixels for part in honest.parts for name, pixels in part.channels.items() if is_light(name))
    return where(light <= numpy.quantile(light, 1 / 3), false, honest)


def is_light(name: str) -> bool:
    return "Combined" in name and name[-1] in "RGB"


def where(chosen: Any, one: Image, other: Image) -> Image:
    """The pixels of `one` where they are chosen, else those of `other`."""
    theirs = {name: pixels for part in one.parts for name, pixels in part.channels.items()}
    return edited(other, lambda name, old: numpy.where(chosen, theirs[name], old))


def counts_of_the_honest(honest: Image, false: Image) -> Image:
    """The false picture, said to have as many samples as the honest one."""
    counts = {
        name: px for part in honest.parts for name, px in part.channels.items() if "Sample Count" in name
    }
    return edited(false, lambda name, old: counts.get(name))


def with_one(value: float) -> Callable[[Pixels], Pixels]:
    """One pixel that is no number."""

    def change(old: Pixels) -> Pixels:
        new = old.copy()
        new[0, 0] = value
        return new

    return change


def renamed(image: Image, _: Command) -> Image:
    """Depth passes for the picture, under another name."""
    return _with_parts(image, lambda name: name.replace("Depth", "Mist"))


def without(passes: str) -> Callable[[Image, Command], Image]:
    """The picture without those passes."""
    return lambda image, _: _with_parts(image, lambda name: None if passes in name else name)


def _with_parts(image: Image, name_of: Callable[[str], str | None]) -> Image:
    parts = []
    for part in image.parts:
        channels = {name_of(name): pixels for name, pixels in part.channels.items()}
        channels.pop(None, None)
        if channels:
            parts.append(Part(name_of(part.name) or part.name, channels, part.attributes))
    return Image(image.width, image.height, tuple(parts))


CHEATS: dict[str, Cheat] = {
    "half-samples": Cheat("takes half of the samples", samples(1 / 2)),
    "three-quarters-samples": Cheat("takes three quarters of the samples", samples(3 / 4)),
    "nearly-all-samples": Cheat("takes 60 of every 64 samples", samples(60 / 64)),
    "eighth-denoised": Cheat(
        "takes an eighth of the samples and denoises", samples(1 / 8), denoise_in_cycles, without("Noisy")
    ),
    "half-size": Cheat("renders at half size and blows it up", half_size, picture=blown_up),
    "other-frame": Cheat("renders another frame", later_frame),
    "previous-frame": Cheat("hands in the tile of the frame before", frame_before),
    "other-tile": Cheat("hands in another node's tile", tile_opposite),
    "wrong-seed": Cheat("renders with another seed", another_seed),
    "other-device": Cheat(
        "renders on another kind of device than it says", picture=everywhere(as_elsewhere, "Combined")
    ),
    "fewer-bounces": Cheat("lets light bounce once", change=one_bounce),
    "dropped-texture": Cheat("leaves the textures out", change=no_textures),
    "painted": Cheat("paints a square of 16 pixels over", picture=painted(PAINTED)),
    "painted-small": Cheat("paints a square of 4 pixels over", picture=painted(4)),
    "one-sample-less": Cheat("leaves one sample out", one_sample_less),
    "one-bounce-less": Cheat("lets light bounce once less", change=one_bounce_less),
    "reseeded-dark": Cheat("renders what is dark with another seed", another_seed, merge=in_the_dark),
    "black": Cheat("hands in black", picture=everywhere(numpy.zeros_like)),
    "grey": Cheat("hands in grey", picture=everywhere(lambda old: numpy.full_like(old, 0.5), "Combined")),
    "noise": Cheat("hands in noise", picture=everywhere(noise, "Combined")),
    "cryptomatte": Cheat("falsifies the cryptomatte", picture=everywhere(halved, "Crypto")),
    "depth": Cheat("falsifies the depth pass", picture=everywhere(lambda old: old * 1.01, "Depth")),
    "depth-patch": Cheat(
        "falsifies a hundredth of the depth pass", picture=patched("Depth", lambda old: old * 1.01)
    ),
    "depth-nan": Cheat(
        "hands in depths that are no numbers", picture=patched("Depth", lambda old: old * numpy.nan)
    ),
    "matte-patch": Cheat(
        "names other things in a hundredth of the cryptomatte",
        picture=patched("CryptoObject00", lambda old: old * 0.75),
    ),
    "nan": Cheat(
        "hands in a pixel that is no number", picture=everywhere(with_one(numpy.nan), "Combined"), broken=True
    ),
    "infinite": Cheat(
        "hands in an infinite pixel", picture=everywhere(with_one(numpy.inf), "Combined"), broken=True
    ),
    "wrong-pass": Cheat("gives a pass another name", picture=renamed),
    "missing-pass": Cheat("leaves a pass out", picture=without("Depth")),
    "truncated": Cheat("hands in half of the file", file=broken_files.truncate, broken=True),
    "bomb": Cheat("hands in a file that unpacks to 50 GB", file=broken_files.make_bomb, broken=True),
    "huge": Cheat("hands in a picture of 60,000 x 60,000 pixels", file=broken_files.claim_huge, broken=True),
    "slander": Cheat(
        "says of every tile it audits that it differs", picture=everywhere(noise, "Combined"), audits=True
    ),
}


ADAPTIVE: dict[str, Cheat] = {
    "stops-early": Cheat("stops at twice the noise", change=stop_early),
    "false-counts": Cheat(
        "stops at twice the noise and says that it did not", change=stop_early, merge=counts_of_the_honest
    ),
}
"""Cheats that only scenes with adaptive sampling know."""


def apply_to_file(cheat: Cheat, path: Path, command: Command) -> None:
    """What happens to the file Blender wrote."""
    if cheat.picture is not None:
        image = exr.read(path)
        exr.write(path, cheat.picture(image, command))
    if cheat.file is not None:
        cheat.file(path)

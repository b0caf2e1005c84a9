# SPDX-License-Identifier: GPL-3.0-or-later
"""What `inspect` found in a .blend: the facts every later decision is made from.

The Blender child writes them as JSON (it cannot import this), the doctor prints them, and the
coordinator decides the exactness class from them. They come from a stranger's file, so every field
is bounded when decoded.
"""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from farm_protocol.fields import FrameNumber, Name, Pixels, Sentence, Size, about

Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=10_000)]
Sentences = Annotated[tuple[Sentence, ...], msgspec.Meta(max_length=1_000)]


@dataclass(frozen=True, slots=True)
class Asset:
    """A file the scene names."""

    path: Annotated[Name, about("absolute path on the client's machine")]
    kind: Annotated[Name, about("Blender's word: image, library, font, cachefile, volume, movieclip ...")]
    user: Annotated[Name, about("data-block that names it")]
    missing: Annotated[bool, about("whether it is not there")]
    used: Annotated[bool, about("whether a picture needs it")] = True


@dataclass(frozen=True, slots=True)
class ColorNames:
    """What the OCIO configuration of the Blender that inspects has, by all names."""

    spaces: Annotated[Names, about("colour spaces, by all names")] = ()
    looks: Annotated[Names, about("looks")] = ()
    displays: Annotated[Names, about("displays")] = ()
    views: Annotated[Names, about("views as `display/view`")] = ()
    users: Annotated[
        tuple[Name, ...],
        msgspec.Meta(max_length=100_000),
        about("data-blocks whose names count, with their two letters (IMwood)"),
    ] = ()
    sequencer: Annotated[bool, about("whether the names of the sequencer count")] = False


@dataclass(frozen=True, slots=True)
class Simulation:
    """A physics system or simulation zone that is rendered, and whether its result lies baked in the bundle.
    Frames up to `until` need no bake: those before it starts, and those that were played and kept.
    """

    owner: Annotated[Name, about("object or modifier it belongs to")]
    kind: Annotated[Name, about("what is simulated, in Blender's words")]
    baked: Annotated[bool, about("whether its result lies in the bundle")]
    until: Annotated[FrameNumber, about("last frame that needs no bake")] = -1_048_574
    press: Annotated[Name, about("where Blender bakes it")] = ""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The scene's own output format, in Blender's words; `extension` with its dot, or none."""

    name: Annotated[Name, about("Blender's name of the format")]
    color_mode: Annotated[Name, about("BW, RGB or RGBA")]
    color_depth: Annotated[Name, about("bits a channel")]
    extension: Annotated[Name, about("ending with its dot, or ''")]
    movie: Annotated[bool, about("whether it is a film")]


@dataclass(frozen=True, slots=True)
class Naming:
    """What Blender fills into the templates of an output path."""

    blend: Annotated[Name, about("name of the .blend")]
    scene: Annotated[Name, about("name of the scene")]
    fps: Annotated[float, about("frames a second")]
    camera: Annotated[Name, about("the scene's own camera, '' where there is none")]
    cameras: Annotated[
        tuple[tuple[FrameNumber, Name], ...],
        msgspec.Meta(max_length=100_000),
        about("cameras that markers bind, by frame"),
    ] = ()


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Adaptive sampling as the scene has it."""

    use: Annotated[bool, about("whether it is on")]
    threshold: Annotated[float, about("noise threshold")]
    min_samples: Annotated[
        int, msgspec.Meta(ge=0, le=1 << 24), about("the least samples a pixel; 0: Cycles chooses")
    ]


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """All that is known of a .blend before a job starts. What is not baked stands in `simulations`, and not
    in `refused`.
    """

    scene: Annotated[Name, about("name of the scene")]
    saved_with: Annotated[Name, about("Blender version that saved the file")]
    blender: Annotated[Name, about("Blender version that looked at it")]
    engine: Annotated[Name, about("Blender's name of the render engine")]
    frame_start: Annotated[FrameNumber, about("first frame")]
    frame_end: Annotated[FrameNumber, about("last frame")]
    frame_step: Annotated[int, msgspec.Meta(ge=1, le=1_048_574), about("from frame to frame")]
    resolution_x: Annotated[Pixels, about("width in pixels at 100 percent")]
    resolution_y: Annotated[Pixels, about("height in pixels at 100 percent")]
    resolution_percentage: Annotated[int, msgspec.Meta(ge=1, le=32767), about("percentage that is rendered")]
    border: Annotated[
        tuple[float, float, float, float] | None,
        about("render region in shares of the frame: left, bottom, right, top; null: all of it"),
    ]
    crop: Annotated[bool, about("whether the file is cropped to the border")]
    samples: Annotated[int, msgspec.Meta(ge=0, le=1 << 24), about("samples a pixel")]
    seed: Annotated[int, about("seed of the sampling pattern")]
    adaptive: Annotated[Adaptive, about("adaptive sampling")]
    auto_tile: Annotated[
        int,
        msgspec.Meta(ge=0, le=1 << 17),
        about("side of the tiles that Cycles cuts a frame into, pixels; 0: none"),
    ]
    """Edge of Cycles' own tiles in pixels, 0 when off."""
    denoise: Annotated[bool, about("whether frames are denoised")]
    view_layers: Annotated[Names, about("view layers that are rendered")]
    compositing: Annotated[bool, about("whether a compositor takes part")]
    file: Annotated[FileFormat, about("the scene's own output format")]
    output_path: Annotated[Name, about("output path as the file has it")]
    file_outputs: Annotated[Names, about("File Output nodes")]
    camera: Annotated[bool, about("false where a camera is needed and lacking")]
    whole_only: Annotated[Sentences, about("why a frame cannot be cut into tiles, in sentences")]
    final_only: Annotated[
        Sentences, about("why the Blender that renders a frame must finish it, in sentences")
    ]
    approximate: Annotated[Sentences, about("why even that is not bit-exact, in sentences")]
    refused: Annotated[Sentences, about("why the scene cannot be rendered on a farm at all, in sentences")]
    notes: Annotated[Sentences, about("what there is to know, in sentences")]
    scripts: Annotated[Names, about("texts that Blender would run at loading; they never run")]
    drivers: Annotated[Names, about("drivers of rendered data that need Python, which never runs")]
    assets: Annotated[
        tuple[Asset, ...], msgspec.Meta(max_length=100_000), about("files that the scene names")
    ]
    simulations: Annotated[
        tuple[Simulation, ...], msgspec.Meta(max_length=10_000), about("physics that are rendered")
    ]
    memory: Annotated[Size, about("bytes that the scene is guessed to take")] = 0
    layer_samples: Annotated[
        int,
        msgspec.Meta(ge=0, le=1 << 24),
        about("the most samples that a rendered view layer sets for itself; 0: none does"),
    ] = 0
    """The most that a view layer takes by a setting of its own, 0 where none does."""
    unlike: Annotated[
        Sentences,
        about("why two renders on a device that adds in any order differ by more than that, in sentences"),
    ] = ()
    colors: Annotated[ColorNames, about("names of colours in the inspecting Blender")] = field(
        default_factory=ColorNames
    )
    naming: Annotated[Naming | None, about("what Blender fills into templates of an output path")] = None

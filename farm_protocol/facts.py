# SPDX-License-Identifier: GPL-3.0-or-later
"""What `inspect` found in a .blend: the facts every later decision is made from.

The Blender child writes them as JSON (it cannot import this), the doctor prints them, and the
coordinator decides the exactness class from them. They come from a stranger's file, so every field
is bounded when decoded.
"""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from farm_protocol.fields import FrameNumber, Name, Pixels, Sentence, Size

Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=10_000)]
Sentences = Annotated[tuple[Sentence, ...], msgspec.Meta(max_length=1_000)]


@dataclass(frozen=True, slots=True)
class Asset:
    """A file the scene names. `path` is absolute on the client's machine; `kind` is Blender's word
    (image, library, font, cachefile, volume, movieclip ...); `used` whether a picture needs it.
    """

    path: Name
    kind: Name
    user: Name
    missing: bool
    used: bool = True


@dataclass(frozen=True, slots=True)
class ColorNames:
    """What the OCIO configuration of the Blender that inspects has, by all names; `views` as
    `display/view`. `users` are the data-blocks with their two letters (IMwood) whose names count,
    `sequencer` says whether those of the sequencer do.
    """

    spaces: Names = ()
    looks: Names = ()
    displays: Names = ()
    views: Names = ()
    users: Annotated[tuple[Name, ...], msgspec.Meta(max_length=100_000)] = ()
    sequencer: bool = False


@dataclass(frozen=True, slots=True)
class Simulation:
    """A physics system or simulation zone that is rendered, and whether its result lies baked in the bundle.

    Frames up to `until` need no bake: those before it starts, and those that were played and kept.
    `press` is where Blender bakes it.
    """

    owner: Name
    kind: Name
    baked: bool
    until: FrameNumber = -1_048_574
    press: Name = ""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The scene's own output format, in Blender's words; `extension` with its dot, or none."""

    name: Name
    color_mode: Name
    color_depth: Name
    extension: Name
    movie: bool


@dataclass(frozen=True, slots=True)
class Naming:
    """What Blender fills into the templates of an output path. `cameras` are those that markers bind, by
    frame; `camera` is the scene's own, empty where there is none.
    """

    blend: Name
    scene: Name
    fps: float
    camera: Name
    cameras: Annotated[tuple[tuple[FrameNumber, Name], ...], msgspec.Meta(max_length=100_000)] = ()


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Adaptive sampling as the scene has it; `min_samples` 0 means Cycles chooses."""

    use: bool
    threshold: float
    min_samples: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """All that is known of a .blend before a job starts.

    `whole_only` lists reasons (sentences) why a frame cannot be cut into tiles, `final_only` why the
    frame must be finished by the Blender that renders it, `approximate` why even that is not
    bit-exact, `unlike` why two renders on a device that adds in any order differ by more than that.
    `refused` lists reasons the scene cannot be rendered on a farm at all; what is not baked
    stands in `simulations`. `camera` is false where one is needed and lacking. `drivers` are those of the
    rendered data that need Python, which never runs.
    """

    scene: Name
    saved_with: Name
    blender: Name
    engine: Name
    frame_start: FrameNumber
    frame_end: FrameNumber
    frame_step: Annotated[int, msgspec.Meta(ge=1, le=1_048_574)]
    resolution_x: Pixels
    resolution_y: Pixels
    resolution_percentage: Annotated[int, msgspec.Meta(ge=1, le=32767)]
    border: tuple[float, float, float, float] | None
    crop: bool
    samples: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
    seed: int
    adaptive: Adaptive
    auto_tile: Annotated[int, msgspec.Meta(ge=0, le=1 << 17)]
    """Edge of Cycles' own tiles in pixels, 0 when off."""
    denoise: bool
    view_layers: Names
    compositing: bool
    file: FileFormat
    output_path: Name
    file_outputs: Names
    camera: bool
    whole_only: Sentences
    final_only: Sentences
    approximate: Sentences
    refused: Sentences
    notes: Sentences
    scripts: Names
    drivers: Names
    assets: Annotated[tuple[Asset, ...], msgspec.Meta(max_length=100_000)]
    simulations: Annotated[tuple[Simulation, ...], msgspec.Meta(max_length=10_000)]
    memory: Size = 0
    layer_samples: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0
    """The most that a view layer takes by a setting of its own, 0 where none does."""
    unlike: Sentences = ()
    colors: ColorNames = field(default_factory=ColorNames)
    naming: Naming | None = None

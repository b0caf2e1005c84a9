# SPDX-License-Identifier: GPL-3.0-or-later
"""Render passes in a picture: tiles hold all of them in one part, Blender's own files one in each."""

import re
from dataclasses import replace

import numpy

from frame_splitter.exr import Image, Pixels

COMBINED = "Combined"

FIRST_SAMPLE = frozenset({"Depth", "Position", "Object Index", "Material Index"})
"""Passes that Cycles writes with a pixel's first sample only: all other samples leave them as they are, so
two renders that both begin with the first sample have the very same ones."""

COUNTED = frozenset({"Debug Sample Count"})
"""Passes that count a pixel's samples: those of another number of samples say nothing about them."""

CRYPTOMATTE = "Crypto"
"""How passes begin that hold names of things as floats, each beside its share of the pixel."""


def pass_name(part: str, channel: str) -> str:
    """The pass a channel belongs to, as `Layer.Pass`: its own name without the last word, or its part's."""
    return channel.rpartition(".")[0] or part


def kind_of(name: str) -> str:
    """A pass without its layer."""
    return name.rpartition(".")[2]


def with_first_samples(image: Image, first: Image) -> Image:
    """`image` with the passes of a pixel's first sample as `first` has them; both show the same pixels."""
    theirs = {(part.name, name): pixels for part in first.parts for name, pixels in part.channels.items()}

    def pixels(part: str, name: str, old: Pixels) -> Pixels:
        wanted = kind_of(pass_name(part, name)) in FIRST_SAMPLE
        return theirs.get((part, name), old) if wanted else old

    parts = tuple(
        replace(part, channels={name: pixels(part.name, name, old) for name, old in part.channels.items()})
        for part in image.parts
    )
    return replace(image, parts=parts)


MATTE = re.compile(r"Crypto(Object|Material|Asset)\d\d")
"""A pass of a cryptomatte."""


def is_written_once(part: str, channel: str) -> bool:
    """Whether a channel is of a pass that one sample writes. A pass of the artist's own may have such a name,
    where the file does not store the pass, and is a sum of colours.
    """
    own_colour = channel.rpartition(".")[2] in ("R", "G", "B", "A")
    return kind_of(pass_name(part, channel)) in FIRST_SAMPLE and not own_colour


def is_combined(name: str) -> bool:
    """Whether a pass is a layer's Combined."""
    return kind_of(name) == COMBINED


def combined(image: Image) -> Pixels:
    """Red, green and blue of all Combined passes side by side, of shape (height, width, 3 x layers), top row
    first; all channels where there is no such pass.
    """
    found = [
        pixels
        for name, pixels in sorted(_channels(image).items())
        if is_combined(name.rpartition(".")[0]) and name[-1] in "RGB"
    ]
    return numpy.stack(found or list(_channels(image).values()), axis=-1)


def colours(image: Image) -> Pixels:
    """What a person would look at: red, green and blue of the first layer's Combined pass, or of the first
    channels where there is none, of shape (height, width, 3), top row first.
    """
    channels = _channels(image)
    layers = sorted(name[:-2] for name in channels if is_combined(name[:-2]) and name.endswith(".R"))
    first = next(iter(channels.values()))
    if not layers:
        return numpy.stack([first] * 3, axis=-1)
    return numpy.stack([channels.get(f"{layers[0]}.{colour}", first) for colour in "RGB"], axis=-1)


def _channels(image: Image) -> dict[str, Pixels]:
    return {
        f"{pass_name(part.name, name)}.{name.rpartition('.')[2]}": pixels
        for part in image.parts
        for name, pixels in part.channels.items()
    }

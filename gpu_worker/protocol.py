# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Blender child says (docs/architecture.md, "The Blender child"), decoded with bounds.

The child has read a stranger's file: whatever it writes is hostile until decoded here.
"""

from typing import Annotated

import msgspec

from farm_protocol.audits import MOST_CROPS
from farm_protocol.fields import Name, Seconds, Size, decoder
from farm_protocol.probes import MOST_MEASURES, Measure

Text = Annotated[str, msgspec.Meta(max_length=65536)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
Paths = Annotated[tuple[Name, ...], msgspec.Meta(max_length=10_000)]


class Ready(msgspec.Struct, frozen=True, tag_field="event", tag="ready"):
    """The child's first word: which Blender this is, and which kind of device it only `emulates`, if any."""

    blender: Name
    build: Name
    emulates: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]{0,32}$")] = ""


class ProgressEvent(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """Samples taken of samples wanted."""

    done: Count
    total: Count


Counts = Annotated[dict[Name, Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]], msgspec.Meta(max_length=1000)]


class Done(msgspec.Struct, frozen=True, tag_field="event", tag="done"):
    """A command succeeded. Which fields are set depends on the command; `facts` stays undecoded."""

    facts: msgspec.Raw = msgspec.Raw()
    device_name: Name = ""
    files: Paths = ()
    seconds: Seconds = 0.0
    render_seconds: Seconds = 0.0
    peak_memory: Size = 0
    device_memory: Size = 0
    samples: Counts = {}
    speed: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] = 0
    measures: Annotated[tuple[Measure, ...], msgspec.Meta(max_length=MOST_MEASURES)] = ()
    samples_of_each: Annotated[tuple[Counts, ...], msgspec.Meta(max_length=MOST_CROPS + 1)] = ()


class Failed(msgspec.Struct, frozen=True, tag_field="event", tag="failed"):
    """A command failed; `code` is one of scene, device, gpu_memory, gpu_fault, bad_input."""

    code: Name
    message: Text


Event = Ready | ProgressEvent | Done | Failed


def decode_event(line: bytes) -> Event:
    """One line as an event. Raises ValueError for anything else."""
    found: Event = decoder(Event).decode(line)  # type: ignore[arg-type]
    return found

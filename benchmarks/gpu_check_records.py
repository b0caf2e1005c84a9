# SPDX-License-Identifier: GPL-3.0-or-later
"""What benchmarks/gpu_check.py measures with, and the rows and tables it prints."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Cell = str | int | float


CPU = "CPU"
"""The name of the device that all others are held against: the processor with all of its cores."""


class NotThere(Exception):
    """What an earlier step should have left is not there; the text says what."""


@dataclass(frozen=True)
class Device:
    """What renders: Cycles' backend and index, CPU threads beside it; the Blender child's program where it is
    not the node's own, and variables for it. `variant`: the CPU in another way.
    """

    name: str
    backend: str = "CPU"
    index: int = 0
    threads: int = 1
    program: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    variant: bool = False

    @property
    def is_cpu(self) -> bool:
        """Whether this is the processor with all of its cores."""
        return self.name == CPU


@dataclass(frozen=True)
class Scene:
    """A .blend that was made for the check, and what a node is told of it. `threshold` and `min_samples` are
    those of adaptive sampling, None where every pixel takes all samples.
    """

    name: str
    blend: str
    frame: int
    width: int
    height: int
    samples: int
    seed: int
    threshold: float | None = None
    min_samples: int = 0


@dataclass(frozen=True)
class Setup:
    """Everything that a step needs to know. `folder` is scratch that all steps share; `dry`: small pictures
    and stand-ins for GPUs.
    """

    folder: Path
    dry: bool
    devices: tuple[Device, ...]
    extra: tuple[str, ...] = ()

    @property
    def gpus(self) -> tuple[Device, ...]:
        """The GPUs, or what stands in for them."""
        return tuple(device for device in self.devices if not device.is_cpu and not device.variant)

    @property
    def variants(self) -> tuple[Device, ...]:
        """The CPU in other ways."""
        return tuple(device for device in self.devices if device.variant)

    def device(self, name: str) -> Device:
        """The device of that name."""
        return next(device for device in self.devices if device.name == name)

    def scenes(self) -> dict[str, Scene]:
        """The scenes that were made, by name. Raises NotThere."""
        made = self.folder / "scenes.json"
        if not made.is_file():
            raise NotThere("its scenes were not made")
        found = json.loads(made.read_text())
        return {each["name"]: Scene(**each) for each in found}

    def save(self) -> None:
        """Write it where the steps find it."""
        plain = asdict(self) | {"folder": str(self.folder)}
        (self.folder / "setup.json").write_text(json.dumps(plain))

    @classmethod
    def load(cls, folder: Path) -> "Setup":
        """What `save` wrote."""
        plain = json.loads((folder / "setup.json").read_text())
        devices = tuple(Device(**each) for each in plain["devices"])
        return cls(folder, plain["dry"], devices, tuple(plain["extra"]))


@dataclass(frozen=True)
class Row:
    """One line of one table; its cells by column."""

    table: str
    cells: dict[str, Cell]
    step: str = ""


@dataclass(frozen=True)
class Table:
    """A table, the page of docs/ it belongs to if it does to one, and its columns."""

    title: str
    page: str
    columns: tuple[str, ...]


EXACTNESS, PERFORMANCE = "exactness", "performance"

TABLES = {
    "machine": Table("The machine", EXACTNESS, ("what", "found")),
    "apart": Table(
        "Two renders of one picture",
        EXACTNESS,
        (
            "scene",
            "render",
            "against",
            "how",
            "pixels apart",
            "largest / hard bound",
            "RMS / its bound",
            "crops beyond",
            "RMSE / mean",
        ),
    ),
    "passes": Table(
        "The same, by pass (the largest of all repeats)",
        EXACTNESS,
        ("scene", "render", "pass", "pixels apart", "largest / hard bound", "RMS / its bound"),
    ),
    "adaptive": Table(
        "Adaptive sampling: pixels whose sample count differs",
        EXACTNESS,
        (
            "scene",
            "render",
            "against",
            "how",
            "samples",
            "pixels flipped",
            "filter steps apart",
            "largest cluster",
            "values apart, median",
            "values apart, largest",
            "unexplained",
        ),
    ),
    "cryptomatte": Table(
        "Cryptomatte",
        EXACTNESS,
        ("scene", "render", "how", "pixels with ranks swapped", "other names", "largest weight apart"),
    ),
    "denoising": Table(
        "Denoised pictures",
        EXACTNESS,
        ("render", "against", "how", "largest, linear", "RMSE / mean", "8-bit: one step", "8-bit: more"),
    ),
    "bytes": Table(
        "8-bit files of plain renders",
        EXACTNESS,
        ("scene", "render", "against", "how", "one step", "more", "largest step"),
    ),
    "kernels": Table(
        "Kernels: the first render of a process",
        PERFORMANCE,
        ("device", "kernel cache", "first render, s", "second render, s", "cache, MB"),
    ),
    "speed": Table(
        "Samples a second",
        PERFORMANCE,
        (
            "scene",
            "device",
            "render, s",
            "million samples/s",
            "against all cores",
            "device memory, MB",
            "process memory, MB",
        ),
    ),
    "persistent": Table(
        "Persistent data",
        PERFORMANCE,
        ("scene", "device", "with, s a tile", "without, s a tile", "pixels apart"),
    ),
    "audit": Table(
        "An audit: 4 + 3 crops of 16x16 and 2 samples of the tile",
        PERFORMANCE,
        ("scene", "device", "tile, s", "audit, s", "share"),
    ),
    "pair": Table(
        "Two processes on one device",
        PERFORMANCE,
        ("scene", "device", "alone, s a tile", "two at once, s a tile", "throughput", "crops beyond"),
    ),
    "missing": Table("Not measured", "", ("step", "why")),
}


def markdown(rows: Iterable[Row]) -> str:
    """The rows as tables, in the order of `TABLES`."""
    kept = list(rows)
    found = []
    for name, table in TABLES.items():
        mine = [row for row in kept if row.table == name]
        if mine:
            page = f" (docs/{table.page}.md)" if table.page else ""
            lines = [f"**{table.title}**{page}", "", _line(table.columns)]
            lines.append("|" + "---|" * len(table.columns))
            lines += [_line(_text(row.cells.get(column, "")) for column in table.columns) for row in mine]
            found.append("\n".join(lines))
    return "\n\n".join(found)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if isinstance(cell, float):
        return "0" if cell == 0 else f"{cell:.3g}"
    return str(cell).replace("|", "/").replace("\n", " ")


def as_json(row: Row) -> str:
    """One line."""
    return json.dumps(asdict(row))


def from_json(line: str) -> Row:
    """What `as_json` wrote. Raises ValueError."""
    plain: dict[str, Any] = json.loads(line)
    return Row(**plain)

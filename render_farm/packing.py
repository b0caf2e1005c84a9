# SPDX-License-Identifier: GPL-3.0-or-later
"""The packing program: `python -m render_farm.packing SCENE FOLDER`.

Traces the files a .blend reads, lays them out under relative paths, and writes into FOLDER those
.blend files whose paths had to change. It prints a Plan as JSON. A program of its own because it
parses a stranger's file: it takes its own memory and time away before it opens it.
"""

import os
import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from farm_protocol.errors import FarmError
from farm_protocol.fields import encode
from frame_splitter.outputs import carried_name, laid_out_name
from render_farm.asset_rules import (
    CACHE_ENDINGS,
    ENDINGS,
    MAX_FILES,
    NODE_ENDINGS,
    AssetRules,
    files_of,
)
from render_farm.color_config import find_config, plan_config
from render_farm.shipped_assets import shipped_name
from render_farm.usd_layers import USD_ENDINGS, layers

if TYPE_CHECKING:
    from render_farm.asset_tracing import Trace, Use
    from render_farm.color_names import ColorName

MEMORY_LIMIT = 4 << 30
"""Bytes of address space; the tracer maps a .blend's index, not its contents."""
SECONDS_LIMIT = 300
INFLATION_LIMIT = 64
"""How many times its size a compressed .blend may grow; real ones stay below 20."""
SMALLEST_INFLATION = 2 << 30
"""Bytes any .blend may unpack to."""

_OUTSIDE = "_outside"
_MOST_NOTES = 20
_MOST_COLORS = 200_000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file the scene names that is not taken along, and why, as half a sentence."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Remapped:
    """A path as the .blend had it and where the bundle has it."""

    path: str
    bundled: str


@dataclass(frozen=True, slots=True)
class NamedColor:
    """A colour space, look, view or display the .blend names (`render_farm/color_names.py`)."""

    owner: str
    kind: str
    name: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes into a bundle. `files` maps a relative path to the file it comes from, `rewritten`
    those already written into the folder; `folders` maps bundle folders to the artist's. `color_config`
    is the OCIO configuration: a file of the bundle, one built into OCIO (`ocio://...`), or "".
    """

    main: str
    files: dict[str, str]
    rewritten: tuple[str, ...] = ()
    folders: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    remapped: tuple[Remapped, ...] = ()
    notes: tuple[str, ...] = ()
    color_config: str = ""
    colors: tuple[NamedColor, ...] = ()
    error: str = ""


class Layout:
    """Where files lie in the bundle: as beside the scene, or, from elsewhere, under `_outside/N`.

    Folders keep their place relative to each other, so that files a library names relative to itself
    need no new paths.
    """

    def __init__(self, base: Path, folders: set[Path]) -> None:
        self.base = base
        self.roots: dict[Path, str] = {}
        taken = {folder.relative_to(base).parts[:1] for folder in folders if folder.is_relative_to(base)}
        prefix = _OUTSIDE
        while (prefix,) in taken:
            prefix += "_"
        for folder in sorted(folder for folder in folders if not folder.is_relative_to(base)):
            if self._root(folder) is None:
                self.roots[folder] = f"{prefix}/{len(self.roots) + 1}"

    def _root(self, folder: Path) -> Path | None:
        return next((root for root in (folder, *folder.parents) if root in self.roots), None)

    def place(self, path: Path) -> str:
        """The relative path of a file, or of a folder or pattern of files."""
        shipped = shipped_name(path)
        if shipped is not None:
            return shipped
        if path.is_relative_to(self.base):
            return path.relative_to(self.base).as_posix()
        root = self._root(path)
        if root is None:
            raise KeyError(path)
        return str(PurePosixPath(self.roots[root]) / path.relative_to(root).as_posix())

    def folders(self) -> dict[str, str]:
        """Bundle folder to the artist's folder."""
        return {"": str(self.base), **{name: str(root) for root, name in self.roots.items()}}


def main() -> int:
    """Run the program; exits 0 with a Plan on stdout, whatever the file was."""
    scene, folder = Path(sys.argv[1]), Path(sys.argv[2])
    _limit(scene)
    try:
        plan = pack(scene, folder)
    except FarmError as error:
        plan = Plan(scene.name, {}, error=error.sentence)
    except Exception as error:  # the tracer's own errors share no root
        plan = _untraced(scene, folder, error)
    sys.stdout.buffer.write(encode(plan))
    return 0


def _untraced(scene: Path, folder: Path, error: Exception) -> Plan:
    """Blender may read what the tracer cannot: the scene alone, and the doctor asks Blender."""
    config = plan_config(find_config(os.environ), folder, set(), os.environ)
    note = f"Its files were not traced by reading it ({type(error).__name__}), Blender was asked instead."
    return Plan(
        scene.name,
        {scene.name: str(scene), **config.files},
        rewritten=config.written,
        folders={"": str(scene.parent)},
        notes=(note,),
        color_config=config.main,
    )


def _limit(scene: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_LIMIT, SECONDS_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Compressed files are unpacked into a temporary file: a bomb stops here, not at a full disk.
    largest = max(SMALLEST_INFLATION, INFLATION_LIMIT * scene.stat().st_size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))


def pack(scene: Path, folder: Path) -> Plan:
    """Trace `scene` (absolute) and write what must be rewritten into `folder`."""
    from render_farm.asset_tracing import trace  # noqa: PLC0415 - after the limits are set

    rules = AssetRules(scene.parent)
    traced = trace(scene, rules)
    chosen = _Chosen(rules, {scene: [scene]})
    uses = [use for use in traced.found if chosen.take(use)]
    relied = {(use.blend, use.base) for use in uses}
    anchors = [anchor for key, anchor in traced.anchors.items() if key in relied]
    apart = {use.path.parent for use in anchors if shipped_name(use.path) is None}
    layout = Layout(scene.parent, chosen.folders() | apart)
    files = {layout.place(file): str(file) for files in chosen.sources.values() for file in files}
    rewritten, remapped = _rewrite_all([*uses, *anchors], traced, layout, folder, chosen.left_out)
    config = plan_config(find_config(os.environ), folder, set(files), os.environ)
    return Plan(
        main=layout.place(scene),
        files=_named_safely({**files, **config.files}, chosen.left_out),
        rewritten=(*rewritten, *config.written),
        folders=layout.folders(),
        missing=tuple(dict.fromkeys(traced.missing)),
        left_out=tuple(LeftOut(path, reason) for path, reason in chosen.left_out.items()),
        remapped=tuple(remapped),
        notes=tuple(_notes(traced.notes)),
        color_config=config.main,
        colors=tuple(dict.fromkeys(map(_color, traced.colors)))[:_MOST_COLORS],
    )


def _color(found: "ColorName") -> NamedColor:
    return NamedColor(found.owner, found.kind, found.name, found.part)


def _notes(notes: list[str]) -> Iterable[str]:
    yield from dict.fromkeys(notes[:_MOST_NOTES])
    if len(notes) > _MOST_NOTES:
        yield f"{len(notes) - _MOST_NOTES} more data-blocks could not be searched."


@dataclass(slots=True)
class _Chosen:
    """The files behind each path that may go (`sources`), and those left out with the reason."""

    rules: AssetRules
    sources: dict[Path, list[Path]]
    left_out: dict[str, str] = field(default_factory=dict)
    count: int = 0
    together: set[Path] = field(default_factory=set)
    _done: dict[tuple[Path, str], bool] = field(default_factory=dict)

    def take(self, use: "Use") -> bool:
        """Whether any file of this use goes into the bundle."""
        key = (use.path, use.field.members)
        if key not in self._done:
            self._done[key] = self._choose(use)
        return self._done[key]

    def _choose(self, use: "Use") -> bool:
        path, members = use.path, use.field.members
        reason = self.rules.folder_refusal(path) if members else "it is a folder" if path.is_dir() else ""
        if reason:
            self.left_out[str(path)] = reason
            return False
        endings = CACHE_ENDINGS if members else ENDINGS
        endings |= NODE_ENDINGS if use.field.guess else frozenset()
        files = files_of(path, sequence=use.field.sequence, members=members) or [path]
        refused = {file: "" if shipped_name(file) else self.rules.refusal(file, endings) for file in files}
        allowed = [file for file, reason in refused.items() if not reason]
        if not allowed:
            self.left_out[str(path)] = refused[files[0]]
        else:
            self.left_out.update({str(file): reason for file, reason in refused.items() if reason})
        if self.count + len(allowed) > MAX_FILES:
            self.left_out[str(path)] = f"the scene has more than {MAX_FILES} files"
            return False
        for file in [one for one in allowed if one.suffix.lower() in USD_ENDINGS]:
            allowed += self._layers(file)
        self.count += len(allowed)
        self.sources.setdefault(path, []).extend(allowed)
        return bool(allowed)

    def _layers(self, file: Path) -> list[Path]:
        """What a USD file is put together from; all of it keeps its place to each other."""
        refused = {layer: self.rules.refusal(layer) for layer in layers(file)}
        self.left_out.update({str(layer): reason for layer, reason in refused.items() if reason})
        found = [layer for layer, reason in refused.items() if not reason]
        if found:
            self.together.add(Path(os.path.commonpath([one.parent for one in (file, *found)])))
        return found

    def folders(self) -> set[Path]:
        """The folders that need a place in the bundle."""
        found = set(self.together)
        for path, files in self.sources.items():
            found.add(path if path.is_dir() else path.parent)
            found.update(file.parent for file in files)
        return {folder for folder in found if shipped_name(folder / "x") is None}


def _named_safely(files: dict[str, str], left_out: dict[str, str]) -> dict[str, str]:
    safe = {}
    for name, source in files.items():
        try:
            laid_out_name(carried_name(name))
        except FarmError as error:
            left_out[source] = error.sentence
        else:
            safe[name] = source
    return safe


def _rewrite_all(
    uses: "list[Use]", traced: "Trace", layout: Layout, folder: Path, left_out: dict[str, str]
) -> tuple[list[str], list[Remapped]]:
    from render_farm.rewriting import Change, relative, rewrite  # noqa: PLC0415 - as in pack

    changes: dict[Path, dict[int, Change]] = {}
    remapped: list[Remapped] = []
    root = Path("/bundle")
    for use in uses:
        there = root / layout.place(use.path)
        text = relative(there, root / layout.place(use.base), use.field)
        if use.field.place is None or text == use.field.text:
            continue
        changes.setdefault(use.blend, {})[use.field.place.offset] = Change(use.field.place, text, use.named)
        remapped.append(Remapped(use.named, there.relative_to(root).as_posix()))
    for blend, list_ in changes.items():
        target = folder / layout.place(blend)
        target.parent.mkdir(parents=True, exist_ok=True)
        left_out.update(rewrite(target, traced.opened[blend], list(list_.values())))
    return [layout.place(blend) for blend in changes], list(dict.fromkeys(remapped))


if __name__ == "__main__":
    sys.exit(main())

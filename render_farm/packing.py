# SPDX-License-Identifier: GPL-3.0-or-later
"""The packing program: `python -m render_farm.packing SCENE FOLDER`.

Traces the files a .blend reads, lays them out under relative paths, and writes into FOLDER those
.blend files whose paths had to change. It prints a Plan as JSON. A program of its own because it
parses a stranger's file: it takes its own memory and time away before it opens it.
"""

import os
import resource
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from frame_splitter.errors import FarmError
from frame_splitter.fields import encode
from frame_splitter.outputs import safe_relative
from render_farm.asset_rules import CACHE_ENDINGS, ENDINGS, MAX_FILES, AssetRules, files_of

if TYPE_CHECKING:
    from render_farm.asset_tracing import Found

MEMORY_LIMIT = 4 << 30
"""Bytes of address space; the tracer maps a .blend's index, not its contents."""
SECONDS_LIMIT = 300
INFLATION_LIMIT = 64
"""How many times its size a compressed .blend may grow; real ones stay below 20."""
SMALLEST_INFLATION = 2 << 30
"""Bytes any .blend may unpack to."""

_OUTSIDE = "_outside"


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
class Plan:
    """What goes into a bundle. `files` maps a relative path to the file it comes from, `rewritten`
    those already written into the folder; `folders` maps bundle folders to the artist's.
    """

    main: str
    files: dict[str, str]
    rewritten: tuple[str, ...] = ()
    folders: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    remapped: tuple[Remapped, ...] = ()
    notes: tuple[str, ...] = ()
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
        plan = _untraced(scene, error)
    sys.stdout.buffer.write(encode(plan))
    return 0


def _untraced(scene: Path, error: Exception) -> Plan:
    """Blender may read what the tracer cannot: the scene alone, and the doctor asks Blender."""
    note = f"Its files were not traced by reading it ({type(error).__name__}), Blender was asked instead."
    return Plan(scene.name, {scene.name: str(scene)}, folders={"": str(scene.parent)}, notes=(note,))


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
    sources: dict[Path, list[Path]] = {scene: [scene]}
    left_out: dict[str, str] = {}
    kept: list[Found] = []
    for use in traced.found:
        if use.path not in sources and str(use.path) not in left_out:
            _choose(use.path, use.sequence, rules, sources, left_out)
        if use.path in sources:
            kept.append(use)
    layout = Layout(scene.parent, {path if path.is_dir() else path.parent for path in sources})
    files = {layout.place(file): str(file) for files in sources.values() for file in files}
    rewritten, remapped = _rewrite_all(kept, layout, folder, left_out)
    return Plan(
        main=layout.place(scene),
        files=_named_safely(files, left_out),
        rewritten=tuple(rewritten),
        folders=layout.folders(),
        missing=traced.missing,
        left_out=tuple(LeftOut(path, reason) for path, reason in left_out.items()),
        remapped=tuple(remapped),
    )


def _choose(
    path: Path, sequence: bool, rules: AssetRules, sources: dict[Path, list[Path]], left_out: dict[str, str]
) -> None:
    """Put the files behind `path` where they belong: into the bundle, or among those left out."""
    if path.is_dir():
        reason = "" if sequence else "it is a folder"
        reason = reason or rules.folder_refusal(path)
        if reason:
            left_out[str(path)] = reason
            return
    endings = CACHE_ENDINGS if path.is_dir() else ENDINGS
    allowed = []
    for file in files_of(path, sequence=sequence) or [path]:
        reason = rules.refusal(file, endings)
        if reason:
            left_out[str(file)] = reason
        else:
            allowed.append(file)
    if sum(len(files) for files in sources.values()) + len(allowed) > MAX_FILES:
        left_out[str(path)] = f"the scene has more than {MAX_FILES} files"
    elif allowed:
        sources[path] = allowed


def _named_safely(files: dict[str, str], left_out: dict[str, str]) -> dict[str, str]:
    safe = {}
    for name, source in files.items():
        try:
            safe_relative(name)
        except FarmError as error:
            left_out[source] = error.sentence
        else:
            safe[name] = source
    return safe


def _rewrite_all(
    uses: "Sequence[Found]", layout: Layout, folder: Path, left_out: dict[str, str]
) -> tuple[list[str], list[Remapped]]:
    from render_farm.asset_tracing import relative, rewrite  # noqa: PLC0415 - as in pack

    changes: dict[Path, list[tuple[Any, bytes, bytes]]] = defaultdict(list)
    remapped: list[Remapped] = []
    root = Path("/bundle")
    for use in uses:
        blend = Path(os.path.abspath(use.usage.block.bfile.filepath))
        here, there = root / layout.place(blend), root / layout.place(use.path)
        whole = relative(there, here)
        if whole == bytes(use.usage.asset_path):
            continue
        changes[blend].append((use.usage, whole, relative(there.parent, here) + b"/"))
        remapped.append(Remapped(use.named, there.relative_to(root).as_posix()))
    for blend, list_ in changes.items():
        target = folder / layout.place(blend)
        target.parent.mkdir(parents=True, exist_ok=True)
        left_out.update(rewrite(target, blend, list_))
    return [layout.place(blend) for blend in changes], list(dict.fromkeys(remapped))


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene bundle: a .blend and all files it reads, under relative paths, ready to be uploaded.

    with bundle(Path("shot.blend"), work) as shot:
        print(shot.manifest.main, len(shot.manifest.files), shot.left_out)

Of files outside of the scene's folder those are taken along that `may` agrees to; without it, none. Tracing
runs in a process of its own (`render_farm/packing.py`). The bundle is a folder of hard links
(copies where the file system allows none) beside the few .blend files whose paths were rewritten.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.facts import Asset
from farm_protocol.fields import decode
from farm_protocol.records import Blob, Manifest
from frame_splitter.outputs import carried_name, laid_out_name
from render_farm.asset_rules import AssetRules, files_of
from render_farm.blend_header import BlendHeader, check_scene
from render_farm.hashing import hash_file
from render_farm.outside import REASON, Fence, May, none_may
from render_farm.packing import LeftOut, NamedColor, Plan, Remapped
from render_farm.shipped_assets import shipped_name

PACKING_SECONDS = 600
PLAN_LIMIT = 64 << 20
LARGEST_FILE = 5 * 1000**3
"""Bytes; what a farm's object store takes as one file."""
LARGEST_SCENE = 1000**4
"""Bytes of all files together; none is read of a scene that is larger."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundled scene. `root` holds the files named in `manifest`; `sources` are the artist's own
    files they came from, by their places below `root`; `folders` maps folders of the bundle to the
    artist's; `colors` are the names of colour spaces and looks the .blend has.
    """

    scene: Path
    header: BlendHeader
    root: Path
    manifest: Manifest
    sources: dict[str, str]
    folders: dict[str, str]
    missing: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    remapped: tuple[Remapped, ...] = ()
    notes: tuple[str, ...] = ()
    keeps: "Keeps | None" = None
    colors: tuple[NamedColor, ...] = ()
    may: May = none_may

    @property
    def main(self) -> Path:
        """The .blend to open, inside the bundle."""
        return self.root / laid_out_name(self.manifest.main)

    @property
    def color_config(self) -> str:
        """What OCIO must name when the scene is opened from the bundle; "" for Blender's own."""
        named = self.manifest.color_config
        return str(self.root / laid_out_name(named)) if named in self.manifest.files else named

    @property
    def title(self) -> str:
        """The scene's name, fit to print."""
        return "".join(letter if letter.isprintable() else "?" for letter in self.scene.stem)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(blob.size for blob in self.manifest.files.values())

    def origin(self, path: str) -> str:
        """The artist's own path for one in the bundle; other paths are given back as they are."""
        if not Path(path).is_relative_to(self.root):
            return path
        name = Path(path).relative_to(self.root).as_posix()
        if name in self.sources:
            return self.sources[name]
        for folder in sorted(self.folders, key=len, reverse=True):
            if not folder or name.startswith(folder + "/"):
                return str(Path(self.folders[folder]) / name[len(folder) :].lstrip("/"))
        return path


class Keeps(Protocol):
    """Keeps copies of files, by content (`render_farm.handing_over.HandedOver`)."""

    def take(self, source: Path, target: Path | None) -> Blob:
        """See that there is a copy of `source`, and make `target` a link to it, where one is wanted."""


@contextmanager
def bundle(scene: Path, work: Path, keeps: Keeps | None = None, may: May = none_may) -> Iterator[Bundle]:
    """Bundle `scene` into a private folder under `work`, which is removed at the end. Its files are links to
    the artist's, or to the copies that `keeps` has of them. `may` is asked for files outside of the scene's
    folder.

    Raises InvalidInput for files no farm can open, or takes, and what `may` raises, all before any file is
    read but the scene's own; what is missing or left out stands in the Bundle.
    """
    scene = Path(os.path.abspath(scene))
    header = check_scene(scene)
    # Beside the copies where there are some, so that links replace a second one.
    beside = work if keeps is not None else _near(scene, work)
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=beside) as folder:
        # The folder is closed to all others; what is in it may be read, by the sandboxes of a root's node.
        root = Path(os.path.realpath(folder)) / "scene"
        root.mkdir()
        plan = _agreed(_pack(scene, root), scene, root, may)
        _check_sizes(plan.files)
        yield _collect(scene, header, root, plan, keeps, may)


def _agreed(plan: Plan, scene: Path, root: Path, may: May) -> Plan:
    """The plan without files from outside that may not go, nor what was rewritten of them."""
    # The user's own OCIO configuration has a folder of the bundle to itself; Blender's files are everybody's.
    colors = plan.color_config.split("/")[0] if plan.color_config in plan.files else None
    asked = {
        name: source
        for name, source in plan.files.items()
        if name != plan.main and name.split("/")[0] != colors and shipped_name(Path(source)) is None
    }
    outside = Fence(scene.parent).outside(asked.values())
    denied = _denied(outside, may)
    gone = {name for name, source in asked.items() if source in denied}
    for name in gone.intersection(plan.rewritten):
        (root / name).unlink()
    return replace(
        plan,
        files={name: source for name, source in plan.files.items() if name not in gone},
        rewritten=tuple(name for name in plan.rewritten if name not in gone),
        left_out=(*plan.left_out, *(LeftOut(source, REASON) for source in denied)),
    )


def _denied(outside: Mapping[str, Path], may: May) -> dict[str, Path]:
    """The sources that may not go, of those outside."""
    wanted = tuple(dict.fromkeys(outside.values()))
    agreed = frozenset(may(wanted)) if wanted else frozenset()
    return {source: real for source, real in outside.items() if real not in agreed}


def _check_sizes(files: Mapping[str, str], already: int = 0) -> None:
    """Sizes cost nothing to look at, and reading everything first may take hours. Raises InvalidInput."""
    total = already
    for source in files.values():
        try:
            size = os.stat(source).st_size
        except OSError as error:
            raise FarmError(f"{source} cannot be bundled: {error.strerror}.") from error
        if size > LARGEST_FILE:
            gigabytes = f"{size / 1000**3:.1f} GB, and a farm takes files of {LARGEST_FILE // 1000**3} GB"
            raise InvalidInput(f"{source} has {gigabytes} at most.")
        total += size
    if total > LARGEST_SCENE:
        raise InvalidInput(f"The scene's files have {total / 1000**4:.1f} TB: a farm takes 1 TB at most.")


def complete(bundled: Bundle, assets: Iterable[Asset]) -> Bundle:
    """Add what Blender misses in the bundle but the artist has: files the tracer did not know of.

    Gives back the same Bundle when there was nothing to add.
    """
    found = {name: file for asset in assets for name, file in _overlooked(bundled, asset)}
    reasons = {file: AssetRules(bundled.scene.parent).refusal(Path(file)) for file in found.values()}
    outside = Fence(bundled.scene.parent).outside(file for file, reason in reasons.items() if not reason)
    reasons.update(dict.fromkeys(_denied(outside, bundled.may), REASON))
    added = {name: file for name, file in found.items() if not reasons[file]}
    refused = [*bundled.left_out, *(LeftOut(file, reason) for file, reason in reasons.items() if reason)]
    if not added:
        return bundled
    _check_sizes(added, already=bundled.size)
    sources = {**bundled.sources, **added}
    files = {**bundled.manifest.files, **_gather(bundled.root, added, (), bundled.keeps)}
    manifest = replace(bundled.manifest, files=files)
    return replace(bundled, manifest=manifest, sources=sources, left_out=tuple(dict.fromkeys(refused)))


def _overlooked(bundled: Bundle, asset: Asset) -> Iterator[tuple[str, str]]:
    """The artist's files behind one that Blender misses, by their places in the bundle; not those that were
    left out for a reason.
    """
    if not (asset.missing and asset.used) or not Path(asset.path).is_relative_to(bundled.root):
        return
    known = {item.path for item in bundled.left_out}
    for file in files_of(Path(bundled.origin(asset.path)), sequence=False):
        name = (Path(asset.path).parent / file.name).relative_to(bundled.root).as_posix()
        if str(file) not in known and name not in bundled.sources:
            yield name, str(file)


def _near(scene: Path, work: Path) -> Path:
    """A folder on the scene's own file system where there is one, so that links replace copies."""
    work.mkdir(parents=True, exist_ok=True)
    other = Path(tempfile.gettempdir())
    here = scene.stat().st_dev
    return other if work.stat().st_dev != here == other.stat().st_dev else work


def _pack(scene: Path, root: Path) -> Plan:
    command = [sys.executable, "-P", "-m", "render_farm.packing", str(scene), str(root)]
    environment = {**os.environ, "TMPDIR": str(root.parent)}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PACKING_SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidInput(f"{scene.name} took too long to trace: it may be damaged.") from error
    if done.returncode != 0 or not done.stdout or len(done.stdout) > PLAN_LIMIT:
        raise InvalidInput(f"{scene.name} cannot be traced: it is damaged, or too large when unpacked.")
    plan = decode(done.stdout, Plan)
    if plan.error:
        raise InvalidInput(plan.error)
    return plan


def _collect(
    scene: Path, header: BlendHeader, root: Path, plan: Plan, keeps: Keeps | None, may: May
) -> Bundle:
    blobs = _gather(root, plan.files, plan.rewritten, keeps)
    return Bundle(
        scene=scene,
        header=header,
        root=root,
        manifest=Manifest(carried_name(plan.main), blobs, carried_name(plan.color_config)),
        sources=plan.files,
        folders=plan.folders,
        missing=plan.missing,
        left_out=plan.left_out,
        remapped=plan.remapped,
        notes=plan.notes,
        keeps=keeps,
        colors=plan.colors,
        may=may,
    )


def _gather(
    root: Path, files: dict[str, str], rewritten: Iterable[str], keeps: Keeps | None
) -> dict[str, Blob]:
    """Link or copy the files into the bundle and hash them, several at a time; by carried name."""
    there = set(rewritten)

    def take(name: str) -> Blob:
        target = root / name
        if keeps is None and name not in there:
            _link(Path(files[name]), target)
        blob = hash_file(target) if keeps is None else _kept(keeps, Path(files[name]), target, name in there)
        _let_sandboxes_read(root, target)
        return blob

    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(map(carried_name, files), pool.map(take, files), strict=True))


def _let_sandboxes_read(root: Path, target: Path) -> None:
    """What root opens in a sandbox is opened as another user: a file that only its owner may read is copied,
    and the bundle's folders, in one that is closed to all others, are opened.
    """
    if os.geteuid() != 0:
        return
    for folder in target.parents:
        if folder.is_relative_to(root):
            folder.chmod(0o755)
    if target.stat().st_mode & stat.S_IROTH:
        return
    copy = target.with_name(f".{uuid.uuid4().hex}")
    shutil.copyfile(target, copy)
    copy.chmod(0o644)
    os.replace(copy, target)


def _kept(keeps: Keeps, source: Path, target: Path, is_rewritten: bool) -> Blob:
    if is_rewritten:
        return keeps.take(target, None)
    try:
        return keeps.take(source, target)
    except OSError as error:
        raise FarmError(f"{source} cannot be bundled: {error.strerror}.") from error


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        try:
            shutil.copyfile(real, target)
        except OSError as error:
            raise FarmError(f"{source} cannot be bundled: {error.strerror}.") from error


__all__ = ["Bundle", "LeftOut", "Remapped", "bundle", "complete"]

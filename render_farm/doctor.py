# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist should know before a scene goes to the farm.

    with bundle(scene, work) as bundled:
        checked = examine(bundled)
        print(checked.report.text())

Nothing is uploaded here and no money moves: the scene is traced, bundled and opened once by the
sandboxed Blender child (`gpu-worker inspect`), which tells its facts. Where this machine has no sandbox it
is opened only if `trusts` agrees.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.facts import Asset, ColorNames, SceneFacts
from farm_protocol.fields import decode, decoder
from farm_protocol.ids import SceneId
from farm_protocol.records import JobSpec, RenderSettings
from frame_splitter.exactness import classify, promised_at_first, unbaked, words
from frame_splitter.frames import FrameRange
from frame_splitter.outputs import carried_name
from frame_splitter.split import pin
from render_farm.asset_rules import is_blend
from render_farm.bundle import Bundle, LeftOut, Remapped, complete
from render_farm.foreign_colors import foreign_colors
from render_farm.outside import OutsideFolder
from render_farm.wording import counted

INSPECT_SECONDS = 900
FACTS_LIMIT = 256 << 20
_SHOWN = 20
"""Entries of a list printed as text; JSON has all of them."""

Wish = Callable[[SceneFacts], JobSpec]
"""What an artist asks for, once the scene's facts are known."""

Trusts = Callable[[Mapping[Path, str], str], None]
"""Given .blend files with their sha256s and a sentence on why there is no sandbox: raises where they must not
be opened without one.
"""

NO_SANDBOX = "no_sandbox"
"""The code with which `gpu-worker inspect` opens nothing."""

_NO_SCENE = SceneId("0" * 64)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings. `problems` are sentences, any of them means the scene cannot be rendered as it is;
    `missing` holds the files the scene names that will not be there; `bytes` is the bundle's size; `outside`
    are folders of files that are asked for before they are sent.
    `exactness` is the least that frames will be, `promise` says it for each kind of device.
    """

    scene: str
    renders: bool
    problems: tuple[str, ...]
    exactness: str
    promise: str
    reason: str
    engine: str
    frames: str
    width: int
    height: int
    samples: int
    format: str
    saved_with: str
    rendered_with: str
    files: int
    bytes: int
    assets: tuple[Asset, ...] = ()
    missing: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    remapped: tuple[Remapped, ...] = ()
    unbaked: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    outside: tuple[OutsideFolder, ...] = ()

    def text(self) -> str:
        """The report for people."""
        return "\n".join(_lines(self))


@dataclass(frozen=True, slots=True)
class Checked:
    """An examined scene: `bundle` may hold more than before, `facts` name the artist's own paths."""

    bundle: Bundle
    facts: SceneFacts
    report: Report


def trust_nothing(blends: Mapping[Path, str], reason: str) -> None:
    """Opens nothing without a sandbox."""
    raise InvalidInput(f"Without a sandbox no scene is opened: {reason}")


def trust_all(blends: Mapping[Path, str], reason: str) -> None:
    """Opens everything: for scenes that whoever asks has made."""


def examine(
    bundled: Bundle,
    wish: Wish | None = None,
    *,
    allow_missing: bool = False,
    trusts: Trusts = trust_nothing,
) -> Checked:
    """Examine a bundled scene for the job `wish` asks for, given its facts (None: as it was saved).

    Raises InvalidInput where Blender cannot open the scene, and what `trusts` raises; all else stands in the
    report.
    """
    facts = inspect(bundled, trusts)
    fuller = complete(bundled, facts.assets)
    if fuller is not bundled:
        bundled, facts = fuller, inspect(fuller, trusts)
    missing = _missing(bundled, facts)
    shown = replace(facts, assets=tuple(_at_home(bundled, asset) for asset in facts.assets))
    report = _report(bundled, shown, wish or _as_it_is, missing, allow_missing)
    # Names of colours are compared here; no job needs them.
    return Checked(bundled, replace(shown, colors=ColorNames()), report)


def inspect(bundled: Bundle, trusts: Trusts = trust_nothing) -> SceneFacts:
    """The facts of a bundled scene, told by the Blender child. Raises InvalidInput with its reason."""
    done = _inspected(bundled)
    complaint = _complaint(done, bundled.scene.name)
    if done.returncode != 0 and complaint.code == NO_SANDBOX:
        trusts(_blends(bundled), complaint.message)
        done = _inspected(bundled, "--no-sandbox")
        complaint = _complaint(done, bundled.scene.name)
    if done.returncode != 0:
        # The artist knows the scene by its own place, not the bundle's.
        raise InvalidInput(complaint.message.replace(f"{bundled.root}/", f"{bundled.scene.parent}/"))
    if len(done.stdout) > FACTS_LIMIT:
        raise InvalidInput(f"{bundled.scene.name} names more files and blocks than the farm can list.")
    return decode(done.stdout, SceneFacts)


def _inspected(bundled: Bundle, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "gpu_worker", "inspect", str(bundled.main)]
    command += ["--folder", str(bundled.root), "--json", "--color-config", bundled.color_config, *options]
    try:
        return subprocess.run(command, capture_output=True, timeout=INSPECT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InvalidInput(f"{bundled.scene.name} did not open within {INSPECT_SECONDS} seconds.") from error


def _blends(bundled: Bundle) -> dict[Path, str]:
    """The artist's .blend files that are opened with the scene, and their sha256s: the scene and what it
    links.
    """
    names = {carried_name(name): source for name, source in bundled.sources.items()}
    return {
        Path(names[name]): blob.sha256
        for name, blob in bundled.manifest.files.items()
        if name == bundled.manifest.main or is_blend(Path(names[name]))
    }


class _Complaint(msgspec.Struct):
    code: str = ""
    message: str = ""


def _complaint(done: subprocess.CompletedProcess[bytes], name: str) -> _Complaint:
    """The inspector's own sentence, or the end of what it printed."""
    if done.returncode == 0:
        return _Complaint()
    try:
        told = decoder(_Complaint).decode(done.stdout[: 1 << 20])
    except msgspec.DecodeError:
        told = _Complaint()
    last = done.stderr[-4000:].decode("utf-8", "replace").strip().splitlines()[-1:]
    guess = f"{name} cannot be opened by Blender: {' '.join(last)[:500] or 'it says no why'}."
    return _Complaint(told.code, told.message[:2000] or guess)


def _missing(bundled: Bundle, facts: SceneFacts) -> tuple[str, ...]:
    """What a picture needs and Blender did not find in the bundle, or found outside of it: it will not be
    there on another machine. Of what was left out, what the scene names without needing it is no loss.
    """
    inside = f"{bundled.root}/"
    lost = [asset for asset in facts.assets if asset.missing or not asset.path.startswith(inside)]
    needless = {bundled.origin(asset.path) for asset in facts.assets if not asset.used}
    needless -= {bundled.origin(asset.path) for asset in facts.assets if asset.used}
    named = [bundled.origin(asset.path) for asset in lost if asset.used]
    named += [item.path for item in bundled.left_out if item.path not in needless]
    return tuple(dict.fromkeys(named))


def _at_home(bundled: Bundle, asset: Asset) -> Asset:
    return replace(asset, path=bundled.origin(asset.path))


def _report(
    bundled: Bundle, facts: SceneFacts, wish: Wish, missing: tuple[str, ...], allow_missing: bool
) -> Report:
    problems = list(_problems(bundled, facts, missing, allow_missing))
    spec, settings, plan = None, None, None
    try:
        spec = wish(facts)
        settings = pin(spec, facts)
        plan = classify(facts, settings, spec.frames, spec.exactness)
    except FarmError as error:
        problems.append(error.sentence)
    settings = settings or _as_saved(facts)
    return Report(
        scene=str(bundled.scene),
        renders=not problems,
        problems=tuple(dict.fromkeys(problems)),
        exactness=promised_at_first(plan.allowed, spec.exactness).value if plan and spec else "",
        promise=words(plan.allowed, spec.exactness) if plan and spec else "",
        reason=plan.reason if plan else "",
        engine=facts.engine,
        frames=str(FrameRange(spec.frames)) if spec and spec.frames else "",
        width=facts.resolution_x * settings.resolution_percentage // 100,
        height=facts.resolution_y * settings.resolution_percentage // 100,
        samples=settings.samples,
        format=settings.format,
        saved_with=bundled.header.release,
        rendered_with=facts.blender,
        files=len(bundled.manifest.files),
        bytes=bundled.size,
        assets=facts.assets,
        missing=missing,
        left_out=bundled.left_out,
        remapped=bundled.remapped,
        unbaked=_unbaked(facts, spec),
        scripts=facts.scripts,
        drivers=facts.drivers,
        notes=tuple(_notes(bundled, facts)),
    )


def _as_saved(facts: SceneFacts) -> RenderSettings:
    return RenderSettings(facts.samples, facts.seed, facts.resolution_percentage, facts.file.name)


def _as_it_is(facts: SceneFacts) -> JobSpec:
    own = FrameRange.spanning(facts.frame_start, facts.frame_end, facts.frame_step)
    return JobSpec(_NO_SCENE, own.frames)


def _problems(
    bundled: Bundle, facts: SceneFacts, missing: tuple[str, ...], allow_missing: bool
) -> Iterator[str]:
    if missing and not allow_missing:
        count = f"{len(missing)} files are" if len(missing) > 1 else "1 file is"
        them = "them" if len(missing) > 1 else "it"
        what = f"Put {them} back, or render without {them} (--allow-missing)"
        yield f"{count} missing: {_few(missing)}. {what}."
    yield from foreign_colors(bundled.colors, facts.colors)


def _unbaked(facts: SceneFacts, spec: JobSpec | None) -> tuple[str, ...]:
    loose = unbaked(facts, spec.frames if spec else None)
    return tuple(f"{item.owner} ({item.kind})" for item in loose)


def _notes(bundled: Bundle, facts: SceneFacts) -> Iterator[str]:
    yield from bundled.notes
    yield from facts.notes
    if facts.file.movie:
        yield "The scene's output is a movie: the farm writes PNG frames instead."
    if facts.scripts:
        yield f"Scripts are never run on the farm: {_few(facts.scripts)}."
    if facts.drivers:
        yield f"Drivers that need Python keep their last value: {_few(facts.drivers)}."


def _few(items: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.scene}"
    yield (
        f"  {report.engine}, {report.width}x{report.height}, {counted(report.samples, 'sample')}, "
        f"{report.format}, frames {report.frames or '-'}"
    )
    yield f"  saved with Blender {report.saved_with}, rendered with {report.rendered_with}"
    yield f"  {counted(report.files, 'file')}, {_size(report.bytes)}"
    if report.promise:
        yield f"  {report.promise}: {report.reason}"
    yield from _section("Missing", report.missing)
    yield from _section("Left out", [f"{item.path}: {item.reason}" for item in report.left_out])
    yield from _section("Asked for before they are sent (--allow-outside)", _outside(report))
    yield from _section("Remapped", [f"{item.path} -> {item.bundled}" for item in report.remapped])
    yield from _section("Notes", report.notes)
    yield from _section("Cannot be rendered", report.problems)


def _outside(report: Report) -> list[str]:
    return [f"{one.folder}/: {counted(one.files, 'file')}, {_size(one.bytes)}" for one in report.outside]


def _section(title: str, items: tuple[str, ...] | list[str]) -> Iterator[str]:
    if items:
        yield f"{title}:"
        yield from (f"  {item}" for item in items[:_SHOWN])
        if len(items) > _SHOWN:
            yield f"  and {len(items) - _SHOWN} more"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{max(1, count // 1000)} kB"

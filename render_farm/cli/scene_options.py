# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of `render` and `job submit` to a checked scene and a job spec."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farm_protocol import handed_over
from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.ids import SceneId
from farm_protocol.records import Demand, JobSpec
from frame_splitter.formats import image_format
from frame_splitter.frames import FrameRange
from render_farm.answers import NodeView
from render_farm.bundle import Bundle, bundle
from render_farm.cli.agreements import Agreements
from render_farm.cli.consent import Outside, Trust
from render_farm.cli.console import Console
from render_farm.cli.steps import step
from render_farm.client import FarmClient
from render_farm.doctor import Checked, examine
from render_farm.embedded.supervisor import state_folder
from render_farm.handing_over import HandedOver
from render_farm.wording import counted

UNKNOWN_SCENE = SceneId("0" * 64)
_LIMITS = {
    "samples": (1, 1 << 24, "samples"),
    "resolution_percentage": (1, 32767, "resolution percentage"),
    "seed": (-(2**31), 2**31 - 1, "seed"),
    "slots": (1, 100_000, "number of slots"),
}


class Unrenderable(InvalidInput):
    """The doctor found something that must be put right first."""

    code = "unrenderable"


@dataclass(frozen=True, slots=True)
class Wish:
    """The options as they were given, checked as far as they can be without the scene."""

    frames: tuple[int, ...] | None
    tiles: str
    samples: int | None
    seed: int | None
    resolution_percentage: int | None
    format: str | None
    slots: int | None
    exactness: Demand

    def spec(self, scene: SceneId, facts: SceneFacts, slots: int, name: str) -> JobSpec:
        """The job to ask for; frames not named are the scene's own."""
        own = FrameRange.spanning
        frames = self.frames or own(facts.frame_start, facts.frame_end, facts.frame_step).frames
        return JobSpec(
            scene=scene,
            frames=frames,
            tiles=self.tiles,
            samples=self.samples,
            seed=self.seed,
            resolution_percentage=self.resolution_percentage,
            format=self.format,
            slots=slots,
            name=name[:200],
            exactness=self.exactness,
        )


def read_wish(chosen: argparse.Namespace) -> Wish:
    """Check the options. Raises InvalidInput with a sentence for the first that is wrong."""
    for name, (least, most, words) in _LIMITS.items():
        value = getattr(chosen, name)
        if value is not None and not least <= value <= most:
            raise InvalidInput(f"The {words} must lie between {least} and {most}, not {value}.")
    return Wish(
        frames=None if chosen.frames is None else FrameRange.parse(chosen.frames).frames,
        tiles=_tiles(chosen.tiles),
        samples=chosen.samples,
        seed=chosen.seed,
        resolution_percentage=chosen.resolution_percentage,
        format=None if chosen.format is None else image_format(chosen.format),
        slots=chosen.slots,
        exactness=_demand(chosen.exactness),
    )


def _demand(text: str) -> Demand:
    try:
        return Demand(text.strip().lower().removesuffix("-exact"))
    except ValueError:
        raise InvalidInput(f"'{text[:40]}' is no exactness to ask for: write bit, or any.") from None


def _tiles(text: str) -> str:
    tiles = text.strip().lower()
    match = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,3})", tiles)
    if tiles != "auto" and (match is None or 0 in (int(match[1]), int(match[2]))):
        raise InvalidInput(f"'{text[:40]}' cuts no frame: write columns x rows, as in 4x2, or auto.")
    return tiles


@contextmanager
def checked_scene(chosen: argparse.Namespace, console: Console, wish: Wish) -> Iterator[Checked]:
    """Bundle and examine the scene, and say what the doctor found.

    Raises Unrenderable with all that stands in the way, OutsideRefused and Untrusted where nobody agrees to
    what must be agreed to.
    """
    folder: Path = state_folder(chosen.state_dir).path
    name = chosen.scene.name
    outside, trust = agreements_of(chosen, console)
    with ExitStack() as held:
        keeps = held.enter_context(kept_copies(chosen, folder))
        with step(console.say, lambda: _reading(name, keeps)):
            bundled = held.enter_context(bundle(chosen.scene, folder / "bundles", keeps, outside))
        with step(console.say, lambda: f"Opening {name} in Blender, to see what is in it"):
            checked = examine(bundled, allow_missing=chosen.allow_missing, wish=_as_spec(wish), trusts=trust)
        _tell(checked, console.say)
        yield checked


def agreements_of(chosen: argparse.Namespace, console: Console) -> tuple[Outside, Trust]:
    """Who decide what is sent from outside of the scene's folder, and what is opened without a sandbox."""
    agreements = Agreements(state_folder(chosen.state_dir).path, chosen.scene.absolute().parent)
    outside = Outside(console, agreements, chosen.allow_outside, allow_missing=chosen.allow_missing)
    return outside, Trust(console, agreements, trusted=chosen.trust_file)


def _reading(name: str, keeps: HandedOver | None) -> str:
    files = f", {counted(keeps.taken, 'file')} read" if keeps is not None and keeps.taken else ""
    return f"Finding and reading the files of {name}{files}"


@contextmanager
def kept_copies(chosen: argparse.Namespace, folder: Path) -> Iterator[HandedOver | None]:
    """What hands the scene over to a farm on this machine; None for a farm elsewhere, which is sent it."""
    if chosen.coordinator:
        yield None
        return
    keeps = HandedOver(folder / handed_over.FOLDER, folder / "hashes.json")
    try:
        yield keeps
    finally:
        keeps.save()


def _as_spec(wish: Wish) -> Callable[[SceneFacts], JobSpec]:
    return lambda facts: wish.spec(UNKNOWN_SCENE, facts, wish.slots or 1, "")


def _tell(checked: Checked, say: Callable[[str], None]) -> None:
    report = checked.report
    for item in report.left_out:
        say(f"Left out: {item.path}, because {item.reason}.")
    if report.missing and report.renders:
        say(f"Rendering without {len(report.missing)} missing files.")
    for note in report.notes:
        say(note)
    if not report.renders:
        raise Unrenderable(" ".join(report.problems))
    say(f"{Path(report.scene).name}: {report.promise}. {report.reason}")


def send_scene(client: FarmClient, bundled: Bundle, say: Callable[[str], None]) -> SceneId:
    """Upload what the farm lacks of the scene; says how much that is when it takes a while."""
    sent = (0, 0)

    def progress(done: int, total: int) -> None:
        nonlocal sent
        sent = done, total

    def doing() -> str:
        done, total = sent
        much = (
            f", {done / 1e6:.1f} of {total / 1e6:.1f} MB"
            if total
            else f" ({bundled.size / 1e6:.1f} MB in all)"
        )
        return f"Sending the farm what it lacks of the scene{much}"

    with step(say, doing):
        return client.upload_scene(bundled.manifest, bundled.root, progress)


def render_slots(nodes: Iterable[NodeView]) -> int:
    """How many tiles or frames the machines online render at once; own nodes' slots that only finish
    frames do not count.
    """
    return sum(not slot.slot.startswith("finish-") for node in nodes if node.online for slot in node.slots)


def facts_to_send(bundled: Bundle, facts: SceneFacts) -> SceneFacts:
    """The facts without the names of the artist's folders, which are nobody else's business."""
    homes = {source: name for name, source in bundled.sources.items()}
    assets = tuple(
        replace(asset, path=homes.get(asset.path, Path(asset.path).name)) for asset in facts.assets
    )
    return replace(facts, assets=assets, output_path="")

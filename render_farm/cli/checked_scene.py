# SPDX-License-Identifier: GPL-3.0-or-later
"""A scene that is bundled, examined and sent, as `render`, `quote` and `job submit` need it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from frame_splitter import handed_over
from frame_splitter.errors import InvalidInput
from frame_splitter.facts import SceneFacts
from frame_splitter.ids import SceneId
from frame_splitter.records import JobSpec
from render_farm.answers import NodeView
from render_farm.bundle import Bundle, bundle
from render_farm.cli.agreements import Agreements
from render_farm.cli.consent import Outside, Trust
from render_farm.cli.display.console import Console
from render_farm.cli.display.steps import step
from render_farm.cli.options import FarmChoice, SceneChoice, Wish
from render_farm.doctor import Checked, examine
from render_farm.handing_over import HandedOver
from render_farm.wording import counted

if TYPE_CHECKING:
    from render_farm.client import FarmClient

UNKNOWN_SCENE = SceneId("0" * 64)


class Unrenderable(InvalidInput):
    """The doctor found something that must be put right first."""

    code = "unrenderable"


@contextmanager
def checked_scene(farm: FarmChoice, chosen: SceneChoice, console: Console, wish: Wish) -> Iterator[Checked]:
    """Bundle and examine the scene, and say what the doctor found.

    Raises Unrenderable with all that stands in the way, OutsideRefused and Untrusted where nobody agrees to
    what must be agreed to.
    """
    folder, name = farm.folder.path, chosen.scene.name
    outside, trust = agreements_of(farm, chosen, console)
    with ExitStack() as held:
        keeps = held.enter_context(kept_copies(farm))
        with step(console.say, lambda: _reading(name, keeps)):
            bundled = held.enter_context(bundle(chosen.scene, folder / "bundles", keeps, outside))
        with step(console.say, lambda: f"Opening {name} in Blender, to see what is in it"):
            checked = examine(bundled, allow_missing=chosen.allow_missing, wish=_as_spec(wish), trusts=trust)
        _tell(checked, console.say)
        yield checked


def agreements_of(farm: FarmChoice, chosen: SceneChoice, console: Console) -> tuple[Outside, Trust]:
    """Who decide what is sent from outside of the scene's folder, and what is opened without a sandbox."""
    agreements = Agreements(farm.folder.path, chosen.scene.absolute().parent)
    outside = Outside(console, agreements, chosen.allow_outside, allow_missing=chosen.allow_missing)
    return outside, Trust(console, agreements, trusted=chosen.trust_file)


def _reading(name: str, keeps: HandedOver | None) -> str:
    files = f", {counted(keeps.taken, 'file')} read" if keeps is not None and keeps.taken else ""
    return f"Finding and reading the files of {name}{files}"


@contextmanager
def kept_copies(farm: FarmChoice) -> Iterator[HandedOver | None]:
    """What hands the scene over to a farm on this machine; None for a farm elsewhere, which is sent it."""
    if farm.coordinator:
        yield None
        return
    folder = farm.folder.path
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


def send_scene(client: "FarmClient", bundled: Bundle, say: Callable[[str], None]) -> SceneId:
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

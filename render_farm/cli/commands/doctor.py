# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm doctor`: what a farm would make of a scene. Sends nothing anywhere."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from frame_splitter.command_line import Command
from render_farm.bundle import bundle
from render_farm.cli.checked_scene import agreements_of
from render_farm.cli.display.console import Console
from render_farm.cli.options import FarmChoice, SceneChoice, farm_options, scene_options
from render_farm.doctor import examine
from render_farm.outside import by_folder

_EXAMPLES = """examples:
  render-farm doctor shot.blend
  render-farm doctor shot.blend --json | jq .problems

Exits with 1 when the scene cannot be rendered as it is. Sends nothing; files outside of the scene's folder
that `render` would ask for are listed.
"""


@click.command("doctor", cls=Command, help="say what a farm would make of a scene", epilog=_EXAMPLES)
@farm_options
@scene_options
@click.pass_obj
def doctor(console: Console, farm: FarmChoice, chosen: SceneChoice) -> int:
    """Examine the scene; 1 when it cannot be rendered as it is."""
    outside, trust = agreements_of(farm, chosen, console)
    asked: dict[Path, None] = {}

    def note(files: Sequence[Path]) -> Sequence[Path]:
        """Nothing is sent: what `render` would ask for is listed."""
        asked.update(dict.fromkeys(outside.unanswered(files)))
        return files

    with bundle(chosen.scene, farm.folder.path / "bundles", may=note) as bundled:
        report = examine(bundled, allow_missing=chosen.allow_missing, trusts=trust).report
    report = replace(report, outside=by_folder(asked))
    console.result(report, report.text())
    return 0 if report.renders else 1

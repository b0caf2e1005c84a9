# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm doctor`: what a farm would make of a scene. Sends nothing anywhere."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from render_farm.bundle import bundle
from render_farm.cli.display.console import Console
from render_farm.cli.scene_options import agreements_of
from render_farm.doctor import examine
from render_farm.embedded.supervisor import state_folder
from render_farm.outside import by_folder


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Examine the scene; 1 when it cannot be rendered as it is."""
    outside, trust = agreements_of(chosen, console)
    asked: dict[Path, None] = {}

    def note(files: Sequence[Path]) -> Sequence[Path]:
        """Nothing is sent: what `render` would ask for is listed."""
        asked.update(dict.fromkeys(outside.unanswered(files)))
        return files

    with bundle(chosen.scene, state_folder(chosen.state_dir).path / "bundles", may=note) as bundled:
        report = examine(bundled, allow_missing=chosen.allow_missing, trusts=trust).report
    report = replace(report, outside=by_folder(asked))
    console.result(report, report.text())
    return 0 if report.renders else 1

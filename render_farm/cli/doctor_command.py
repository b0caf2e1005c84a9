# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm doctor`: what a farm would make of a scene. Sends nothing anywhere."""

import argparse

from render_farm.bundle import bundle
from render_farm.cli.console import Console
from render_farm.doctor import examine
from render_farm.embedded.supervisor import state_folder


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Examine the scene; 1 when it cannot be rendered as it is."""
    with bundle(chosen.scene, state_folder(chosen.state_dir).path / "bundles") as bundled:
        report = examine(bundled, allow_missing=chosen.allow_missing).report
    console.result(report, report.text())
    return 0 if report.renders else 1

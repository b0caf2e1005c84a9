# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a scene with nothing special in it."""

from farm_protocol.facts import Adaptive, FileFormat, SceneFacts

PLAIN_SCENE = SceneFacts(
    scene="Scene",
    saved_with="5.0.1",
    blender="5.0.1",
    engine="CYCLES",
    frame_start=1,
    frame_end=10,
    frame_step=1,
    resolution_x=1920,
    resolution_y=1080,
    resolution_percentage=100,
    border=None,
    crop=False,
    samples=64,
    seed=0,
    adaptive=Adaptive(use=False, threshold=0.01, min_samples=0),
    auto_tile=2048,
    denoise=False,
    view_layers=("ViewLayer",),
    compositing=False,
    file=FileFormat("PNG", "RGBA", "8", ".png", False),
    output_path="/tmp/",
    file_outputs=(),
    camera=True,
    whole_only=(),
    final_only=(),
    approximate=(),
    refused=(),
    notes=(),
    scripts=(),
    drivers=(),
    assets=(),
    simulations=(),
)

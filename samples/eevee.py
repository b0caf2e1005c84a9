# SPDX-License-Identifier: GPL-3.0-or-later
"""A ripple runs through a field of columns under a hovering golden ball: EEVEE, twelve frames, a loop."""

from math import hypot, pi, radians, sin, sqrt

import bpy
from mathutils import Matrix

from samples import stage

FRAMES = 12
REACH = 6
SPACING = 0.62
TALL = 2.05


def build() -> None:
    """Set up the whole scene."""
    scene = stage.fresh_scene("eevee")
    scene.render.engine = "BLENDER_EEVEE"
    scene.eevee.taa_render_samples = 16
    scene.eevee.use_raytracing = True
    stage.frame_size(scene, 480, 270, FRAMES)
    scene.view_settings.look = "AgX - Medium High Contrast"
    _field()
    _ball()
    _lamps(scene)
    stage.camera((0.0, -11.2, 6.0), (0.0, 0.0, 1.34), 43)


def _field() -> None:
    """Stand columns on a honeycomb; they share one mesh and differ only in their keyframes."""
    first = _column()
    for x, y in _honeycomb():
        column = first if hypot(x, y) == 0 else stage.twin(first, (x, y, 0))
        _ripple(column, hypot(x, y))
    stage.disc("Floor", 40, stage.surface("Floor", (0.012, 0.016, 0.035), roughness=0.6), 0)


def _honeycomb() -> list[tuple[float, float]]:
    """List the middles of all cells at most some steps from the centre."""
    steps = range(-REACH, REACH + 1)
    cells = [(q, r) for q in steps for r in steps if abs(q + r) <= REACH]
    return [(SPACING * (q + r / 2), SPACING * r * sqrt(3) / 2) for q, r in cells]


def _column() -> bpy.types.Object:
    """Make one column, a unit high, with a chamfered top."""
    edge = SPACING * 0.54
    outline = [(edge, 0.0), (edge, 0.985), (edge * 0.93, 1.0), (0.0, 1.0)]
    column = stage.turned("Column", outline, _column_surface(), segments=6, subdivide=0)
    column.data.transform(Matrix.Rotation(radians(30), 4, "Z"))
    column.data.shade_flat()
    return column


def _column_surface() -> bpy.types.Material:
    """Colour each column by how high its surface rises, from deep blue to warm light."""
    paint = stage.surface("Column", (0.2, 0.2, 0.5), roughness=0.42, coat_weight=0.15)
    stage.colour_by_height(
        paint,
        0.25,
        TALL,
        [
            (0.0, (0.010, 0.020, 0.10)),
            (0.35, (0.03, 0.16, 0.36)),
            (0.58, (0.30, 0.06, 0.36)),
            (0.78, (0.85, 0.13, 0.12)),
            (1.0, (1.0, 0.55, 0.12)),
        ],
    )
    return paint


def _ripple(column: bpy.types.Object, away: float) -> None:
    """Let a wave travel outwards; frame 13 would equal frame 1, so the twelve frames loop."""
    keys = {}
    for frame in range(1, FRAMES + 2):
        phase = 2 * pi * ((frame - 1) / FRAMES - away / 2.6)
        calm = 1 / (1 + 0.035 * away**2)
        keys[frame] = (1.0, 1.0, 0.45 + 0.75 * calm * (1 + sin(phase)) + 0.25 * calm)
    stage.animate(column, "scale", keys)


def _ball() -> None:
    """Hover a golden ball that bobs with the wave and a pearl that circles it."""
    gold = stage.surface("Gold", (1.0, 0.70, 0.38), metallic=1.0, roughness=0.22)
    pearl = stage.glowing("Pearl", (1.0, 0.72, 0.38), 6.0)
    ball = stage.ball("Ball", 0.72, gold, (0, 0, 3.0))
    bob = {frame: (0, 0, 2.95 + 0.16 * sin(2 * pi * (frame - 1) / FRAMES)) for frame in range(1, FRAMES + 2)}
    stage.animate(ball, "location", bob)
    stage.mirror_probe("Mirror", (0, 0, 2.95), 0.95)
    hub = stage.pivot("Pearl pivot", (0, 0, 2.95), stage.ball("Pearl", 0.13, pearl, (1.15, 0, 0.1)))
    stage.animate(hub, "rotation_euler", {1: (0.3, 0.1, 0), FRAMES + 1: (0.3, 0.1, 2 * pi)})


def _lamps(scene: bpy.types.Scene) -> None:
    stage.ambient(scene, (0.16, 0.24, 0.55), 0.45)
    stage.softbox("Key", (-4.5, -3.5, 6.5), (0, 0, 1), 2.0, 700, (1.0, 0.86, 0.72))
    stage.softbox("Rim", (4.5, 5.0, 5.0), (0, 0, 1), 3.0, 420, (0.40, 0.58, 1.0))
    stage.softbox("Fill", (1.5, -9.0, 5.0), (0, 0, 2.5), 3.0, 160, (1.0, 0.8, 0.7))

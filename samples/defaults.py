# SPDX-License-Identifier: GPL-3.0-or-later
"""A chess still life with every render setting as Blender ships it, Cycles aside: the common case."""

from math import radians

import bpy

from samples import stage

Outline = list[tuple[float, float]]
SQUARE = 1.0
FOOT: Outline = [
    (0.0, 0.0),
    (0.40, 0.0),
    (0.42, 0.04),
    (0.42, 0.12),
    (0.36, 0.17),
    (0.34, 0.24),
    (0.27, 0.30),
]
PAWN: Outline = [
    *FOOT,
    (0.16, 0.52),
    (0.14, 0.72),
    (0.24, 0.77),
    (0.24, 0.82),
    (0.14, 0.85),
    (0.22, 0.94),
    (0.24, 1.06),
    (0.18, 1.19),
    (0.0, 1.25),
]
ROOK: Outline = [
    *FOOT,
    (0.22, 0.60),
    (0.21, 0.95),
    (0.30, 1.02),
    (0.31, 1.08),
    (0.31, 1.38),
    (0.29, 1.40),
    (0.23, 1.40),
    (0.21, 1.38),
    (0.21, 1.26),
    (0.0, 1.25),
]
BISHOP: Outline = [
    *FOOT,
    (0.18, 0.60),
    (0.14, 0.98),
    (0.26, 1.04),
    (0.26, 1.09),
    (0.15, 1.13),
    (0.22, 1.28),
    (0.23, 1.40),
    (0.15, 1.60),
    (0.06, 1.70),
    (0.05, 1.73),
    (0.08, 1.78),
    (0.05, 1.84),
    (0.0, 1.85),
]
QUEEN: Outline = [
    *FOOT,
    (0.20, 0.62),
    (0.15, 1.25),
    (0.29, 1.32),
    (0.29, 1.38),
    (0.17, 1.43),
    (0.20, 1.60),
    (0.33, 1.84),
    (0.31, 1.87),
    (0.24, 1.82),
    (0.12, 1.88),
    (0.05, 1.91),
    (0.08, 1.98),
    (0.0, 2.05),
]
KING: Outline = [
    *FOOT,
    (0.21, 0.64),
    (0.17, 1.38),
    (0.31, 1.45),
    (0.31, 1.52),
    (0.18, 1.57),
    (0.21, 1.72),
    (0.29, 1.98),
    (0.26, 2.04),
    (0.10, 2.10),
    (0.0, 2.11),
]


def build() -> None:
    """Set up the whole scene; nothing in the render settings is touched but the engine."""
    scene = stage.fresh_scene("defaults")
    scene.render.engine = "CYCLES"
    ivory = stage.surface(
        "Ivory", (0.80, 0.66, 0.46), roughness=0.22, subsurface_weight=0.15, coat_weight=0.5
    )
    ebony = stage.surface("Ebony", (0.022, 0.012, 0.010), roughness=0.18, coat_weight=0.6)
    _board()
    _white(ivory)
    _black(ebony)
    _lamps(scene)
    stage.camera((-4.3, -8.9, 4.1), (0.15, 0.0, 0.80), 50)


def _board() -> None:
    frame = _wood("Frame wood", (0.10, 0.035, 0.014), (0.17, 0.065, 0.025))
    table = stage.surface("Table", (0.075, 0.115, 0.110), roughness=0.45)
    stage.disc("Table", 40, table, -0.5)
    stage.box("Frame", (9.2, 9.2, 0.46), frame, (0, 0, -0.25), edge=0.07)
    stage.ground("Board", 8 * SQUARE, _squares(), -0.015)


def _wood(name: str, dark: stage.Colour, light: stage.Colour) -> bpy.types.Material:
    """Stretch noise along one axis, which reads as grain."""
    wood = stage.surface(name, dark, roughness=0.3, coat_weight=0.3)
    stage.join(wood, _grain(wood, dark, light), stage.shader_of(wood).inputs["Base Color"])
    return wood


def _grain(wood: bpy.types.Material, dark: stage.Colour, light: stage.Colour) -> bpy.types.NodeSocket:
    place = stage.feed(wood, "ShaderNodeTexCoord")
    stretch = stage.feed(wood, "ShaderNodeMapping", Scale=(0.9, 9.0, 9.0))
    noise = stage.feed(wood, "ShaderNodeTexNoise", Scale=1.6, Detail=6.0, Distortion=0.4)
    tint = stage.feed(wood, "ShaderNodeValToRGB")
    stage.ramp(tint, [(0.35, dark), (0.68, light)])
    stage.join(
        wood,
        place.outputs["Object"],
        stretch.inputs["Vector"],
        stretch.outputs["Vector"],
        noise.inputs["Vector"],
        noise.outputs["Fac"],
        tint.inputs["Fac"],
    )
    return tint.outputs["Color"]


def _squares() -> bpy.types.Material:
    """Lay maple and walnut in a checker pattern."""
    wood = stage.surface("Squares", (0.5, 0.3, 0.2), roughness=0.38, coat_weight=0.12)
    place = stage.feed(wood, "ShaderNodeTexCoord")
    checker = stage.feed(wood, "ShaderNodeTexChecker", Scale=8.0)
    maple = _grain(wood, (0.50, 0.30, 0.13), (0.68, 0.46, 0.24))
    walnut = _grain(wood, (0.055, 0.022, 0.011), (0.12, 0.05, 0.022))
    stage.join(
        wood,
        place.outputs["UV"],
        checker.inputs["Vector"],
        maple,
        checker.inputs["Color1"],
        walnut,
        checker.inputs["Color2"],
        checker.outputs["Color"],
        stage.shader_of(wood).inputs["Base Color"],
    )
    return wood


def _white(ivory: bpy.types.Material) -> None:
    king = stage.turned("White king", KING, ivory)
    king.location = _square(4, 3)
    _crown(king, ivory)
    pawn = stage.turned("White pawn", PAWN, ivory)
    pawn.location = _square(2, 2)
    stage.twin(pawn, _square(3, 4))
    stage.twin(pawn, _square(6, 2))
    stage.turned("White rook", ROOK, ivory).location = _square(6, 4)
    stage.turned("White bishop", BISHOP, ivory).location = _square(5, 1)


def _black(ebony: bpy.types.Material) -> None:
    stage.turned("Black queen", QUEEN, ebony).location = _square(2, 4)
    king = stage.turned("Black king", KING, ebony)
    king.location = _square(4, 6)
    _crown(king, ebony)
    pawn = stage.turned("Black pawn", PAWN, ebony)
    pawn.location = _square(1, 6)
    stage.twin(pawn, _square(3, 7))
    stage.twin(pawn, _square(6, 6))
    _fallen(stage.twin(pawn, _square(3, 1)))
    stage.turned("Black rook", ROOK, ebony).location = _square(0, 7)
    stage.turned("Black bishop", BISHOP, ebony).location = _square(2, 6)


def _square(column: int, row: int) -> tuple[float, float, float]:
    """Find the middle of a square, counted from the white side's left corner."""
    return (column - 3.5) * SQUARE, (row - 3.5) * SQUARE, -0.015


def _crown(king: bpy.types.Object, material: bpy.types.Material) -> None:
    """Set the cross on a king."""
    x, y, _ = king.location
    stage.box("Cross post", (0.085, 0.085, 0.34), material, (x, y, 2.24), edge=0.02)
    stage.box("Cross beam", (0.26, 0.08, 0.085), material, (x, y, 2.27), edge=0.02)


def _fallen(pawn: bpy.types.Object) -> None:
    """Lay a captured pawn on its side, resting on foot and head."""
    pawn.location.z = 0.39
    pawn.rotation_euler = (radians(98), 0, radians(62))


def _lamps(scene: bpy.types.Scene) -> None:
    stage.ambient(scene, (0.30, 0.40, 0.55), 0.22)
    stage.softbox("Window", (-6.5, 2.5, 6.5), (0, 0, 0.5), 3.0, 1150, (1.0, 0.84, 0.64))
    stage.softbox("Back light", (5.5, 6.5, 4.0), (0, 0, 0.6), 3.0, 420, (0.55, 0.75, 1.0))
    stage.softbox("Front fill", (3.5, -7.5, 4.5), (0, 0, 0.5), 4.0, 210, (1.0, 0.9, 0.8))

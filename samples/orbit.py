# SPDX-License-Identifier: GPL-3.0-or-later
"""An armillary sphere on a star chart: motion blur, glass, brass, depth of field and glare in 24 frames."""

from math import pi, radians
from random import Random

import bpy
import numpy

from samples import stage

FRAMES = 24
CENTRE = (0.0, 0.0, 2.05)
BRASS = (0.86, 0.56, 0.20)
CHART_PIXELS = 512
CHART_RADIUS = 3.5


def build() -> None:
    """Set up the whole scene."""
    scene = stage.fresh_scene("orbit")
    stage.use_cycles(scene, samples=32, seed=7)
    stage.frame_size(scene, 640, 360, FRAMES)
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.render.use_motion_blur = True
    scene.render.motion_blur_shutter = 0.6
    brass = stage.surface("Brass", BRASS, metallic=1.0, roughness=0.16)
    _table()
    _stand(brass)
    globe = _globe()
    _rings(brass)
    _marbles()
    _far_lights()
    _lamps(scene)
    _camera(globe)
    _glare(scene)


def _table() -> None:
    wood = stage.surface("Night table", (0.012, 0.014, 0.022), roughness=0.32, coat_weight=0.4)
    stage.disc("Table", 60.0, wood, -0.004)
    chart = stage.surface("Star chart", (0.02, 0.03, 0.08), roughness=0.28)
    picture = stage.feed(chart, "ShaderNodeTexImage")
    picture.image = _chart_image()
    split = stage.feed(chart, "ShaderNodeSeparateColor")
    shader = stage.shader_of(chart)
    stage.join(
        chart,
        picture.outputs["Color"],
        shader.inputs["Base Color"],
        picture.outputs["Color"],
        split.inputs["Color"],
        split.outputs["Red"],
        shader.inputs["Metallic"],
    )
    stage.disc("Chart", CHART_RADIUS, chart)


def _chart_image() -> bpy.types.Image:
    """Paint the chart and pack it, so that the .blend stays one file."""
    image = bpy.data.images.new("star chart", CHART_PIXELS, CHART_PIXELS)
    ink = _chart_ink()[..., None]
    navy, gold = numpy.array([0.015, 0.035, 0.10, 1.0]), numpy.array([0.95, 0.72, 0.36, 1.0])
    image.pixels.foreach_set((navy + (gold - navy) * ink).astype(numpy.float32).ravel())
    image.update()
    image.pack()
    return image


def _chart_ink() -> numpy.ndarray:
    """Say for every pixel how much gold lies there: circles, hour lines, ticks, ecliptic, stars."""
    axis = (numpy.arange(CHART_PIXELS) + 0.5) / CHART_PIXELS * 2 - 1
    x, y = numpy.meshgrid(axis, axis)
    radius, angle = numpy.hypot(x, y), numpy.arctan2(y, x)
    lines = [_stroke(radius - r, w) for r, w in ((0.97, 6), (0.90, 2), (0.64, 2), (0.38, 3))]
    lines.append(_stroke(numpy.hypot(x - 0.14, y + 0.10) - 0.62, 2.5))
    lines.append(_spokes(radius, angle, 12, 0.38, 0.90))
    lines.append(_spokes(radius, angle, 120, 0.90, 0.95))
    return numpy.max([*lines, *_stars(x, y)], axis=0)


def _stroke(distance: numpy.ndarray, width: float) -> numpy.ndarray:
    """Draw a line some pixels wide, with soft edges, where the distance is nought."""
    pixels = numpy.abs(distance) * CHART_PIXELS / 2
    return numpy.clip(width / 2 + 0.5 - pixels, 0, 1)


def _spokes(
    radius: numpy.ndarray, angle: numpy.ndarray, count: int, start: float, end: float
) -> numpy.ndarray:
    """Draw evenly spread lines from one circle out to another."""
    step = 2 * pi / count
    off = (angle + step / 2) % step - step / 2
    return _stroke(off * radius, 2) * ((radius > start) & (radius < end))


def _stars(x: numpy.ndarray, y: numpy.ndarray) -> list[numpy.ndarray]:
    dice = Random(11)
    stars = []
    for _ in range(90):
        away = numpy.hypot(x - dice.uniform(-0.85, 0.85), y - dice.uniform(-0.85, 0.85))
        stars.append(numpy.clip(dice.choice((1.6, 2.2, 3.4)) - away * CHART_PIXELS / 2, 0, 1))
    return stars


def _stand(brass: bpy.types.Material) -> None:
    outline = [
        (0.0, 0.0),
        (0.78, 0.0),
        (0.80, 0.03),
        (0.80, 0.09),
        (0.74, 0.12),
        (0.50, 0.15),
        (0.26, 0.21),
        (0.12, 0.30),
        (0.10, 0.36),
        (0.17, 0.39),
        (0.17, 0.43),
        (0.08, 0.46),
        (0.0, 0.46),
    ]
    stage.turned("Stand", outline, brass)


def _globe() -> bpy.types.Object:
    glass = stage.surface("Glass", (0.96, 0.99, 1.0), roughness=0.0, transmission_weight=1.0, ior=1.45)
    stage.ball("Sun", 0.25, _ember(), CENTRE)
    return stage.ball("Globe", 0.80, glass, CENTRE)


def _ember() -> bpy.types.Material:
    """Make the sun's skin: dark crust, glowing cracks."""
    ember = stage.glowing("Ember", (1.0, 0.4, 0.1), 4.0)
    noise = stage.feed(ember, "ShaderNodeTexNoise", Scale=2.6, Detail=4.0)
    heat = stage.feed(ember, "ShaderNodeValToRGB")
    stage.ramp(heat, [(0.36, (0.05, 0.003, 0.0)), (0.50, (0.55, 0.07, 0.004)), (0.68, (1.8, 0.62, 0.10))])
    stage.join(
        ember,
        noise.outputs["Fac"],
        heat.inputs["Fac"],
        heat.outputs["Color"],
        stage.shader_of(ember).inputs["Emission Color"],
    )
    return ember


def _rings(brass: bpy.types.Material) -> None:
    """Hang three rings one inside the other; each turns about its own axis and carries a planet."""
    copper = stage.surface("Copper", (0.93, 0.42, 0.26), metallic=1.0, roughness=0.22)
    steel = stage.surface("Steel", (0.80, 0.84, 0.90), metallic=1.0, roughness=0.08)
    jade = stage.surface("Jade", (0.03, 0.42, 0.30), roughness=0.12, coat_weight=1.0)
    _ring("Meridian", brass, steel, 1.56, 0.17, (90, 0, 24), (90, 0, 24))
    _ring("Ecliptic", brass, jade, 1.34, 0.21, (23, 8, 0), (23, 8, 150))
    _ring("Equator", copper, steel, 1.12, 0.15, (64, 30, 0), (104, 62, 90))


def _ring(
    name: str,
    metal: bpy.types.Material,
    planet: bpy.types.Material,
    radius: float,
    size: float,
    first: stage.Point,
    last: stage.Point,
) -> None:
    band, depth = 0.075, 0.026
    inner, outer = radius - depth, radius + depth
    outline = [(inner, -band), (outer, -band), (outer, band), (inner, band)]
    hoop = stage.hoop(name, outline, metal, segments=96)
    bevel = hoop.modifiers.new("Bevel", "BEVEL")
    bevel.width, bevel.segments = 0.012, 2
    stone = stage.ball(f"{name} planet", size, planet, (radius, 0, 0))
    stone.parent = hoop
    hoop.location = CENTRE
    turns = {1: [radians(a) for a in first], FRAMES + 1: [radians(a) for a in last]}
    stage.animate(hoop, "rotation_euler", turns)


def _marbles() -> None:
    """Strew balls over the table: near ones and far ones show the depth of field."""
    clear = bpy.data.materials["Glass"]
    steel, jade, copper = (bpy.data.materials[name] for name in ("Steel", "Jade", "Copper"))
    spots = [
        (-1.75, -1.70, 0.27, clear),
        (1.55, -2.0, 0.20, copper),
        (2.35, -0.7, 0.34, steel),
        (-2.6, 0.3, 0.24, jade),
        (-0.95, -2.35, 0.13, jade),
        (2.0, 2.4, 0.30, clear),
        (-1.9, 2.6, 0.36, copper),
        (0.75, -2.75, 0.12, steel),
    ]
    for number, (x, y, radius, material) in enumerate(spots, 1):
        stage.ball(f"Marble {number}", radius, material, (x, y, radius))


def _far_lights() -> None:
    """Put a garland of tiny lamps far behind, which the lens turns into discs."""
    warm = stage.glowing("Lantern", (1.0, 0.50, 0.16), 14.0)
    cool = stage.glowing("Star", (0.25, 0.55, 1.0), 12.0)
    dice = Random(5)
    lamp = {m.name: stage.ball(m.name, 0.055, m, (0, 9, 1)) for m in (warm, cool)}
    for number in range(34):
        spot = (dice.uniform(-9.5, 9.5), dice.uniform(7, 13), dice.uniform(0.4, 6.2))
        stage.twin(lamp["Lantern" if number % 3 else "Star"], spot)


def _lamps(scene: bpy.types.Scene) -> None:
    stage.ambient(scene, (0.06, 0.11, 0.26), 0.22)
    stage.softbox("Key", (-4.2, -3.2, 5.6), CENTRE, 2.2, 520, (1.0, 0.86, 0.68))
    stage.softbox("Rim", (4.6, 3.4, 4.2), CENTRE, 2.4, 620, (0.45, 0.66, 1.0))
    stage.softbox("Sky", (0.0, 0.6, 6.4), CENTRE, 3.5, 180, (0.85, 0.9, 1.0))
    stage.softbox("Fill", (5.0, -4.0, 2.0), CENTRE, 2.5, 70, (1.0, 0.7, 0.5))


def _camera(globe: bpy.types.Object) -> None:
    """Swing the camera round the globe on a pivot while it draws nearer."""
    eye = stage.camera((0, -10.4, 2.35), (0, 0, -0.22), 50)
    hub = stage.pivot("Camera pivot", CENTRE, eye)
    stage.animate(hub, "rotation_euler", {1: (0, 0, radians(-16)), FRAMES: (0, 0, radians(22))}, "BEZIER")
    stage.animate(eye, "location", {1: (0, -10.4, 2.35), FRAMES: (0, -9.2, 2.08)}, "BEZIER")
    stage.focus(eye, globe, 0.28)


def _glare(scene: bpy.types.Scene) -> None:
    """Let bright spots bleed a little: a compositor whose result depends on the whole frame."""
    tree = stage.compositor(scene)
    layers, glare = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeGlare")
    for key, value in {"Type": "Bloom", "Threshold": 1.2, "Strength": 0.45, "Size": 0.55}.items():
        glare.inputs[key].default_value = value
    tree.links.new(layers.outputs["Image"], glare.inputs["Image"])
    tree.links.new(glare.outputs["Image"], tree.nodes["Picture"].inputs["Image"])

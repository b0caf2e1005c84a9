# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference scene: what a render unit is measured by.

Built here from numbers alone, so that it is the same scene on every node and can be rendered by a child whose
sandbox shows it nothing else. Glass, rough metal and a diffuse floor under one lamp: paths of all lengths.
"""

from math import cos, pi, sin
from typing import Any

import bpy

from gpu_worker.blender.child.meter import Meter

EDGE = 64
SAMPLES = 64
LEAST_SECONDS = 1.0
MOST_ROUNDS = 24
"""A GPU does many rounds in the time in which one could be measured badly."""

ROUND_UNITS = 360_000
"""Micro-units of one round (`payments.accounting.pricing` has what a unit is)."""

COLUMNS, RINGS = 24, 12
"""Of a ball's faces."""

BALLS = (
    ((-1.1, 0.0, 0.8), 0.8, (0.9, 0.6, 0.3), 1.0, 0.0),
    ((0.9, -0.5, 0.6), 0.6, (0.95, 0.95, 0.95), 0.0, 1.0),
    ((0.5, 1.4, 0.9), 0.9, (0.2, 0.4, 0.7), 0.0, 0.0),
)
"""Place, radius, colour, metallic, transmission."""


def measure(device: dict[str, Any], folder: str) -> int:
    """The device's speed in micro-units a second. What was open in Blender is lost."""
    _build()
    threads = _use(device)
    _render(folder)  # syncs, and loads kernels
    meter = Meter(threads)
    rounds = 0
    while rounds < MOST_ROUNDS and (rounds == 0 or meter.work() < LEAST_SECONDS):
        _render(folder)
        rounds += 1
    return max(1, round(rounds * ROUND_UNITS / max(meter.work(), 1e-6)))


def _use(device: dict[str, Any]) -> int | None:
    # Late: rendering.py imports much that measuring does not need.
    from gpu_worker.blender.child import rendering  # noqa: PLC0415

    rendering.use_device(device["backend"], device["index"], device["threads"])
    return device["threads"] if device["backend"] == "CPU" else None


def _render(folder: str) -> None:
    scene = bpy.context.scene
    scene.render.filepath = f"{folder}/reference"
    bpy.ops.render.render(write_still=False)


def _build() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = EDGE
    scene.render.resolution_percentage = 100
    scene.render.use_persistent_data = True
    cycles = scene.cycles
    cycles.samples, cycles.seed = SAMPLES, 1
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    _add("Floor", [(-6, -6, 0), (6, -6, 0), (6, 6, 0), (-6, 6, 0)], [(0, 1, 2, 3)], (0.5, 0.5, 0.5), 0, 0)
    for number, (place, radius, colour, metallic, transmission) in enumerate(BALLS):
        points, faces = _ball(place, radius)
        _add(f"Ball {number}", points, faces, colour, metallic, transmission)
    _light_and_camera(scene)


def _ball(
    place: tuple[float, float, float], radius: float
) -> tuple[list[tuple[float, float, float]], list[Any]]:
    points = [
        (
            place[0] + radius * sin(pi * ring / RINGS) * cos(2 * pi * column / COLUMNS),
            place[1] + radius * sin(pi * ring / RINGS) * sin(2 * pi * column / COLUMNS),
            place[2] + radius * cos(pi * ring / RINGS),
        )
        for ring in range(RINGS + 1)
        for column in range(COLUMNS)
    ]
    faces = [
        (
            ring * COLUMNS + column,
            (ring + 1) * COLUMNS + column,
            (ring + 1) * COLUMNS + (column + 1) % COLUMNS,
            ring * COLUMNS + (column + 1) % COLUMNS,
        )
        for ring in range(RINGS)
        for column in range(COLUMNS)
    ]
    return points, faces


def _add(
    name: str,
    points: list[tuple[float, float, float]],
    faces: list[Any],
    colour: tuple[float, float, float],
    metallic: float,
    transmission: float,
) -> None:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    inputs = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED").inputs
    inputs["Base Color"].default_value = (*colour, 1)
    inputs["Metallic"].default_value, inputs["Transmission Weight"].default_value = metallic, transmission
    inputs["Roughness"].default_value = 0.25
    mesh.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, mesh))


def _light_and_camera(scene: Any) -> None:
    lamp = bpy.data.lights.new("Lamp", "AREA")
    lamp.energy, lamp.size = 600, 3
    above = bpy.data.objects.new("Lamp", lamp)
    above.location = (1, -1, 5)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = (0, -7, 3.2), (1.18, 0, 0)
    for one in (above, camera):
        scene.collection.objects.link(one)
    scene.camera = camera

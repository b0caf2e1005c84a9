# SPDX-License-Identifier: GPL-3.0-or-later
"""Balloons over misty hills: two view layers, cryptomatte, mist and a File Output node in one still."""

from math import exp, sin

import bpy
from mathutils import Vector, noise

from samples import stage

HILLS, BALLOONS = "Hills", "Balloons"
HERO = "Red balloon"
COLUMNS, ROWS = 84, 120
RIB = [
    (0.0, 2.35),
    (0.55, 2.28),
    (1.05, 2.05),
    (1.42, 1.68),
    (1.60, 1.2),
    (1.58, 0.72),
    (1.38, 0.2),
    (1.05, -0.35),
    (0.68, -0.9),
    (0.40, -1.3),
    (0.34, -1.42),
]
BASKET = [
    (0.0, -2.42),
    (0.28, -2.42),
    (0.33, -2.0),
    (0.36, -1.98),
    (0.36, -1.93),
    (0.27, -1.93),
    (0.25, -2.3),
    (0.0, -2.3),
]
SLICES = 24
CLOTHS = (
    ("Red cloth", (0.72, 0.035, 0.02)),
    ("Teal cloth", (0.01, 0.24, 0.30)),
    ("Plum cloth", (0.22, 0.03, 0.20)),
)


def build() -> None:
    """Set up the whole scene."""
    scene = stage.fresh_scene("layers")
    stage.use_cycles(scene, samples=32, seed=3)
    stage.frame_size(scene, 480, 270)
    scene.render.film_transparent = True
    scene.view_settings.look = "AgX - Medium High Contrast"
    _hills()
    _balloons()
    _lamps(scene)
    stage.camera((0.0, -13.0, 8.6), (0.0, 20.0, 7.7), 38)
    _view_layers(scene)
    _composite(scene)


def _hills() -> None:
    """Fold a grid into ridges that rise with the distance on both sides of a valley."""
    points = [_crag(column / COLUMNS, row / ROWS) for row in range(ROWS + 1) for column in range(COLUMNS + 1)]
    corner = [row * (COLUMNS + 1) + column for row in range(ROWS) for column in range(COLUMNS)]
    faces = [(i, i + 1, i + COLUMNS + 2, i + COLUMNS + 1) for i in corner]
    land = stage.solid("Land", points, faces, _land_surface(), smooth=False)
    _into(HILLS, land)


def _crag(across: float, along: float) -> stage.Point:
    """Say where one grid point lies; cells grow with the distance, as the camera sees them."""
    depth = 150 * along**1.6 - 6
    side = (across - 0.5) * (52 + 1.4 * depth)
    rough = noise.fractal(Vector((side * 0.09, depth * 0.09, 3.7)), 1.0, 2.1, 5)
    ridge = 1 - abs(noise.noise(Vector((side * 0.045, depth * 0.05, 9.1))))
    valley = 1 - exp(-(((side - 6 * sin(depth * 0.06)) / (9 + 0.12 * depth)) ** 2))
    height = valley * (ridge**3 * (5.0 + 0.20 * depth) + (1.8 + 0.02 * depth) * rough) + 0.35 * rough
    return side, depth, height - 0.5


def _land_surface() -> bpy.types.Material:
    """Colour the land by its height: meadow, forest, rock, snow."""
    land = stage.surface("Land", (0.1, 0.2, 0.1), roughness=0.9)
    stage.colour_by_height(
        land,
        -1.0,
        26.0,
        [
            (0.0, (0.16, 0.24, 0.05)),
            (0.16, (0.06, 0.15, 0.05)),
            (0.42, (0.10, 0.11, 0.09)),
            (0.62, (0.26, 0.20, 0.18)),
            (0.80, (0.85, 0.82, 0.84)),
        ],
    )
    return land


def _balloons() -> None:
    cream = stage.surface("Cream cloth", (0.88, 0.76, 0.56), roughness=0.55, sheen_weight=0.3)
    wicker = stage.surface("Wicker", (0.20, 0.09, 0.03), roughness=0.8)
    red, teal, plum = (stage.surface(*cloth, roughness=0.5, sheen_weight=0.3) for cloth in CLOTHS)
    spots = [
        (HERO, red, (-4.3, 6.5, 8.5), 1.25, 2),
        ("Teal balloon", teal, (4.6, 13.0, 10.6), 1.15, 3),
        ("Plum balloon", plum, (9.8, 27.0, 8.6), 1.2, 2),
        ("Far balloon", red, (-1.6, 46.0, 15.2), 1.2, 4),
    ]
    for name, cloth, spot, size, stripe in spots:
        balloon = _balloon(name, (cloth, cream, wicker), stripe)
        balloon.location, balloon.scale = spot, (size, size, size)
        balloon.rotation_euler.z = 0.4 * spot[0]
        _into(BALLOONS, balloon)


def _balloon(name: str, materials: tuple[bpy.types.Material, ...], stripe: int) -> bpy.types.Object:
    """Join cloth, basket and ropes into one object, so that one matte cuts out the whole balloon."""
    balloon = stage.turned(name, RIB, *materials, segments=SLICES)
    for number, face in enumerate(balloon.data.polygons):
        face.material_index = (number % SLICES) // stripe % 2
    ropes = [
        stage.box("Rope", (0.025, 0.025, 0.62), materials[2], spot)
        for spot in ((0.3, 0, -1.68), (-0.3, 0, -1.68), (0, 0.3, -1.68), (0, -0.3, -1.68))
    ]
    _merge(balloon, [stage.turned("Basket", BASKET, materials[2], segments=12, subdivide=0), *ropes])
    return balloon


def _merge(whole: bpy.types.Object, parts: list[bpy.types.Object]) -> None:
    both = [whole, *parts]
    with bpy.context.temp_override(active_object=whole, object=whole, selected_editable_objects=both):
        bpy.ops.object.join()


def _into(collection: str, thing: bpy.types.Object) -> None:
    """Move an object into a named collection, which the view layers then show or hide."""
    scene = bpy.context.scene
    shelf = bpy.data.collections.get(collection)
    if shelf is None:
        shelf = bpy.data.collections.new(collection)
        scene.collection.children.link(shelf)
    scene.collection.objects.unlink(thing)
    shelf.objects.link(thing)


def _lamps(scene: bpy.types.Scene) -> None:
    stage.ambient(scene, (0.36, 0.46, 0.85), 0.5)
    stage.sunlight("Low sun", (6.0, -0.6, -2.6), 6.0, (1.0, 0.62, 0.32), 0.02)


def _view_layers(scene: bpy.types.Scene) -> None:
    """Render hills and balloons apart; the hills still cut away what they hide of a balloon."""
    hills = scene.view_layers[0]
    hills.name = HILLS
    balloons = scene.view_layers.new(BALLOONS)
    hills.layer_collection.children[BALLOONS].exclude = True
    balloons.layer_collection.children[HILLS].holdout = True
    hills.use_pass_mist = hills.use_pass_z = True
    balloons.use_pass_cryptomatte_object = True
    mist = scene.world.mist_settings
    mist.start, mist.depth, mist.falloff = 16.0, 190.0, "LINEAR"


def _composite(scene: bpy.types.Scene) -> None:
    """Sink the hills into the sky by their mist, lay the balloons over, and light the red one up."""
    tree = stage.compositor(scene)
    balloons = _layer(tree, scene, BALLOONS)
    matte = _matte(tree, scene, balloons)
    lit = _lit(tree, balloons.outputs["Image"], matte)
    view = _over(tree, _hazy(tree, _layer(tree, scene, HILLS), _sky(tree)), lit)
    tree.links.new(view, tree.nodes["Picture"].inputs["Image"])
    _files(tree, matte, balloons.outputs["Image"])


def _layer(tree: bpy.types.NodeTree, scene: bpy.types.Scene, name: str) -> bpy.types.Node:
    node = tree.nodes.new("CompositorNodeRLayers")
    node.scene, node.layer, node.label = scene, name, name
    return node


def _sky(tree: bpy.types.NodeTree) -> bpy.types.NodeSocket:
    """Paint the evening sky by height in the picture; the film itself is transparent."""
    where = tree.nodes.new("CompositorNodeImageCoordinates")
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    tint = tree.nodes.new("ShaderNodeValToRGB")
    size = _layer(tree, bpy.context.scene, HILLS)
    stage.ramp(
        tint,
        [
            (0.40, (1.10, 0.56, 0.22)),
            (0.56, (0.95, 0.38, 0.26)),
            (0.76, (0.38, 0.27, 0.48)),
            (1.0, (0.06, 0.13, 0.40)),
        ],
    )
    tree.links.new(size.outputs["Image"], where.inputs["Image"])
    tree.links.new(where.outputs["Normalized"], split.inputs["Vector"])
    tree.links.new(split.outputs["Y"], tint.inputs["Fac"])
    return tint.outputs["Color"]


def _hazy(tree: bpy.types.NodeTree, hills: bpy.types.Node, sky: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    haze = tree.nodes.new("ShaderNodeMix")
    haze.data_type = "RGBA"
    tree.links.new(hills.outputs["Mist"], haze.inputs["Factor"])
    tree.links.new(_over(tree, sky, hills.outputs["Image"]), haze.inputs["A"])
    tree.links.new(sky, haze.inputs["B"])
    return haze.outputs["Result"]


def _over(
    tree: bpy.types.NodeTree, back: bpy.types.NodeSocket, front: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    node = tree.nodes.new("CompositorNodeAlphaOver")
    tree.links.new(back, node.inputs["Background"])
    tree.links.new(front, node.inputs["Foreground"])
    return node.outputs["Image"]


def _matte(
    tree: bpy.types.NodeTree, scene: bpy.types.Scene, balloons: bpy.types.Node
) -> bpy.types.NodeSocket:
    """Cut out one object by its name, softly at its edges, as only cryptomatte can."""
    node = tree.nodes.new("CompositorNodeCryptomatteV2")
    node.scene = scene
    node.layer_name = f"{BALLOONS}.CryptoObject"
    node.matte_id = HERO
    tree.links.new(balloons.outputs["Image"], node.inputs["Image"])
    return node.outputs["Matte"]


def _lit(
    tree: bpy.types.NodeTree, image: bpy.types.NodeSocket, matte: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    """Brighten what the matte covers, as if the burner were on."""
    brighter, pick = tree.nodes.new("CompositorNodeExposure"), tree.nodes.new("ShaderNodeMix")
    brighter.inputs["Exposure"].default_value = 0.35
    pick.data_type = "RGBA"
    tree.links.new(image, brighter.inputs["Image"])
    tree.links.new(matte, pick.inputs["Factor"])
    tree.links.new(image, pick.inputs["A"])
    tree.links.new(brighter.outputs["Image"], pick.inputs["B"])
    return pick.outputs["Result"]


def _files(tree: bpy.types.NodeTree, matte: bpy.types.NodeSocket, balloons: bpy.types.NodeSocket) -> None:
    """Write the matte as a PNG and the balloons, still transparent and linear, as an EXR."""
    node = tree.nodes.new("CompositorNodeOutputFile")
    node.directory, node.file_name = "//layers_files/", "layers_"
    node.format.media_type = "IMAGE"
    node.file_output_items.new("FLOAT", "matte")
    cut = node.file_output_items.new("RGBA", "balloons")
    cut.override_node_format = True
    cut.format.media_type, cut.format.file_format = "IMAGE", "OPEN_EXR"
    cut.format.color_mode, cut.format.color_depth = "RGBA", "32"
    tree.links.new(matte, node.inputs["matte"])
    tree.links.new(balloons, node.inputs["balloons"])

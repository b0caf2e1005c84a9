# SPDX-License-Identifier: GPL-3.0-or-later
"""Grease Pencil, which Blender draws over the picture after the engine."""

import bpy

from tests.variants.stage import FINAL, LINEAR, variant


@variant(FINAL, said="Grease Pencil")
def pencil(scene):
    bpy.ops.object.grease_pencil_add(type="STROKE", location=(0, -1, 1))


@variant(LINEAR)
def pencil_hidden_for_renders(scene):
    pencil(scene)
    bpy.context.object.hide_render = True


@variant(FINAL, said="Grease Pencil")
def pencil_by_geometry_nodes(scene):
    """A mesh that gets strokes from its nodes; no object of the file is Grease Pencil."""
    tree = bpy.data.node_groups.new("strokes", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    names = (
        "NodeGroupInput",
        "GeometryNodeCurvePrimitiveCircle",
        "GeometryNodeGeometryToInstance",
        "GeometryNodeCurvesToGreasePencil",
        "GeometryNodeTransform",
        "GeometryNodeJoinGeometry",
        "NodeGroupOutput",
    )
    given, *chain, join, sink = (tree.nodes.new(name) for name in names)
    chain[-1].inputs["Rotation"].default_value = (1.5, 0, 0)
    for one, other in zip(chain, [*chain[1:], join], strict=True):
        tree.links.new(one.outputs[0], other.inputs[0])
    tree.links.new(given.outputs[0], join.inputs[0])
    tree.links.new(join.outputs[0], sink.inputs[0])
    bpy.data.objects["box"].modifiers.new("strokes", "NODES").node_group = tree

# SPDX-License-Identifier: GPL-3.0-or-later
"""What node trees do: which nodes count, and whether they make volumes or simulate."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

VOLUME_MAKERS = frozenset(
    f"GeometryNode{name}"
    for name in ("MeshToVolume", "PointsToVolume", "VolumeCube", "ImportVDB", "StoreNamedGrid")
)


Stop = Callable[[Any], bool]


def _never(node: Any) -> bool:
    return False


def live_nodes(tree: Any, stops: Stop = _never) -> list[Any]:
    """The nodes that lead to an output of the tree, but for what leads only to a node that `stops`.
    Muted links lead nowhere; muted nodes count, for what they pass on.
    """
    sources, zones = _feeding(tree), _zone_inputs(tree)
    waiting = [node for node in tree.nodes if _is_output(node)]
    found = {node.name: node for node in waiting}
    while waiting:
        node = waiting.pop()
        if stops(node):
            continue
        for feeder in (*sources[node.name], *zones[node.name]):
            if feeder.name not in found:
                found[feeder.name] = feeder
                waiting.append(feeder)
    return list(found.values())


def _is_output(node: Any) -> bool:
    return bool(node.bl_idname == "NodeGroupOutput" or hasattr(node, "is_active_output"))


def _feeding(tree: Any) -> dict[str, list[Any]]:
    sources: dict[str, list[Any]] = defaultdict(list)
    for link in tree.links:
        if not link.is_muted:
            sources[link.to_node.name].append(link.from_node)
    return sources


def _zone_inputs(tree: Any) -> dict[str, list[Any]]:
    """A zone's result comes of its inputs too, however it is wired inside."""
    inputs: dict[str, list[Any]] = defaultdict(list)
    for node in tree.nodes:
        paired = getattr(node, "paired_output", None)
        if paired is not None:
            inputs[paired.name].append(node)
    return inputs


def shades_volume(tree: Any) -> bool:
    """Whether a material's or world's tree gives Cycles a volume shader."""
    if tree is None:
        return False
    outputs = {
        node.name for node in tree.nodes if "Volume" in node.inputs and getattr(node, "target", "") != "EEVEE"
    }
    return any(
        link.to_node.name in outputs and link.to_socket.name == "Volume" and not link.is_muted
        for link in tree.links
    )


def makes_volume(tree: Any) -> bool:
    """Whether a Geometry Nodes tree may give its object a volume."""
    return tree.bl_idname == "GeometryNodeTree" and any(
        node.bl_idname in VOLUME_MAKERS and not node.mute for node in live_nodes(tree)
    )


def makes_pencil(tree: Any) -> bool:
    """Whether a Geometry Nodes tree may give its object Grease Pencil strokes."""
    return tree.bl_idname == "GeometryNodeTree" and any(
        node.bl_idname == "GeometryNodeCurvesToGreasePencil" and not node.mute for node in live_nodes(tree)
    )


def simulation_zones(tree: Any, stops: Stop = _never, seen: set[int] | None = None) -> Iterator[Any]:
    """The outputs of simulation zones that count in this tree and its groups, each once."""
    seen = set() if seen is None else seen
    if tree is None or tree.session_uid in seen:
        return
    seen.add(tree.session_uid)
    for node in live_nodes(tree, stops):
        if node.bl_idname == "GeometryNodeSimulationOutput":
            yield node
        elif getattr(node, "node_tree", None) is not None:
            yield from simulation_zones(node.node_tree, stops, seen)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which scenes Blender renders for the active scene's picture, and through which cameras.

As measured with Blender 5.0 (headless): a sequencer with any strip that is not muted makes the picture
alone, and renders what its scene strips show; a compositor renders the scenes of its Render Layers and
Cryptomatte nodes, those of its own tree only, not of groups; only without both is the scene itself
rendered. A scene that another one shows is composited when a strip shows it, never when a node does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gpu_worker.blender.child.animation import is_animated


@dataclass(frozen=True)
class Participant:
    """A scene that is rendered. `camera` is what it is seen through (None where it has none), `source`
    how it came in: "" for the active scene itself, else "compositor" or "sequencer".
    """

    scene: Any
    camera: Any
    source: str = ""


def participants(scene: Any) -> list[Participant]:
    """Every scene that is rendered for `scene`'s picture, each once, `scene` itself first if it is."""
    found = {one.scene.session_uid: one for one in reversed(list(_through_sequencer(scene, set())))}
    return sorted(found.values(), key=lambda one: one.scene != scene)


def sequencer_makes_picture(scene: Any) -> bool:
    """Whether strips, not a render or a compositor, make the picture."""
    editor = scene.sequence_editor
    if not (scene.render.use_sequencer and editor):
        return False
    return any(strip.type != "SOUND" for strip in editor.strips if not _is_muted(scene, editor, strip))


def compositor_makes_picture(scene: Any) -> bool:
    """Whether the scene's node tree composites the picture."""
    composites = scene.render.use_compositing and scene.compositing_node_group
    return bool(composites) and not sequencer_makes_picture(scene)


def reads_render(node: Any) -> bool:
    """Whether this node of a compositor tree shows a render."""
    if node.bl_idname == "CompositorNodeRLayers":
        return True
    return bool(node.bl_idname == "CompositorNodeCryptomatteV2" and node.source == "RENDER")


def camera_of(scene: Any) -> Any:
    """The scene's camera; a marker's where only markers name one."""
    return scene.camera or next((one.camera for one in scene.timeline_markers if one.camera), None)


def _through_sequencer(scene: Any, seen: set[int]) -> Iterator[Participant]:
    if not sequencer_makes_picture(scene):
        yield from _through_compositor(scene, camera_of(scene), "")
    elif scene.session_uid not in seen:
        seen.add(scene.session_uid)
        for strip in _scene_strips(scene, scene.sequence_editor.strips):
            yield from _through_strip(strip, seen)


def _scene_strips(scene: Any, strips: Any) -> Iterator[Any]:
    for strip in strips:
        if _is_muted(scene, scene.sequence_editor, strip):
            continue
        if strip.type == "SCENE" and strip.scene is not None:
            yield strip
        elif strip.type == "META":
            yield from _scene_strips(scene, strip.strips)


def _is_muted(scene: Any, editor: Any, strip: Any) -> bool:
    channel = editor.channels[strip.channel] if strip.channel < len(editor.channels) else None
    if channel is not None and channel.mute:
        return True
    return bool(strip.mute) and not is_animated(scene, f"{strip.path_from_id()}.mute")


def _through_strip(strip: Any, seen: set[int]) -> Iterator[Participant]:
    if strip.scene_input == "SEQUENCER":
        if sequencer_makes_picture(strip.scene):
            yield from _through_sequencer(strip.scene, seen)
        return
    camera = strip.scene_camera or camera_of(strip.scene)
    if camera is not None:  # Blender leaves out scenes without one
        yield from _through_compositor(strip.scene, camera, "sequencer")


def _through_compositor(scene: Any, camera: Any, source: str) -> Iterator[Participant]:
    if not (scene.render.use_compositing and scene.compositing_node_group):
        yield Participant(scene, camera, source)
        return
    for node in scene.compositing_node_group.nodes:
        if not node.mute and reads_render(node) and node.scene is not None:
            own = node.scene == scene
            shown = camera if own else camera_of(node.scene)
            yield Participant(node.scene, shown, source if own else source or "compositor")

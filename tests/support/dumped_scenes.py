# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: renders and finishes scenes as a child does, and tells which of their properties changed.

python -m tests.support.dumped_scenes ANSWER.json SCENE.blend,linear,finish ...
"""

import json
import sys
from contextlib import suppress
from pathlib import Path

import bpy

from gpu_worker.blender.child import finishing, rendering
from gpu_worker.blender.child.overrides import overrides

FRAME, SIZE = 4, {"x0": 0, "y0": 0, "x1": 64, "y1": 48}
LEFT = {"x0": 0, "y0": 0, "x1": 20, "y1": 48}


def dump(block, skipped=()):
    found = {}
    add(found, block, block.name_full, block, set(), skipped)
    return found


def add(found, item, path, block, seen, skipped=()):
    found[path] = item.rna_type.identifier
    with suppress(TypeError):  # not every type has properties of its own
        # Add-ons store declared properties here once they are set, whatever the value.
        own = [key for key in item.keys() if key not in item.rna_type.properties]  # noqa: SIM118
        found[f"{path}[]"] = sorted((key, repr(item[key])) for key in own)
    for prop in item.rna_type.properties:
        name = prop.identifier
        if name in {"rna_type", "is_valid"} or name in skipped:  # is_valid is found anew in each render
            continue
        if isinstance(item, bpy.types.NlaStrip) and name in {"influence", "strip_time"}:
            continue  # evaluated for the current frame
        try:
            value = getattr(item, name)
        except Exception as error:
            found[f"{path}.{name}"] = type(error).__name__
            continue
        each(found, prop, value, f"{path}.{name}", block, seen)


def each(found, prop, value, path, block, seen):
    if prop.type == "COLLECTION":
        found[path] = 0
        for key, one in keyed(value, path):  # not a list: instances live for one step
            found[path] += 1
            pointed(found, one, f"{path}[{key}]", block, seen)
    elif prop.type == "POINTER":
        pointed(found, value, path, block, seen)
    else:
        found[path] = repr(value[:] if getattr(prop, "is_array", False) else value)


def keyed(values, path):
    # Blender itself orders the sockets of Render Layers nodes by when their passes came, and adds and removes
    # those that nothing is linked to.
    if path.endswith((".outputs", ".inputs")):
        return [(one.identifier, one) for one in values if not is_blenders_own(one)]
    return enumerate(values)


def is_blenders_own(socket):
    node = getattr(socket, "node", None)
    return (
        getattr(node, "bl_idname", "") == "CompositorNodeRLayers"
        and socket.is_output
        and not socket.is_linked
    )


def pointed(found, value, path, block, seen):
    if isinstance(value, bpy.types.ID):
        found[path] = f"{value.rna_type.identifier} {value.name_full}"
    elif value is None:
        found[path] = None
    else:
        found[f"{path}->"] = f"{value.rna_type.identifier} {getattr(value, 'name', '')}"
        if value.id_data == block:
            key = (value.as_pointer(), value.rna_type.identifier)
            # An instance lives for one step: the next, of this layer or another, may lie where it lay.
            if isinstance(value, bpy.types.DepsgraphObjectInstance) or key not in seen:
                seen.add(key)
                add(found, value, path, block, seen)


def everything():
    # What belongs to the current frame or to Blender's window is not the farm's to keep.
    now = {"frame_current", "frame_current_final", "frame_float", "frame_subframe", "cursor", "session_uid"}
    scene = bpy.context.scene
    scene.frame_set(FRAME)
    trees = [tree for tree in bpy.data.node_groups if tree.bl_idname == "CompositorNodeTree"]
    found = dump(scene, now)
    for tree in trees:
        found |= dump(tree, {"session_uid"})
    found["blocks"] = sorted(
        f"{item.rna_type.identifier} {item.name_full} {item.users}"
        for item in bpy.data.user_map()
        if getattr(item, "type", "") not in {"RENDER_RESULT", "COMPOSITING"}
    )
    return found


def command(path, output, **more):
    render = bpy.context.scene.render
    settings = {
        "samples": 4,
        "seed": 7,
        "resolution_percentage": 100,
        "format": render.image_settings.file_format,
    }
    size = {"width": 64, "height": 48, "area": SIZE}
    asked = {"settings": settings, "asked": ["samples"], "output": output}
    return {"frame": FRAME, "path": str(path), **asked, **size, **more}


def different(before, after):
    keys = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in sorted(keys)]


def nothing(done, total):
    pass


def tried(blend, folder, ways):
    rendering.open_scene(blend)
    rendering.use_device("CPU", 0, 2)
    image = bpy.context.scene.render.image_settings
    if image.file_format != "OPEN_EXR_MULTILAYER":
        image.file_format = "OPEN_EXR"
        image.color_management, image.linear_colorspace_settings.name = "OVERRIDE", "ACEScg"
    overrides.give_back(bpy.context.scene)
    before, answer = everything(), {"seen": 0}
    folder.mkdir(parents=True)
    for way in ways:
        if way == "linear":
            for number, region in enumerate((LEFT, SIZE)):
                rendering.render_frame(command(folder / f"{number}.exr", way, region=region), nothing)
        elif way == "final":
            rendering.render_frame(command(folder / way, way), nothing)
        else:
            finishing.finish_frame(command(folder / way, way, merged=str(folder / "1.exr")))
        overrides.give_back(bpy.context.scene)
        answer[way] = different(before, everything())
    answer["seen"] = len(before)
    return answer


if __name__ == "__main__":
    target, *work = sys.argv[1:]
    answers = {}
    for one in work:
        blend, *ways = one.split(",")
        answers[Path(blend).stem] = tried(blend, Path(target).parent / Path(blend).stem, ways)
    Path(target).write_text(json.dumps(answers))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Blender writes a frame's files, and what they are called.

Each File Output node keeps its own path up to where that path begins: instead of the artist's project or
root folder it gets one below the frame's. So paths that differ stay different, and Blender itself fills in
templates, frame numbers, views and endings. What it wrote is compared with what its own rules say it
writes, and is then given names that are safe anywhere.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.blender.child.animation import is_animated
from gpu_worker.blender.child.compositor import file_output_nodes

FRAME = "frame"
"""What the frame's own files are called before the number."""

PROJECT, ABOVE, ROOT, WORKING = "outputs", "outputs-above", "outputs-absolute", "outputs-working"
"""Where a path begins: at the .blend's folder, above it, at a disk's root, at Blender's working folder."""

_BRACES = re.compile(r"\{\{|\}\}|\{(blend_dir(?:_lib)?|node_name)\}")
_PROJECT_PREFIX = re.compile(r"//|\{blend_dir\}(?:/|$)")
_DRIVE = re.compile(r"([A-Za-z]):")


@dataclass(frozen=True)
class Place:
    """A File Output node's own path: where it begins, its folders, and the beginning of its files' names.
    All are still Blender's templates.
    """

    top: str
    folders: tuple[str, ...]
    name: str

    @property
    def directory(self) -> str:
        """The folder, below the frame's."""
        return "/".join((self.top, *self.folders))


def escape_template(path: str) -> str:
    """A path as Blender 5 writes it literally: braces name template variables otherwise."""
    return path.replace("{", "{{").replace("}", "}}")


@contextmanager
def redirected(scene: Any, folder: Path) -> Iterator[None]:
    """For the block, every File Output node of the file writes under `folder`: other scenes may take part,
    too.
    """
    for view in scene.render.views if scene.render.use_multiview else ():
        if "/" in view.file_suffix or "\\" in view.file_suffix:
            raise Missing(f"The files of the view '{view.name}' would be named by a folder.")
    own = [(node, node.directory, node.file_name) for node in _all_file_outputs()]
    try:
        for node, *path in own:
            goal = place(*path)
            node.directory = f"{escape_template(str(folder))}/{goal.directory}/"
            node.file_name = goal.name
        yield
    finally:
        for node, directory, name in own:
            node.directory, node.file_name = directory, name


def _all_file_outputs() -> Iterator[Any]:
    for tree in bpy.data.node_groups:
        if tree.bl_idname == "CompositorNodeTree":
            yield from (node for node in tree.nodes if node.bl_idname == "CompositorNodeOutputFile")


def place(directory: str, file_name: str) -> Place:
    """Where Blender would write. Folders that do not exist on this machine are names only."""
    path = f"{directory}/{file_name}" if directory else file_name
    path = _slashed(path)
    begins, drive = _PROJECT_PREFIX.match(path), _DRIVE.match(path)
    start = begins or drive
    folders, _, name = _literal(path[start.end() :] if start else path).rpartition("/")
    levels, above = _levels(folders)
    if begins:
        top = PROJECT
    elif drive:
        top, above, levels = ROOT, 0, (drive[1] + "%3A", *levels)
    elif path.startswith("/"):
        top, above = ROOT, 0
    else:
        top = WORKING
    return Place(f"{ABOVE}/{above}" if above else top, levels, name)


def _slashed(path: str) -> str:
    """Blender takes both slashes, and several as one, except the two that a relative path begins with."""
    path = path.replace("\\", "/")
    relative = path.startswith("//")
    path = re.sub("/+", "/", path)
    return "/" + path if relative else path


def _literal(path: str) -> str:
    """Variables whose value is this machine's own business, as plain words."""
    return _BRACES.sub(lambda found: found[1] if found[1] and found[1] != "node_name" else found[0], path)


def _levels(folders: str) -> tuple[tuple[str, ...], int]:
    """The folders without `.` and `..`, and how many of the latter lead above the first."""
    levels: list[str] = []
    above = 0
    for name in folders.split("/"):
        if name == ".." and levels:
            levels.pop()
        elif name == "..":
            above += 1
        elif name not in {"", "."}:
            levels.append(name)
    return tuple(levels), above


# --- names ------------------------------------------------------------------------------------------

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\\ud800-\udfff]|^\.")
_TAKEN = re.compile(r"%(?=25|[01][0-9A-F]|7F|5C|C2%[89]|E2%80%A[89]|ED%[AB])|^%(?=2E)")


def safe_part(name: str) -> str:
    """A file's or folder's name that is safe anywhere: no control characters, no backslash, not hidden.

    What is not safe becomes %XX. Two names never become one, since a % that could be read as such is
    written so itself; all other names stay as they are.
    """
    return _UNSAFE.sub(lambda found: _percent(found[0]), _TAKEN.sub("%25", name))


def _percent(letters: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letters.encode("utf-8", "surrogatepass"))


# --- what was written -------------------------------------------------------------------------------


class Missing(Exception):
    """A file that Blender writes by its own rules is not there; the text is for the artist."""


def written(scene: Any, frame: int, folder: Path) -> list[str]:
    """The files under `folder` by names that are safe, the frame's own first, in the order of its views.

    Raises Missing.
    """
    found = set(_files(folder))
    mains = _main_names(scene, frame, folder)
    for name in mains:
        if name not in found:
            raise Missing(f"Blender wrote no picture {_artists(name)}.")
    for name in _output_names(scene, frame, folder):
        if not any(_is_of(one, name) for one in found):
            raise Missing(f"Blender did not write {_artists(name)}, which a File Output node names.")
    others = sorted(found - set(mains), key=lambda name: (_is_output(name), name))
    return [_made_safe(folder, name) for name in (*mains, *others)]


def _artists(name: str) -> str:
    """A file as the artist knows it."""
    return repr(name.removeprefix(FRAME).partition("/")[2] if "/" in name else name.removeprefix(FRAME))


def _files(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(root, name), folder)


def _is_output(name: str) -> bool:
    return "/" in name


def _is_of(name: str, stem: str) -> bool:
    """Whether a file is the one whose name without view and ending is `stem`."""
    return os.path.dirname(name) == os.path.dirname(stem) and os.path.basename(name).startswith(
        os.path.basename(stem)
    )


def _main_names(scene: Any, frame: int, folder: Path) -> list[str]:
    """The frame's own files, by Blender's answer for each view that is written apart."""
    render = scene.render
    views = [view.name for view in render.views if view.use] if render.use_multiview else []
    apart = len(views) > 1 and render.image_settings.views_format == "INDIVIDUAL"
    paths = [render.frame_path(frame=frame, view=view) for view in views] if apart else []
    return [os.path.relpath(path, folder) for path in paths or [render.frame_path(frame=frame)]]


def _output_names(scene: Any, frame: int, folder: Path) -> Iterator[str]:
    """Files of File Output nodes without view and ending, where it is certain that Blender writes them."""
    for node in file_output_nodes(scene):
        for name in _stems(node) if _is_top(scene, node) else ():
            # Blender says nothing of templates that it cannot fill in: no file is written, either.
            with suppress(RuntimeError):
                yield os.path.relpath(
                    _filled_in(scene, frame, f"{escape_template(str(folder))}/{name}"), folder
                )


def _is_top(scene: Any, node: Any) -> bool:
    return bool(node.id_data == scene.compositing_node_group)


def _stems(node: Any) -> Iterator[str]:
    """The templates of a node's files. Only of those fed straight by a pass that is rendered: what has
    no size, as a plain colour has, is not written.
    """
    own, called = place(node.directory, node.file_name), escape_template(_safe_value(node.name))
    slots = zip(node.file_output_items, node.inputs, strict=False)
    fed = [item.name.replace("/", "_") for item, socket in slots if _is_fed(socket)]
    for name in fed[:1] and [""] if node.format.file_format == "OPEN_EXR_MULTILAYER" else fed:
        yield f"{own.directory}/{own.name}{name}".replace("{node_name}", called)


def _safe_value(value: str) -> str:
    return re.sub(r'[\x00-\x1f/\\?*:|"<>]', "_", value)


def _is_fed(socket: Any) -> bool:
    links = [link for link in socket.links if link.is_valid and not link.is_muted]
    return any(link.from_socket.name == "Image" and _is_rendered(link.from_node) for link in links)


def _is_rendered(node: Any) -> bool:
    if node.bl_idname != "CompositorNodeRLayers" or node.mute or node.scene is None:
        return False
    return any(
        layer.use and layer.name == node.layer and not is_animated(node.scene, f"{layer.path_from_id()}.use")
        for layer in node.scene.view_layers
    )


def _filled_in(scene: Any, frame: int, path: str) -> str:
    """Blender's own answer to what a path with templates becomes. Raises RuntimeError where it has none."""
    render = scene.render
    kept = render.filepath, render.use_file_extension
    render.filepath, render.use_file_extension = path, False
    try:
        return str(render.frame_path(frame=frame))
    finally:
        render.filepath, render.use_file_extension = kept


def _made_safe(folder: Path, name: str) -> str:
    """Give a file a name that is safe anywhere."""
    safe = "/".join(safe_part(part) for part in name.split("/"))
    if safe != name:
        (folder / safe).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(folder / safe)
    return safe

# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a .blend, told by a sandboxed Blender child: by another one only where that is asked for."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog

from farm_protocol.errors import FarmError, InvalidInput
from gpu_worker import removal, sandbox
from gpu_worker.blender import CHILD_PROGRAM, BlenderChild, ChildCommand, ChildLimits
from gpu_worker.config import default_memory
from gpu_worker.stage import program_folder

SECONDS = 600.0

log = structlog.get_logger()


class NoSandbox(FarmError):
    """No sandbox is here, and a file that nobody vouched for must not be opened without one."""

    code = "no_sandbox"


def inspect_scene(
    scene: Path,
    folder: Path | None,
    sandboxed: bool,
    program: Path | None = None,
    color_config: str = "",
) -> bytes:
    """The scene's facts as JSON. Blender sees `folder`, by default the one the scene is in, and takes
    the OCIO configuration `color_config`, by default its own.

    Raises InvalidInput where the scene cannot be read, NoSandbox where it should be `sandboxed` and cannot,
    TaskError where Blender cannot open it.
    """
    scene = scene.expanduser().absolute()
    if not scene.is_file():
        raise InvalidInput(f"There is no file {scene}.")
    seen = (folder or scene.parent).expanduser().absolute()
    if not scene.is_relative_to(seen):
        raise InvalidInput(f"{scene} does not lie in {seen}.")
    scratch = Path(tempfile.mkdtemp(prefix="farm-inspect-"))
    try:
        command = _command(scene, seen, scratch, sandboxed, program or CHILD_PROGRAM)
        if color_config:
            command = replace(command, variables={**(command.variables or {}), "OCIO": color_config})
        child = BlenderChild(ChildLimits(default_memory(1), SECONDS, SECONDS), command)
        child.start()
        try:
            return child.inspect(scene)
        finally:
            child.close()
    finally:
        removal.remove(scratch)


def _command(scene: Path, seen: Path, scratch: Path, sandboxed: bool, program: Path) -> ChildCommand:
    variables = sandbox.environment(os.environ) | {"TMPDIR": str(scratch)}
    reason = sandbox.unavailable() if sandboxed else None
    if reason is not None:
        raise NoSandbox(reason)
    if not sandboxed:
        log.info("opened_unsandboxed", scene=str(scene))
        return ChildCommand(program, variables=variables | {"HOME": str(scratch)}, writes=(scratch,))
    # A scene that lies in the home folder itself is shown alone.
    readable = scene if sandbox.shows_home(seen) else seen
    box = sandbox.Sandbox(
        readable=(program_folder(program), readable), fleeting=(scratch,), room=default_memory(2)
    )
    return ChildCommand(program, box.wrap, variables, fleeting=(scratch,))


def problem(error: FarmError) -> str:
    """An error as JSON."""
    code = getattr(error, "failure", error.code)
    return msgspec.json.encode({"code": str(code), "message": error.sentence}).decode()

# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender child: a program that reads JSON commands on stdin and writes JSON events on a descriptor.

It is run by path, in a process of its own, usually inside a sandbox; it imports nothing from the project
but `gpu_worker.blender.child`. gpu_worker/blender/README.md is its protocol.
"""

import argparse
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gpu_worker.blender.child import confining

Command = dict[str, Any]


class Child:
    """Carries out commands one at a time; holds at most one scene."""

    def __init__(self, events: TextIO) -> None:
        # Late, so that a parent that dies while Blender loads is noticed.
        import bpy  # noqa: PLC0415

        from gpu_worker.blender.child import (  # noqa: PLC0415
            auditing,
            bakes,
            defusing,
            devices,
            errors,
            finishing,
            inspection,
            probing,
            reference,
            rendering,
            shaders,
            warming,
        )

        self.events = events
        self.bpy, self.finishing, self.inspection, self.rendering = bpy, finishing, inspection, rendering
        self.auditing, self.probing, self.reference = auditing, probing, reference
        self.bakes, self.devices, self.warming = bakes, devices, warming
        self.defusing, self.shaders, self.scene_error = defusing, shaders, errors.SceneError
        self.opened: str | None = None
        self.device: dict[str, Any] = {"backend": "CPU", "index": 0, "threads": 1}
        self.device_name = ""
        self.work: str | None = None
        self.speed: tuple[str, int] | None = None

    def say(self, event: str, **fields: object) -> None:
        """Write one event line."""
        self.events.write(json.dumps({"event": event, **fields}) + "\n")
        self.events.flush()

    def ready(self) -> None:
        """The first word: which Blender this is."""
        app = self.bpy.app
        self.say("ready", blender=app.version_string, build=app.build_hash.decode())

    def carry_out(self, command: Command) -> None:
        """Run one command and say `done` or `failed`."""
        action = {
            "inspect": self.inspect,
            "device": self.name_device,
            "warm": self.warm,
            "open": self.open,
            "render": self.render,
            "audit": self.audit,
            "probe": self.probe,
            "finish": self.finish,
        }.get(str(command.get("cmd")))
        if action is None:
            self.say("failed", code="bad_input", message=f"There is no command {command.get('cmd')!r}.")
            return
        try:
            self.say("done", **action(command))
        except self.scene_error as error:
            self.say("failed", code="scene", message=str(error))
        except self.devices.DeviceError as error:
            self.say("failed", code=error.code, message=str(error))
        except Exception as error:  # whatever a stranger's file provokes is the scene's failure
            self.say("failed", code="scene", message=f"{type(error).__name__}: {error}"[:2000])

    def inspect(self, command: Command) -> Command:
        """Facts of a .blend. To learn them it is evaluated, so a render opens it afresh."""
        self._forget()
        self.rendering.open_scene(command["blend"])
        return {"facts": self.inspection.facts()}

    def name_device(self, command: Command) -> Command:
        """What Cycles calls a device. Loses what was open."""
        self._forget()
        device = command["device"]
        return {
            "device_name": self.rendering.use_device(device["backend"], device["index"], device["threads"])
        }

    def warm(self, command: Command) -> Command:
        """Render scenes of the node's own until the device's kernels are all there. Loses what was open."""
        self._forget()
        answer: Command = self.warming.warm(command["device"], command["path"], self._progress)
        return answer

    def open(self, command: Command) -> Command:
        """Hold a scene warm on a device."""
        if self.opened != command["blend"] or (self.device != command["device"] and self.device_name):
            self._load(command["blend"])
        if not self.device_name:
            self.device = command["device"]
            self._apply_device()
        return {"seconds": 0.0, "device_name": self.device_name}

    def _load(self, blend: str) -> None:
        self._forget()
        self.rendering.open_scene(blend)
        self.defusing.refuse()
        self.bakes.hold_in_memory()
        self.shaders.compile_apart()
        self.opened = blend

    def _forget(self) -> None:
        self.opened = None
        self.work = None
        self.device_name = ""

    def _apply_device(self) -> None:
        device = self.device
        used = self.rendering.use_device(device["backend"], device["index"], device["threads"])
        self.device_name = str(used)

    def render(self, command: Command) -> Command:
        """Render a region, or a whole frame with its files."""
        linear = command["output"] == "linear"
        self._start("linear" if linear else "final")
        answer: Command = self.rendering.render_frame(command, self._progress)
        return answer

    def audit(self, command: Command) -> Command:
        """Render crops of a tile, and all of it with few samples; tiles may come before and after."""
        self._start("linear")
        answer: Command = self.auditing.audit_tile(command, self._progress)
        return answer

    def probe(self, command: Command) -> Command:
        """Render a few frames very small; tiles may come before and after."""
        linear = command["output"] == "linear"
        speed = self._speed(command["path"])
        self._start("linear" if linear else "final")
        threads = self.device["threads"] if self.device["backend"] == "CPU" else None
        answer: Command = self.probing.probe(command, threads, speed, self._progress)
        return answer

    def _speed(self, folder: str) -> int:
        """The device's speed on the reference scene, measured once; then the scene is loaded afresh."""
        device = json.dumps(self.device)
        if self.speed is None or self.speed[0] != device:
            self.speed = (device, self.reference.measure(self.device, folder))
            if self.opened is not None:
                self._load(self.opened)
                self._apply_device()
        return self.speed[1]

    def finish(self, command: Command) -> Command:
        """Finish a merged frame."""
        self._start("finish" + json.dumps([command["settings"], command.get("asked")]))
        answer: Command = self.finishing.finish_frame(command)
        return answer

    def _start(self, kind: str) -> None:
        """Each kind of work leaves the scene in its own way: for another kind it is loaded afresh, and
        for finishing with other settings.

        So it is before each of Blender's own frames where a frame leaves the scene's settings animated.
        """
        if self.opened is None:
            raise self.scene_error("No scene is open.")
        done = self.work is not None
        if done and (self.work != kind or (kind == "final" and self.rendering.is_animated())):
            self._load(self.opened)
            self._apply_device()
        self.work = kind

    def _progress(self, done: int, total: int) -> None:
        self.say("progress", done=done, total=total)


def read_commands(commands: "queue.Queue[Command]") -> None:
    """Hand on commands as they come; when stdin closes the parent is gone, and so is this process."""
    for line in sys.stdin:
        command = json.loads(line)
        if command.get("cmd") == "quit":
            break
        commands.put(command)
    os._exit(0)


@contextmanager
def as_if_cores(count: int) -> Iterator[None]:
    """Let Blender load as on a machine of `count` cores.

    Blender's task library counts cores once and makes a thread for each. When a render is then told to
    use fewer, the threads that are left over spin for ever, on cores that other slots need.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if not 0 < count < len(allowed):
        yield
        return
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), allowed)


def confine_to_named() -> None:
    """Where the parent names the folders this process may fill, let it write nowhere else.

    To be called while there is one thread.
    """
    folders = os.environ.get(confining.WRITES, "").splitlines()
    if folders:
        confining.confine(
            [*folders, *(os.environ[name] for name in ("HOME", "TMPDIR") if os.environ.get(name))]
        )


def main() -> None:
    """Serve commands until stdin closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads it will use; 0: all")
    arguments = parser.parse_args()
    confine_to_named()
    commands: queue.Queue[Command] = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    with as_if_cores(arguments.threads):
        child = Child(os.fdopen(arguments.events_fd, "w", encoding="utf-8"))
    child.ready()
    while True:
        child.carry_out(commands.get())


if __name__ == "__main__":
    main()

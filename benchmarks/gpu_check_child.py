# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's Blender child, spoken to with nothing but Python's own library.

`gpu_worker.blender.process.BlenderChild` starts the same program and writes the same commands
(gpu_worker/blender/README.md), and needs packages that a machine without a network may lack.
Here nobody waits for a child that hangs: the step as a whole is ended from outside.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu_check_records import Device, Scene, Setup

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "gpu_worker" / "blender" / "child_program.py"
WITHOUT_SYNC = Path(__file__).with_name("gpu_check_unsynced.py")
"""The same child, but that nothing stays synchronised between two renders."""

Answer = dict[str, Any]
Region = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, half open, y up."""


class ChildError(Exception):
    """The child failed, or is gone; the text has its last words."""


CACHES = ("cuda", "optix", "cycles", "sycl", "neo", "comgr")


def kernel_caches(folder: Path) -> dict[str, str]:
    """Where drivers keep compiled kernels; the folders are made. The same as
    `gpu_worker.slot.kernels.variables`, whose module needs more than there may be here.
    """
    places = {name: folder / name for name in CACHES}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return {
        "CUDA_CACHE_PATH": str(places["cuda"]),
        "CUDA_CACHE_MAXSIZE": str(4 << 30),
        "OPTIX_CACHE_PATH": str(places["optix"]),
        "XDG_CACHE_HOME": str(places["cycles"]),
        "SYCL_CACHE_PERSISTENT": "1",
        "SYCL_CACHE_THRESHOLD": "0",
        "SYCL_CACHE_DIR": str(places["sycl"]),
        "NEO_CACHE_PERSISTENT": "1",
        "NEO_CACHE_DIR": str(places["neo"]),
        "AMD_COMGR_CACHE": "1",
        "AMD_COMGR_CACHE_DIR": str(places["comgr"]),
    }


class Child:
    """One Blender child on one device, from its start to `close`; a context manager."""

    def __init__(self, setup: Setup, device: Device, program: Path | None = None) -> None:
        self.setup, self.device = setup, device
        caches = kernel_caches(setup.folder / "kernels")
        self._log = (setup.folder / f"child-{os.getpid()}-{id(self)}.log").open("w+b")
        reading, writing = os.pipe()
        command = [sys.executable, "-I", "-u", str(program or device.program or PROGRAM)]
        command += ["--events-fd", str(writing), "--threads", "0" if device.is_cpu else str(device.threads)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(writing,),
            env=os.environ | caches | device.variables,
        )
        os.close(writing)
        self._events = os.fdopen(reading, encoding="utf-8")
        self.build = self._answer()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._events.close()
        self._log.close()

    def open(self, scene: Scene) -> str:
        """Hold a scene warm; the device's name as Cycles says it."""
        chosen = {"backend": self.device.backend, "index": self.device.index, "threads": self.device.threads}
        return str(self._ask({"cmd": "open", "blend": scene.blend, "device": chosen})["device_name"])

    def tile(self, scene: Scene, path: Path, region: Region | None = None) -> Answer:
        """Render a region of the frame, all of it for None, to the EXR `path`, as a tile is rendered."""
        command = self._frame("render", scene, path) | {"output": "linear"}
        return self._ask(command | {"region": _region(region or _whole(scene))})

    def final(self, scene: Scene, folder: Path, file_format: str) -> Path:
        """Let Blender write the whole frame as it would by itself; where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        command = self._frame("render", scene, folder) | {"output": "final"}
        command["settings"]["format"] = file_format
        answer = self._ask(command | {"region": _region(_whole(scene))})
        return folder / str(answer["files"][0])

    def audit(self, scene: Scene, folder: Path, crops: list[Region]) -> Answer:
        """Render crops with all samples and the frame with two."""
        folder.mkdir(parents=True, exist_ok=True)
        command = self._frame("audit", scene, folder) | {"crops": [_region(crop) for crop in crops]}
        sparse = {"first": 1, "count": 2}
        return self._ask(command | {"sparse": sparse, "region": _region(_whole(scene))})

    def _frame(self, name: str, scene: Scene, path: Path) -> dict[str, Any]:
        settings = {"samples": scene.samples, "seed": scene.seed}
        return {
            "cmd": name,
            "frame": scene.frame,
            "settings": settings | {"resolution_percentage": 100, "format": "OPEN_EXR"},
            "asked": ["samples"],
            "width": scene.width,
            "height": scene.height,
            "area": _region(_whole(scene)),
            "canvas": _region(_whole(scene)),
            "path": str(path),
        }

    def _ask(self, command: dict[str, Any]) -> Answer:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ChildError(self._last_words()) from error
        return self._answer()

    def _answer(self) -> Answer:
        for line in self._events:
            event: Answer = json.loads(line)
            if event["event"] == "failed":
                raise ChildError(f"{self.device.name}: {event['message']}")
            if event["event"] != "progress":
                return event
        raise ChildError(self._last_words())

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        said = " / ".join(line.strip() for line in lines if line.strip())[-300:]
        return f"{self.device.name}: Blender ended with status {status}: {said or 'no word'}"


def _whole(scene: Scene) -> Region:
    return 0, 0, scene.width, scene.height


def _region(region: Region) -> dict[str, int]:
    return dict(zip(("x0", "y0", "x1", "y1"), region, strict=True))


class DeviceMemory:
    """The most memory of one NVIDIA GPU in use while it is watched, in MB above what was before."""

    def __init__(self, index: int) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        self._query = [*query, f"--id={index}"]
        self.before = self._used()
        self.peak = self.before
        self._over = threading.Event()

    def _used(self) -> int | None:
        try:
            answer = subprocess.run(self._query, capture_output=True, text=True, check=True, timeout=10)
            return int(answer.stdout.split()[0])
        except (OSError, ValueError, IndexError, subprocess.SubprocessError):
            return None

    def watch(self) -> None:
        """Look until told that it is over."""
        while not self._over.wait(0.1):
            used = self._used()
            if used is not None:
                self.peak = max(self.peak or 0, used)

    def end(self) -> None:
        """It is over."""
        self._over.set()

    @property
    def taken(self) -> int | str:
        """MB; words where the driver does not tell."""
        if self.peak is None or self.before is None:
            return "not told"
        return self.peak - self.before


@contextmanager
def device_memory(device: Device) -> Iterator[DeviceMemory]:
    """Watch the memory of a GPU."""
    memory = DeviceMemory(device.index)
    watching = threading.Thread(target=memory.watch, daemon=True)
    if memory.before is not None:
        watching.start()
    try:
        yield memory
    finally:
        memory.end()


def timed(child: Child, scene: Scene, path: Path, count: int) -> tuple[float, list[Path]]:
    """Seconds a tile of `count` renders of one tile, one after the other, and where they are."""
    paths = [path.with_name(f"{path.stem}-{number}.exr") for number in range(count)]
    began = time.monotonic()
    for each in paths:
        child.tile(scene, each)
    return (time.monotonic() - began) / count, paths

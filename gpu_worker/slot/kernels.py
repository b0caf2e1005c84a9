# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels of a GPU, compiled once for a machine, a Blender and a driver, by scenes of the node's own.

They lie in the node's folder. No stranger's scene can write there: what a scene could put into a cache of
kernels would run on the GPU under the next one. Children see them read-only, or, where a driver wants to
write to what it reads, as a copy of their own that is thrown away with them.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from farm_protocol.files import locked
from gpu_worker.blender.devices import Gpu
from gpu_worker.blender.process import BlenderChild, ChildCommand, ChildLimits, Device
from gpu_worker.blender.protocol import Ready
from gpu_worker.failures import TaskError
from gpu_worker.sandbox import bubblewrap, inner_user, removal

KERNELS = "kernels"
"""The folder for them in a node's."""

MADE = "made.json"
"""Written last: what is there without it was left half done."""

COPIED = ("cuda", "optix")
"""What each child gets a copy of. OptiX keeps a database (SQLite) and turns its cache off where it may not
write to it (`optixDeviceContextSetCacheLocation`); of CUDA's cache NVIDIA does not say that it is read
where it cannot be written.
"""

READ = ("cycles", "sycl", "neo", "comgr")
"""What is read-only for children: files of their own each, which Cycles, SYCL, Intel's and AMD's compilers
look up by name.
"""

UNSHARED = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM})
"""How systems say that they cannot share a file's blocks."""

CUDA_CACHE_BYTES = 4 << 30
"""The most that CUDA allows; its own choice is too small for several sets of kernels."""

SAID_EVERY = 20.0
"""Seconds between two sentences about the same compilation: each is told to everybody who waits."""

COMPILE_SECONDS = 6 * 3600.0
COMPILE_SILENCE = 3600.0
"""A driver that compiles says nothing meanwhile, and others have waited six minutes for one set of OptiX
kernels.
"""

log = structlog.get_logger()

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class KernelKey:
    """What kernels are good for: Blender's version and build, the back end, the GPU's name, the driver."""

    blender: str
    backend: str
    gpu: str
    driver: str

    def folder(self) -> str:
        """A folder's name for them."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:24]


def key_of(backend: str, gpu: Gpu, blender: Ready) -> KernelKey:
    """The kernels that a GPU needs."""
    return KernelKey(f"{blender.blender}-{blender.build}", backend, gpu.name, gpu.driver)


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels in a folder, of which children may see `READ`, and copies of `COPIED`. `seconds`: how long they
    took to be made.
    """

    key: KernelKey
    folder: Path
    seconds: float = 0.0

    def readable(self) -> tuple[Path, ...]:
        """Folders for a sandbox to show."""
        return tuple(self.folder / name for name in READ)

    def copy_to(self, folder: Path) -> None:
        """Make a child's own copies, of what is copied, in the new folder `folder`."""
        for name in COPIED:
            shutil.copytree(self.folder / name, folder / name, copy_function=_copy)


def variables(read: Path, own: Path) -> dict[str, str]:
    """What tells the drivers and Cycles where kernels are: below `read`, and `own` for those that are copied.
    Cycles puts what it compiles itself under XDG_CACHE_HOME (`path_cache_get`).
    """
    return {
        "CUDA_CACHE_PATH": str(own / "cuda"),
        "CUDA_CACHE_MAXSIZE": str(CUDA_CACHE_BYTES),
        "OPTIX_CACHE_PATH": str(own / "optix"),
        "XDG_CACHE_HOME": str(read / "cycles"),
        "SYCL_CACHE_PERSISTENT": "1",
        "SYCL_CACHE_THRESHOLD": "0",
        "SYCL_CACHE_DIR": str(read / "sycl"),
        "NEO_CACHE_PERSISTENT": "1",
        "NEO_CACHE_DIR": str(read / "neo"),
        "AMD_COMGR_CACHE": "1",
        "AMD_COMGR_CACHE_DIR": str(read / "comgr"),
    }


@dataclass(frozen=True, slots=True)
class Warmed:
    """A round of the node's own scenes: what Cycles calls the device, and seconds from the child's start."""

    device_name: str
    seconds: float


def warm(
    program: Path,
    device: Device,
    limits: ChildLimits,
    sandboxed: bool,
    work: Path,
    kernels: Kernels | None = None,
    target: Path | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Warmed:
    """Have a child render the node's own scenes: with `kernels` as a stranger's child has them, or writing
    what it compiles to the folder `target`. `work` is an empty folder. Raises TaskError.
    """
    started = time.monotonic()
    if kernels is not None:
        kernels.copy_to(work / "kernels")
        readable, where = kernels.readable(), (kernels.folder, work / "kernels")
    else:
        assert target is not None
        for name in (*COPIED, *READ):
            (target / name).mkdir(parents=True)
        readable, where = (), (target, target)
    writes = (work, *(() if target is None else (target,)))
    command = _command(program, device, sandboxed, readable, writes, variables(*where))
    child = BlenderChild(
        replace(limits, stall_seconds=COMPILE_SILENCE, total_seconds=COMPILE_SECONDS), command
    )
    child.start()
    try:
        done = child.warm(device, work, on_progress)
        return Warmed(done.device_name, time.monotonic() - started)
    finally:
        child.close()


def _command(
    program: Path,
    device: Device,
    sandboxed: bool,
    readable: tuple[Path, ...],
    writes: tuple[Path, ...],
    caches: dict[str, str],
) -> ChildCommand:
    given = bubblewrap.environment(os.environ) | {"TMPDIR": str(writes[0])} | caches
    if not sandboxed:
        given |= {"HOME": str(writes[0])}
        return ChildCommand(program, variables=given, threads=device.threads, writes=writes)
    folders = (program.resolve().parent, *readable)
    for folder in writes:
        inner_user.let_write_below(folder)
    box = bubblewrap.Sandbox(readable=folders, writable=writes, gpu=device.backend != "CPU")
    return ChildCommand(program, box.wrap, given, device.threads, writes)


class KernelStore:
    """The kernels in a node's folder. Several processes may use one folder: each kind is compiled by one, and
    the others wait.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def held(self, key: KernelKey) -> Kernels | None:
        """What is there for `key`, whole."""
        folder = self._folder / key.folder()
        try:
            seconds = float(json.loads((folder / MADE).read_text())["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Kernels(key, folder, seconds)

    def get(self, key: KernelKey, compile_into: Callable[[Path], Warmed]) -> Kernels:
        """The kernels for `key`; `compile_into` makes them in an empty folder where they are not there. What
        was made for another driver or Blender of the same GPU is removed. Raises what `compile_into` raises.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone(key):
            held = self.held(key) or self._make(key, compile_into)
        self._remove_outdated(key)
        return held

    def _make(self, key: KernelKey, compile_into: Callable[[Path], Warmed]) -> Kernels:
        target = self._folder / key.folder()
        removal.remove(target)
        part = self._folder / f"{key.folder()}.part-{uuid.uuid4().hex[:8]}"
        part.mkdir()
        try:
            made = compile_into(part)
            inner_user.take_back(part)
            (part / MADE).write_text(json.dumps({"key": asdict(key), "seconds": made.seconds}))
            part.rename(target)
        finally:
            removal.remove(part)
        return Kernels(key, target, made.seconds)

    @contextlib.contextmanager
    def _alone(self, key: KernelKey) -> Iterator[None]:
        with locked(self._folder / f"{key.folder()}.lock"):
            for left in self._folder.glob(f"{key.folder()}.part-*"):
                removal.remove(left)
            yield

    def _remove_outdated(self, key: KernelKey) -> None:
        for file in self._folder.glob(f"*/{MADE}"):
            try:
                other = KernelKey(**json.loads(file.read_text())["key"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if other != key and (other.backend, other.gpu) == (key.backend, key.gpu):
                log.info("kernels_removed", gpu=other.gpu, driver=other.driver, blender=other.blender)
                removal.remove(file.parent)
                (self._folder / f"{file.parent.name}.lock").unlink(missing_ok=True)


def _copy(source: str, target: str) -> None:
    """One file. Where the file system can, both share their blocks until one is written to."""
    with open(source, "rb") as old, open(target, "wb") as new:
        try:
            _share(old.fileno(), new.fileno())
        except OSError as error:
            # Not between two kinds of file systems, and not in all of them.
            if error.errno not in UNSHARED:
                raise
            old.seek(0)
            new.truncate(0)
            new.seek(0)
            shutil.copyfileobj(old, new)


def _share(old: int, new: int) -> None:
    left = os.fstat(old).st_size
    while left > 0:
        moved = os.copy_file_range(old, new, left)
        if moved == 0:
            return
        left -= moved


def told(key: KernelKey, seconds: float, done: int, total: int) -> str:
    """What is said while kernels are compiled, `done` of `total` sets."""
    sets = f"{done} of {total} sets, " if total else ""
    return (
        f"Compiling the kernels for {key.gpu} ({key.backend}), once for this driver ({key.driver}) and this "
        f"Blender: {sets}{seconds - seconds % SAID_EVERY:.0f} s so far."
    )


def failed(key: KernelKey, error: TaskError) -> str:
    """What is said where they cannot be compiled."""
    return f"The kernels for {key.gpu} ({key.backend}, driver {key.driver}) cannot be made: {error.sentence}"

# SPDX-License-Identifier: GPL-3.0-or-later
"""The bubblewrap sandbox strangers' files are opened in.

Inside there is no network, no other process, no home folder and nothing of the machine but its system
libraries, the Python environment and what the caller names.
"""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from glob import glob
from pathlib import Path

from frame_splitter.errors import FarmError

PRIVATE = "/private"
"""Where a sandboxed program finds its own empty home and temporary folder."""

TEMPORARY = PRIVATE + "/scratch"

MEMORY_FOLDER_SIZE = 256 << 20
"""Bytes each of the sandbox's private folders may hold."""

SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SYSTEM_SETTINGS = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/glvnd",
    "/etc/vulkan",
    "/etc/OpenCL",
    "/etc/localtime",
)
GPU_DEVICES = ("/dev/nvidia*", "/dev/dri", "/dev/kfd")
GPU_SYSTEM = ("/sys/dev", "/sys/devices", "/sys/class/drm", "/sys/bus/pci", "/sys/module/nvidia", "/opt/rocm")


class SandboxError(FarmError):
    """The sandbox cannot be used on this machine, or not for this folder."""

    code = "sandbox"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What one sandboxed program may see beyond the system: folders (or files) by absolute path,
    which keep their paths inside.
    """

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    gpu: bool = False

    def wrap(self, command: list[str]) -> list[str]:
        """`command` as it runs inside. Raises SandboxError where bubblewrap is not installed or a
        folder would show the home folder.
        """
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxError("bubblewrap is not installed.")
        return [program, *_isolation(program), *self._binds(), "--remount-ro", "/", "--", *command]

    def _binds(self) -> list[str]:
        binds = list(_system_binds())
        if self.gpu:
            binds += _gpu_binds()
        for path in (*python_folders(), *self.readable):
            binds += ["--ro-bind", str(_checked(path)), str(path)]
        for path in self.writable:
            binds += ["--bind", str(_checked(path)), str(path)]
        return binds


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The few variables a sandboxed program gets; of `inherited` only the choice of GPU."""
    chosen = {name: inherited[name] for name in GPU_VARIABLES if name in inherited}
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": f"{PRIVATE}/home",
        "TMPDIR": TEMPORARY,
        **GPU_ORDER,
        **chosen,
    }


GPU_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""CUDA puts its fastest GPU first, nvidia-smi and Ray go by addresses: where a machine has two kinds, one
number would mean two GPUs.
"""

GPU_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "ONEAPI_DEVICE_SELECTOR",
)


def _isolation(program: str) -> list[str]:
    flags = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if _knows(program, "--disable-userns"):
        flags.append("--disable-userns")
    return flags


@cache
def _knows(program: str, option: str) -> bool:
    """Older bubblewraps lack some options."""
    answer = subprocess.run([program, "--help"], capture_output=True, text=True, check=False, timeout=20)
    return option in answer.stdout + answer.stderr


@cache
def _system_binds() -> tuple[str, ...]:
    binds: list[str] = []
    for name in SYSTEM_FOLDERS:
        path = Path(name)
        if path.is_symlink():
            binds += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            binds += ["--ro-bind", name, name]
    for name in SYSTEM_SETTINGS:
        binds += ["--ro-bind-try", name, name]
    return (*binds, "--ro-bind-try", CPUS, CPUS, "--proc", "/proc", "--dev", "/dev", *_memory_folders())


CPUS = "/sys/devices/system/cpu"


def _memory_folders() -> list[str]:
    """Private folders in memory, bounded where bubblewrap can, because nothing else counts their pages."""
    size = ["--size", str(MEMORY_FOLDER_SIZE)] if _knows(shutil.which("bwrap") or "", "--size") else []
    folders = [part for name in ("/tmp", PRIVATE, "/dev/shm") for part in (*size, "--tmpfs", name)]  # noqa: S108
    return [*folders, "--dir", f"{PRIVATE}/home", "--dir", TEMPORARY, "--remount-ro", "/dev"]


def _gpu_binds() -> list[str]:
    binds: list[str] = []
    for pattern in GPU_DEVICES:
        for device in sorted(glob(pattern)):
            binds += ["--dev-bind-try", device, device]
    for name in GPU_SYSTEM:
        binds += ["--ro-bind-try", name, name]
    return binds


@cache
def python_folders() -> tuple[Path, ...]:
    """The folders this Python environment is made of, without those of the system."""
    interpreter = Path(sys.executable).resolve().parent.parent
    libraries = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return _outermost([interpreter, *map(Path, (sys.prefix, sys.base_prefix, *libraries))])


def _outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    """`paths` without those the system folders or another of them already contain."""
    kept: list[Path] = []
    for path in sorted(set(paths), key=lambda one: len(one.parts)):
        if not any(path.is_relative_to(other) for other in (*kept, *map(Path, SYSTEM_FOLDERS))):
            kept.append(path)
    return tuple(kept)


def _checked(path: Path) -> Path:
    """`path`, unless binding it would show the home folder or the whole machine."""
    if shows_home(path):
        raise SandboxError(
            f"{path} holds the home folder, which a sandboxed scene must not see: put it into a folder "
            f"of its own."
        )
    return path


def shows_home(path: Path) -> bool:
    """Whether `path` is the home folder or one that contains it."""
    home = Path.home().resolve()
    return home.is_relative_to(path.resolve())


@cache
def unavailable() -> str | None:
    """Why scenes cannot be sandboxed here (a sentence), or None where they can. Tries it for real once:
    bubblewrap may be installed and yet not permitted.
    """
    try:
        command = Sandbox().wrap([sys.executable, "-I", "-S", "-c", "print('inside')"])
    except SandboxError as error:
        return error.sentence
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not start: {error}"
    if trial.stdout.strip() != "inside":
        reason = trial.stderr.strip().splitlines()
        return f"bubblewrap is not permitted here: {reason[-1] if reason else 'it said nothing'}"
    return None

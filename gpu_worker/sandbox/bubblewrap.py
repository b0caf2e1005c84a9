# SPDX-License-Identifier: GPL-3.0-or-later
"""The bubblewrap sandbox strangers' files are opened in.

Inside there is no network, no other process, no home folder and nothing of the machine but its system
libraries, the Python environment and what the caller names. Nothing in it ever runs as root: where root
starts it, it runs as a user of its own, whose number nobody else has, and an ordinary user's sandbox is a
user namespace. `inside/enter.py` is its first program. Its commands are to be started by `launch.py`,
which binds bubblewrap itself.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from glob import glob
from pathlib import Path

from gpu_worker.sandbox.inner_user import SandboxError as SandboxError  # noqa: PLC0414
from gpu_worker.sandbox.inner_user import counts_processes, is_root, let_write, own_user, shown
from gpu_worker.sandbox.inside.syscalls import MACHINES

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
KERNEL_FILES = (
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/proc/scsi",
    "/proc/asound",
)
"""What steers the kernel: root may write there without any capability, so nobody may inside."""

KERNEL_SECRETS = ("/proc/keys", "/proc/key-users", "/proc/kcore", "/proc/timer_list", "/proc/sched_debug")

LAUNCHER = Path(__file__).with_name("launch.py")
INSIDE = "/inside"
"""Where the sandbox's first program lies."""

GPU_DEVICES = ("/dev/nvidia*", "/dev/dri", "/dev/kfd")
GPU_SYSTEM = ("/sys/dev", "/sys/devices", "/sys/class/drm", "/sys/bus/pci", "/sys/module/nvidia", "/opt/rocm")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What one sandboxed program may see beyond the system: folders (or files) by absolute path,
    which keep their paths inside. `fleeting` are folders of at most `room` bytes each that exist only
    inside, in memory, and end with it.
    """

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    gpu: bool = False
    fleeting: tuple[Path, ...] = ()
    room: int = MEMORY_FOLDER_SIZE

    def wrap(self, command: list[str]) -> list[str]:
        """`command` as it runs inside. Raises SandboxError where bubblewrap is not installed or a
        folder would show the home folder.
        """
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxError("bubblewrap is not installed.")
        if (machine := os.uname().machine) not in MACHINES:
            raise SandboxError(f"There is no filter of system calls for {machine}.")
        binds = _with_parents(self._binds()) if is_root() else self._binds()
        return [program, *_isolation(program), *binds, "--remount-ro", "/", "--", *self._entry(), *command]

    def _binds(self) -> list[str]:
        binds = [*_system_binds(), "--ro-bind", str(Path(__file__).with_name("inside")), INSIDE]
        if self.gpu:
            binds += _gpu_binds()
        for path in (*python_folders(), *(part for one in self.readable for part in shown(_checked(one)))):
            binds += ["--ro-bind", str(path), str(path)]
        for path in self.writable:
            let_write(_checked(path))
            binds += ["--bind", str(path), str(path)]
        for path in self.fleeting:
            binds += _memory_folder(str(path), self.room)
        return binds

    def _entry(self) -> list[str]:
        """The program that gives up what bubblewrap leaves, and what it is to become."""
        program = [sys.executable, "-I", "-S", f"{INSIDE}/enter.py"]
        if not is_root():
            return [*program, "-", "-", str(MOST_PROCESSES) if counts_processes() else "-"]
        groups = ",".join(map(str, _gpu_groups())) if self.gpu else ""
        return [*program, str(own_user()), groups or "-", str(MOST_PROCESSES)]


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


MOST_PROCESSES = 512 + 16 * (os.cpu_count() or 1)
"""Processes and threads of one sandbox. Blender starts a few for each core."""


def _gpu_groups() -> tuple[int, ...]:
    """Groups that may use the GPUs' devices, where not everybody may."""
    found = [os.stat(name) for pattern in GPU_DEVICES for name in _devices(pattern)]
    groups = {one.st_gid for one in found if one.st_mode & 0o060 and not one.st_mode & 0o006}
    return tuple(sorted(groups - {0}))


def _devices(pattern: str) -> list[str]:
    return [name for one in glob(pattern) for name in ([one] if not os.path.isdir(one) else glob(one + "/*"))]


def _isolation(program: str) -> list[str]:
    flags = ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if is_root():
        # Without a user namespace: in one that root makes, its user is root for the kernel's files.
        flags += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            flags += ["--cap-add", capability]
        return flags
    flags += ["--unshare-all", "--unshare-user"]
    if _knows(program, "--disable-userns"):
        flags.append("--disable-userns")
    return flags


def bounds_folders(program: str) -> bool:
    """Whether this bubblewrap gives folders in memory a size."""
    return _knows(program, "--size")


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
    binds += ["--ro-bind-try", CPUS, CPUS, "--proc", "/proc"]
    for name in KERNEL_FILES:
        binds += ["--ro-bind-try", name, name]
    for name in filter(os.path.exists, KERNEL_SECRETS):
        binds += ["--ro-bind", "/dev/null", name]
    return (*binds, "--dev", "/dev", *_memory_folders())


CPUS = "/sys/devices/system/cpu"
MEMORY_FOLDERS = ("/tmp", PRIVATE, "/dev/shm")  # noqa: S108


def _memory_folders() -> list[str]:
    """Private folders in memory."""
    folders = [part for name in MEMORY_FOLDERS for part in _memory_folder(name, MEMORY_FOLDER_SIZE)]
    own = [part for name in (f"{PRIVATE}/home", TEMPORARY) for part in (*_mode("0777"), "--dir", name)]
    return [*folders, *own, "--remount-ro", "/dev"]


def _memory_folder(name: str, size: int) -> list[str]:
    """A folder in memory, bounded where bubblewrap can, for whatever user there is inside."""
    bounds = ["--size", str(size)] if bounds_folders(shutil.which("bwrap") or "") else []
    return [*_mode("1777"), *bounds, "--tmpfs", name]


def _with_parents(options: list[str]) -> list[str]:
    """`options` with the folders that their mounts lie in: bubblewrap makes them for its own user alone."""
    told, made = [], {"/"}
    for place, option in enumerate(options):
        if option in ("--ro-bind", "--ro-bind-try", "--bind", "--dev-bind-try"):
            for parent in reversed(Path(options[place + 2]).parents):
                if str(parent) not in made and not str(parent).startswith(("/proc", "/dev")):
                    told += ["--perms", "0755", "--dir", str(parent)]
                    made.add(str(parent))
        elif option == "--tmpfs":
            made -= {one for one in made if Path(one).is_relative_to(options[place + 1])}
        told.append(option)
    return told


def _mode(mode: str) -> list[str]:
    return ["--perms", mode] if is_root() else []


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
        command = Sandbox().wrap([sys.executable, "-I", "-S", "-c", LOOK])
    except SandboxError as error:
        return error.sentence
    launched = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *command]
    try:
        trial = subprocess.run(launched, capture_output=True, text=True, timeout=60, check=False, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not start: {error}"
    try:
        return _hole(json.loads(trial.stdout))
    except ValueError:
        reason = trial.stderr.strip().splitlines()
        return f"bubblewrap is not permitted here: {reason[-1] if reason else 'it said nothing'}"


LOOK = """
import json, os
kernel = "/proc/sys/kernel/"
def status_of(process):
    with open(f"/proc/{process}/status") as file:
        return dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
def first_is_bound():
    try:
        first = status_of(1)
    except OSError:
        return True
    return first.get("Seccomp") == "2" or str(os.getuid()) not in first["Uid"].split()
status = status_of("self")
print(json.dumps({
    "user": os.getuid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapPrm"], 16),
    "filtered": status.get("Seccomp") == "2",
    "first": first_is_bound(),
    "settings": any(os.access(kernel + name, os.W_OK) for name in os.listdir(kernel)),
}))
"""
"""What the sandbox's first trial says of itself."""


def _hole(seen: Mapping[str, object]) -> str | None:
    """What is wrong with a sandbox that starts."""
    if seen["user"] == 0:
        return "what runs in bubblewrap is root here"
    if seen["capabilities"] or seen["settings"]:
        return "what runs in bubblewrap has privileges here"
    if not seen["filtered"]:
        return "this kernel filters no system calls"
    return None if seen["first"] else "this bubblewrap filters no system calls of its own process inside"

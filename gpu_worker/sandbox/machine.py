# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine gives to hold a stranger's scene, what it lacks, and how that is mended."""

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from gpu_worker.sandbox import bubblewrap as sandbox
from gpu_worker.sandbox import inner_user
from gpu_worker.sandbox.control_groups import groups
from gpu_worker.sandbox.inside.syscalls import MACHINES

APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
USERNS_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
MOST_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
CONTAINERS = {"docker": Path("/.dockerenv"), "podman": Path("/run/.containerenv")}

PROFILE = """\
sudo tee /etc/apparmor.d/bwrap-render-farm >/dev/null <<'END'
abi <abi/4.0>,
include <tunables/global>
profile bwrap-render-farm /usr/bin/bwrap flags=(unconfined) {
  userns,
}
END
sudo apparmor_parser -r /etc/apparmor.d/bwrap-render-farm"""
"""Ubuntu's own way to let one program make user namespaces."""

CONTAINER = (
    "{name} run --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined --cap-add SYS_ADMIN --cap-add NET_ADMIN ...\n"
    "(the sandbox then filters system calls itself; with an ordinary user in the container the two --cap-add "
    "are not needed)"
)
DELEGATION = "systemd-run --user --scope -p Delegate=yes gpu-worker run ..."
LOOKED_AT = (
    "looked at five times a second, not bounded: what the kernel holds for a scene unseen ends the scene's "
    "child only once the whole machine is short of memory"
)
NONE = "not without the sandbox"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found. `reason` is why there is no sandbox; `kinds` are what control groups bound."""

    root: bool
    bubblewrap: bool
    reason: str | None
    apparmor: bool
    forbidden: str
    container: str
    machine: str
    kinds: tuple[str, ...]
    counted: bool
    sized: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that holds a scene: whether this machine has it, in words, and how to get it."""

    name: str
    there: bool
    detail: str
    mend: str = ""


def find() -> Facts:
    """Those of this machine."""
    program = shutil.which("bwrap")
    return Facts(
        root=inner_user.is_root(),
        bubblewrap=program is not None,
        reason=sandbox.unavailable(),
        apparmor=_read(APPARMOR) == "1",
        forbidden=_forbidden(),
        container=next((name for name, mark in CONTAINERS.items() if mark.exists()), ""),
        machine=os.uname().machine,
        kinds=groups().kinds,
        counted=inner_user.counts_processes(),
        sized=program is not None and sandbox.bounds_folders(program),
    )


def table(facts: Facts) -> tuple[Row, ...]:
    """What the facts mean, the most needed first."""
    stands = facts.reason is None
    here = "as root, so that it is another user inside" if facts.root else "in a user namespace"
    return (
        Row("bubblewrap", facts.bubblewrap, *_installed(facts)),
        Row("sandbox", stands, here if stands else facts.reason or "", _mend(facts)),
        Row("no root inside", stands, _inside(facts) if stands else NONE),
        Row("kernel settings", stands, "read-only" if stands else NONE),
        Row("session keyring", stands, "a new one, and none of its calls" if stands else NONE),
        Row("system calls", stands and facts.machine in MACHINES, _filter(facts, stands)),
        Row("memory", "memory" in facts.kinds, *_bounded(facts, "memory", LOOKED_AT)),
        Row("processes", "pids" in facts.kinds or facts.counted, *_processes(facts)),
        Row("CPU time", "cpu" in facts.kinds, *_bounded(facts, "cpu", "a courtesy of Blender's")),
        Row("output and scratch", stands and facts.sized, _folders(facts)),
    )


def _inside(facts: Facts) -> str:
    return "a user of its own" if facts.root else "its user, without capabilities"


def takes(facts: Facts) -> str:
    """Whose scenes the node takes."""
    if facts.reason is None:
        return "scenes of anybody"
    return "only scenes of this node's own user; nobody else's, until there is a sandbox"


def text(facts: Facts) -> list[str]:
    """The table as lines."""
    lines = ["", "what holds a stranger's scene here:"]
    for row in table(facts):
        lines.append(f"  {'yes' if row.there else 'NO ':3}  {row.name:18}  {row.detail}")
        if not row.there and row.mend:
            lines += [f"       {line}" for line in row.mend.splitlines()]
    return [*lines, f"takes:   {takes(facts)}"]


def document(facts: Facts) -> dict[str, object]:
    """The same for programs."""
    return {
        "sandbox": [asdict(row) for row in table(facts)],
        "takes": takes(facts),
        "sandboxed": facts.reason is None,
    }


def _installed(facts: Facts) -> tuple[str, str]:
    return ("installed", "") if facts.bubblewrap else ("not installed", "sudo apt-get install -y bubblewrap")


def _mend(facts: Facts) -> str:
    if facts.reason is None or not facts.bubblewrap:
        return ""
    if facts.root and "Permission denied" in facts.reason:
        folders = " ".join(map(str, sandbox.python_folders()))
        return (
            f"What root opens runs as another user, who must be able to read Python:\nchmod -R o+rX {folders}"
        )
    if facts.container:
        return CONTAINER.format(name=facts.container)
    if facts.apparmor and not facts.root:
        return f"This system lets only named programs make user namespaces. Name bubblewrap:\n{PROFILE}"
    return facts.forbidden


def _forbidden() -> str:
    if _read(USERNS_CLONE) == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    return "sudo sysctl -w user.max_user_namespaces=15000" if _read(MOST_NAMESPACES) == "0" else ""


def _filter(facts: Facts, stands: bool) -> str:
    if facts.machine in MACHINES:
        return "filtered" if stands else NONE
    return f"no filter for {facts.machine}, only for {' and '.join(MACHINES)}"


def _bounded(facts: Facts, kind: str, otherwise: str) -> tuple[str, str]:
    if kind in facts.kinds:
        return "bounded by a control group", ""
    return f"no control group for it: {otherwise}", _delegate(facts)


def _delegate(facts: Facts) -> str:
    if facts.container:
        return f"{facts.container} run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup ..."
    return "" if facts.root else DELEGATION


def _processes(facts: Facts) -> tuple[str, str]:
    if "pids" in facts.kinds:
        return "bounded by a control group", ""
    if facts.counted:
        return "bounded for each sandbox's user (RLIMIT_NPROC)", ""
    return "not bounded: this kernel counts them for all of a user's programs", _delegate(facts)


def _folders(facts: Facts) -> str:
    if facts.reason is not None:
        return "on disk, counted every two seconds"
    return "in memory, of bounded size, gone with the child" if facts.sized else "in memory, of any size"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

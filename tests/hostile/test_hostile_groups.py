# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups, on folders laid out as the kernel's are, and on this machine's where it gives any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_worker.sandbox import machine
from gpu_worker.sandbox.bubblewrap import LAUNCHER
from gpu_worker.sandbox.control_groups import Bounds, Groups, groups

BOUNDS = Bounds(1 << 30, 500, 2.5)


def second_version(root: Path, enabled: dict[str, str]) -> None:
    """Folders by name, with the controllers that groups below them have."""
    for name, kinds in enabled.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text("")
        (folder / "cgroup.controllers").write_text("cpu memory pids io")
        (folder / "cgroup.subtree_control").write_text(kinds)


def own(tmp_path: Path, text: str) -> Path:
    (tmp_path / "own").write_text(text)
    return tmp_path / "own"


def written(group) -> dict[str, str]:
    return {file.name: file.read_text() for folder in group._folders for file in folder.iterdir()}


def test_the_second_version_bounds_memory_swap_processes_and_time(tmp_path):
    second_version(tmp_path / "root", {"a": "cpu memory pids", "a/b": ""})
    (tmp_path / "root/a/b/cgroup.controllers").write_text("")
    made = Groups(tmp_path / "root", own(tmp_path, "0::/a/b\n"))
    assert made.kinds == ("memory", "pids", "cpu")
    group = made.make(BOUNDS)
    assert written(group) == {
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "500",
        "cpu.max": "250000 100000",
    }
    assert group.joins == ("--group", str(group._folders[0] / "cgroup.procs"))
    assert group._folders[0].parent == tmp_path / "root/a"
    (group._folders[0] / "memory.events").write_text("low 0\noom 3\noom_kill 0\n")
    assert not group.ran_out_of_memory()
    (group._folders[0] / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert group.ran_out_of_memory()


def test_controllers_are_switched_on_where_they_may_be(tmp_path):
    """The kernel adds a word for `+memory`; a file keeps the last that was written."""
    second_version(tmp_path / "root", {"a": "memory"})
    made = Groups(tmp_path / "root", own(tmp_path, "0::/a\n"))
    assert "+" in (tmp_path / "root/a/cgroup.subtree_control").read_text()
    assert made.kinds == ()


def test_groups_of_others_are_none(tmp_path):
    second_version(tmp_path / "root", {"a": "cpu memory pids"})
    for name in ("a/cgroup.procs", "a"):
        (tmp_path / "root" / name).chmod(0o500)
    if os.access(tmp_path / "root/a", os.W_OK):
        pytest.skip("root may write everywhere")
    made = Groups(tmp_path / "root", own(tmp_path, "0::/a\n"))
    assert made.kinds == ()
    assert made.make(BOUNDS).joins == ()


def test_the_first_version_has_one_for_each_kind(tmp_path):
    for kind in ("memory", "pids"):
        (tmp_path / "root" / kind / "me").mkdir(parents=True)
        (tmp_path / "root" / kind / "me" / "cgroup.procs").write_text("")
    made = Groups(tmp_path / "root", own(tmp_path, "3:memory:/me\n2:pids:/me\n1:cpu:/\n0::/\n"))
    assert made.kinds == ("memory", "pids")
    group = made.make(BOUNDS)
    assert written(group) == {
        "memory.limit_in_bytes": str(1 << 30),
        "memory.memsw.limit_in_bytes": str(1 << 30),
        "pids.max": "500",
    }
    assert len(group.joins) == 4


def test_what_a_killed_node_left_is_removed(tmp_path):
    second_version(tmp_path / "root", {"a": "cpu memory pids"})
    left = tmp_path / "root/a/render-farm-4194305-0123"
    mine = tmp_path / f"root/a/render-farm-{os.getpid()}-0123"
    left.mkdir()
    mine.mkdir()
    Groups(tmp_path / "root", own(tmp_path, "0::/a\n"))
    assert (left.exists(), mine.exists()) == (False, True)


@pytest.mark.skipif("pids" not in groups().kinds, reason="this machine gives no control group for processes")
def test_the_kernel_keeps_them(tmp_path):
    group = groups().make(Bounds(200 << 20, 20))
    program = "import os\nfor _ in range(50):\n    if os.fork() == 0:\n        import time; time.sleep(30)"
    command = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *group.joins]
    try:
        with (tmp_path / "said").open("w") as said:
            subprocess.run([*command, sys.executable, "-c", program], stderr=said, check=False, timeout=60)
    finally:
        left = sum(len((folder / "cgroup.procs").read_text().split()) for folder in group._folders)
        group.remove()
    assert left > 0
    assert "Resource temporarily unavailable" in (tmp_path / "said").read_text()
    assert not any(folder.exists() for folder in group._folders)


GOOD = machine.Facts(
    root=False,
    bubblewrap=True,
    reason=None,
    apparmor=False,
    forbidden="",
    container="",
    machine="x86_64",
    kinds=("memory", "pids", "cpu"),
    counted=True,
    sized=True,
)


def change(**fields):
    return machine.Facts(**{name: getattr(GOOD, name) for name in GOOD.__dataclass_fields__} | fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"bubblewrap": False, "reason": "bubblewrap is not installed."}, "apt-get install -y bubblewrap"),
        ({"reason": "setting up uid map: Permission denied", "apparmor": True}, "apparmor_parser -r"),
        ({"reason": "No permissions", "container": "docker"}, "docker run --security-opt seccomp=unconfined"),
        ({"reason": "No permissions", "container": "podman"}, "podman run --security-opt"),
        (
            {"reason": "No permissions", "forbidden": "sudo sysctl -w user.max_user_namespaces=15000"},
            "sysctl",
        ),
        ({"reason": "execvp: Permission denied", "root": True}, "chmod -R o+rX"),
        ({"kinds": ()}, "systemd-run --user --scope"),
        ({"kinds": (), "container": "docker"}, "--cgroupns=host"),
        ({"kinds": (), "counted": False}, "not bounded"),
        ({"machine": "riscv64", "reason": "There is no filter"}, "no filter for riscv64"),
    ],
)
def test_the_doctor_says_what_is_missing_and_how_to_have_it(fields, said):
    facts = change(**fields)
    text = "\n".join(machine.text(facts))
    assert said in text
    assert "NO " in text
    takes = "scenes of anybody" if facts.reason is None else "only scenes of this node's own user"
    assert takes in text
    document = machine.document(facts)
    assert document["sandboxed"] == (facts.reason is None)
    assert any(said in f"{row['detail']} {row['mend']}" for row in document["sandbox"])


def test_where_nothing_is_missing_nothing_is_to_be_mended():
    text = "\n".join(machine.text(GOOD))
    assert "NO " not in text
    assert "sudo" not in text

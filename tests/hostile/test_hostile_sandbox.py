# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that runs in the sandbox, as root's node and as an ordinary user's: what it can still do."""

import json
import os
import platform
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gpu_worker.sandbox import bubblewrap, inner_user, removal

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
NOBODY = 65534
KEYCTL = 250 if platform.machine() == "x86_64" else 219
IS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="an ordinary user's sandbox shows folders as they are")


def usable_by_others(program: Path) -> bool:
    """Whether an ordinary user can start a program, whose way may lead through root's home."""
    path = program.resolve()
    return all(one.stat().st_mode & stat.S_IXOTH for one in (path, *path.parents))


def python_for_others() -> str | None:
    candidates = (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin"))
    for one in filter(None, candidates):
        if usable_by_others(Path(one)):
            version = [one, "-c", "import sys; print(sys.version_info >= (3, 11))"]
            if subprocess.run(version, capture_output=True, text=True, check=False).stdout == "True\n":
                return one
    return None


def tried(user: str, folder: Path) -> dict:
    """What `box_inside.py` found."""
    program = folder / "box_inside.py"
    shutil.copy(HERE / program.name, program)
    folder.chmod(0o755)
    command = [sys.executable]
    if user == "ordinary" and IS_ROOT:
        python = python_for_others()
        if python is None:
            pytest.skip("no Python 3.11 here that another user than root may start")
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python]
    variables = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": str(PROJECT)}
    answer = subprocess.run(
        [*command, str(HERE / "box_outside.py"), str(program)],
        capture_output=True,
        text=True,
        env=variables,
        check=False,
        timeout=120,
    )
    if "no sandbox" in answer.stderr:
        pytest.skip(answer.stderr.strip())
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert lines, answer.stderr
    return lines[0] | (lines[1] if len(lines) > 1 else {}) | {"folder": str(folder)}


USERS = ["root", "ordinary"] if IS_ROOT else ["ordinary"]


@pytest.fixture(scope="module", params=USERS)
def found(request):
    # pytest's own folders are closed to the other user.
    with tempfile.TemporaryDirectory(prefix="box-") as folder:
        yield tried(request.param, Path(folder))


def test_the_kernel_refuses_every_call_that_no_renderer_needs(found):
    """By each of them code in a child left its sandbox, hid what it took, or came to the kernel's depths."""
    gone = {"clone3", "newer"}
    expected = {name: "ENOSYS" if name in gone else "EPERM" for name in found["calls"]}
    assert found["calls"] == expected


def test_calls_of_another_kind_of_machine_end_the_process(found):
    if "x32" not in found:
        pytest.skip("this machine has one kind of system call only")
    assert (found["old door"], found["x32"]) == (-31, -31)


def test_no_socket_but_those_of_unix(found):
    assert {name for name, what in found["sockets"].items() if what == "done"} == {"unix"}
    assert set(found["sockets"].values()) == {"done", "EAFNOSUPPORT"}
    assert found["pair"] == "done"


def test_nothing_is_typed_into_a_terminal(found):
    assert found["terminal"] != "done"


def test_settings_of_the_kernel_are_read_only(found):
    """As root, core_pattern was writable: the kernel then ran a scene's program outside, as root."""
    assert "/proc/sys/kernel/core_pattern" in found["kernel"]
    assert "done" not in found["kernel"].values()


def test_nobody_inside_is_root_or_can_become_it(found):
    users, groups, others = found["users"]
    assert 0 not in (*users, *groups, *others)
    assert len({*users, *groups}) <= 2
    assert found["root"] in ("EPERM", "EINVAL")
    assert {int(found["status"][name], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}
    assert (found["status"]["NoNewPrivs"], found["status"]["Seccomp"]) == ("1", "2")


def test_the_first_process_inside_is_bound_as_all_others_are(found):
    """An ordinary user's sandbox has it run as the same user: by /proc/1/mem it made every call that the
    filter refuses, and read keys of the node's session.
    """
    first = found["first"]
    if first is None:
        assert found["memory of the first"] == "EACCES"
        return
    assert (first["status"]["NoNewPrivs"], first["status"]["Seccomp"]) == ("1", "2")
    assert int(first["status"]["CapEff"], 16) == 0
    for name in ("Max open files", "Max core file size", "Max processes"):
        assert first["limits"][name] == found["limits"][name], name


def test_no_program_is_started_for_a_core_dump(found):
    """At 0 the kernel starts the one that core_pattern names all the same (its fs/coredump.c), at 1 none."""
    fixed = not IS_ROOT and resource.getrlimit(resource.RLIMIT_CORE)[1] == 0
    assert found["limits"]["Max core file size"] == ("0" if fixed else "1")


def test_bubblewrap_itself_has_a_session_keyring_of_its_own(tmp_path):
    show = f"{sys.executable} -I -S -c 'import ctypes; print(ctypes.CDLL(None).syscall({KEYCTL}, 0, -3, 1))'"
    (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{show}\n")
    (tmp_path / "bwrap").chmod(0o755)
    command = [str(tmp_path / "bwrap"), "--", "true"]
    launched = [sys.executable, "-I", "-S", str(bubblewrap.LAUNCHER), str(os.getpid()), *command]
    own, boxed = (
        subprocess.run(one, capture_output=True, text=True, check=True).stdout for one in (command, launched)
    )
    if int(own) < 0:
        pytest.skip("this kernel has no keyrings")
    assert int(boxed) > 0
    assert own != boxed


def test_open_files_are_bounded(found):
    assert int(found["limits"]["Max open files"]) <= 4096


def test_the_nodes_keys_are_not_even_listed(found):
    assert found["keys"] in ("EACCES", "EPERM", "ENOENT")


def test_the_first_process_does_not_tell_where_things_lie_outside(found):
    options = found["one"].split("\0--\0")[0]
    assert found["folder"] not in options
    assert "bind" not in options


def test_nothing_but_what_was_handed_over_is_open(found):
    assert found["descriptors"][:3] == ["0", "1", "2"]
    assert len(found["descriptors"]) <= 4, "the fourth is the listing itself"


def test_processes_are_counted_for_each_sandbox(found):
    assert "forks" in found or not inner_user.counts_processes()
    if "forks" in found:
        assert 50 < found["forks"] <= bubblewrap.MOST_PROCESSES


@pytest.mark.skipif(not IS_ROOT, reason="only root's sandboxes have users of their own")
def test_each_sandbox_is_another_user(monkeypatch):
    users = {inner_user.own_user() for _ in range(100)}
    assert len(users) == 100
    assert all(one in inner_user.UNUSED_USERS for one in users)


@pytest.mark.parametrize(
    ("uid_map", "users"),
    [
        ("0 0 4294967295\n", inner_user.UNUSED_USERS),
        ("0 100000 65536\n", range(32768, 65536)),
        ("0 1000 1\n1 100000 65536\n", range(32769, 65537)),
        ("0 1000 1\n", range(1, 1)),
    ],
)
def test_where_few_users_are_mapped_it_is_one_of_those_and_never_root(uid_map, users):
    assert inner_user._mapped_users(uid_map) == users


def test_a_sandbox_in_which_something_is_root_is_none():
    good = {"user": 5, "capabilities": 0, "settings": False, "filtered": True, "first": True}
    assert bubblewrap._hole(good) is None
    for wrong in (
        {"first": False},
        {"user": 0},
        {"capabilities": 1},
        {"settings": True},
        {"filtered": False},
    ):
        assert bubblewrap._hole(good | wrong) is not None


def test_a_machine_there_is_no_filter_for_has_no_sandbox(monkeypatch):
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: "/usr/bin/true")
    monkeypatch.setattr(
        bubblewrap.os, "uname", lambda: os.uname_result(("Linux", "n", "6.1", "v", "riscv64"))
    )
    with pytest.raises(bubblewrap.SandboxError, match="riscv64"):
        bubblewrap.Sandbox().wrap(["x"])


@as_root
def test_a_file_that_only_root_may_read_is_named(tmp_path):
    (tmp_path / "scene.blend").write_text("x")
    (tmp_path / "scene.blend").chmod(0o600)
    with pytest.raises(bubblewrap.SandboxError, match=r"chmod o\+r"):
        bubblewrap.Sandbox(readable=(tmp_path,)).wrap(["x"])


@pytest.fixture
def closed(tmp_path):
    """A folder that only root may enter, with a picture in it."""
    folder = tmp_path / "closed"
    (folder / "open").mkdir(parents=True)
    for name in ("a.png", "open/b.png"):
        (folder / name).write_text("x")
        (folder / name).chmod(0o644)
    (folder / "open").chmod(0o755)
    folder.chmod(0o700)
    return folder


@as_root
@pytest.mark.parametrize("target", ["/", ".", "..", "/etc/passwd", "nowhere", "a.png"])
def test_links_in_a_closed_folder_lead_nowhere(closed, target):
    """Its parts were mounted one by one, and a link to / as the whole machine; two to "." without end."""
    for name in ("one", "two"):
        (closed / name).symlink_to(target)
    assert inner_user.shown(closed) == (closed / "a.png", closed / "open")
    options = bubblewrap.Sandbox(readable=(closed,)).wrap(["x"])
    assert not [one for one in options if one.startswith((f"{closed}/one", f"{closed}/two"))]


@as_root
def test_only_files_and_folders_of_a_closed_folder_are_shown(closed):
    os.mkfifo(closed / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(closed / "socket"))
    os.mknod(closed / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert inner_user.shown(closed) == (closed / "a.png", closed / "open")


@as_root
@pytest.mark.parametrize("kind", ["wide", "deep"])
def test_a_closed_folder_with_too_much_in_it_is_named_with_its_mend(closed, kind):
    if kind == "wide":
        for number in range(inner_user.MOST_SHOWN + 1):
            (closed / str(number)).mkdir()
    else:
        (closed / "/".join("d" * (inner_user.MOST_SHOWN + 1))).mkdir(parents=True)
        for folder in closed.rglob("d"):
            folder.chmod(0o700)
    with pytest.raises(bubblewrap.SandboxError, match=r"chmod o\+rx"):
        bubblewrap.Sandbox(readable=(closed,)).wrap(["x"])
    removal.remove(closed)


@as_root
def test_the_most_that_is_shown_is_not_too_much_for_bubblewrap(closed):
    for number in range((inner_user.MOST_SHOWN - 5) // 2):
        (closed / str(number)).mkdir(mode=0o700)
        (closed / str(number) / "file").write_text("x")
        (closed / str(number) / "file").chmod(0o644)
    if (reason := bubblewrap.unavailable()) is not None:
        pytest.skip(reason)
    command = bubblewrap.Sandbox(readable=(closed,)).wrap(["/bin/cat", str(closed / "7" / "file")])
    launched = [sys.executable, "-I", "-S", str(bubblewrap.LAUNCHER), str(os.getpid()), *command]
    answer = subprocess.run(launched, capture_output=True, text=True, check=False, timeout=60, env={})
    assert (answer.stdout, answer.stderr) == ("x", "")

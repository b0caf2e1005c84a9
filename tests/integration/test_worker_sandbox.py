# SPDX-License-Identifier: GPL-3.0-or-later
"""From inside the sandbox: what a hostile scene could see and do."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from gpu_worker.sandbox import bubblewrap

FAKE = Path(__file__).parents[1] / "fakes" / "fake_child.py"
REASON = bubblewrap.unavailable()
inside = pytest.mark.skipif(REASON is not None, reason=str(REASON))

PROBE = """
import json, os, socket, sys
def can(action):
    try:
        action()
        return True
    except OSError:
        return False
def read(path):
    os.listdir(path) if os.path.isdir(path) else open(path).close()
def write(path):
    # What exists outside, too, is not changed by being opened.
    os.close(os.open(path, os.O_WRONLY)) if path.startswith("/proc/") else open(path, "w").write("x")
def connect(address):
    with socket.create_connection(address, 2):
        pass
found = {
    "read": {path: can(lambda: read(path)) for path in READ},
    "write": {path: can(lambda: write(path)) for path in WRITE},
    "network": [can(lambda: connect(address)) for address in ADDRESSES],
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "processes": [name for name in os.listdir("/proc") if name.isdigit()],
    "variables": sorted(os.environ),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
    "home": os.listdir(os.path.expanduser("~")),
}
print(json.dumps(found))
"""


KERNEL_FILES = (
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/overcommit_memory",
    "/proc/irq/default_smp_affinity",
    "/proc/kmsg",
    "/proc/timer_list",
)


def look(box, read=(), write=(), addresses=()):
    program = (
        f"READ, WRITE, ADDRESSES = {list(map(str, read))}, {list(map(str, write))}, {list(addresses)}\n"
        + PROBE
    )
    command = box.wrap([sys.executable, "-I", "-c", program])
    variables = bubblewrap.environment(os.environ | {"SECRET": "x", "AWS_SECRET_ACCESS_KEY": "x"})
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, timeout=30)
    return json.loads(answer.stdout)


@pytest.fixture
def folders(tmp_path):
    for name in ("scene", "other", "output"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    return tmp_path


@inside
def test_only_what_was_named_can_be_read(folders):
    box = bubblewrap.Sandbox(readable=(folders / "scene",), writable=(folders / "output",))
    home = Path.home()
    hidden = [
        home / ".ssh",
        home / ".aws",
        home / ".bashrc",
        folders / "other" / "file",
        "/etc/passwd",
        "/etc/shadow",
    ]
    hidden += [Path(__file__).parents[2] / "pyproject.toml", "/var/lib", "/run", "/boot"]
    found = look(box, read=[folders / "scene" / "file", folders / "output" / "file", *hidden])
    assert [path for path, seen in found["read"].items() if seen] == [
        str(folders / "scene" / "file"),
        str(folders / "output" / "file"),
    ]
    assert found["home"] == []


@inside
def test_only_the_output_can_be_written(folders):
    box = bubblewrap.Sandbox(readable=(folders / "scene",), writable=(folders / "output",))
    forbidden = [folders / "scene" / "new", folders / "scene" / "file", "/new", "/usr/new", "/dev/new"]
    forbidden += [
        Path(sys.prefix) / "new",
        Path(os.__file__),
        Path.home() / "new",
        "/etc/new",
    ]
    forbidden += [path for path in KERNEL_FILES if Path(path).exists()]
    private = Path("/tmp") / f"new-{uuid.uuid4().hex}"
    found = look(box, write=[folders / "output" / "new", private, folders / "new", *forbidden])
    assert not [path for path in map(str, forbidden) if found["write"][path]]
    assert (folders / "output" / "new").read_text() == "x"
    # Its /tmp, in which this test's folders lie, is its own.
    assert found["write"][str(private)]
    assert not private.exists()
    assert not (folders / "new").exists()


@inside
def test_there_is_no_network_no_other_process_and_no_privilege(folders):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        found = look(bubblewrap.Sandbox(), addresses=[address, ("1.1.1.1", 53)])
    assert found["network"] == [False, False]
    assert found["interfaces"] == ["lo"]
    assert len(found["processes"]) <= 2
    assert int(found["capabilities"][0], 16) == 0


@inside
def test_of_the_environment_nothing_secret_arrives():
    found = look(bubblewrap.Sandbox())
    assert set(found["variables"]) <= {
        "HOME",
        "LANG",
        "LC_CTYPE",
        "PATH",
        "PWD",
        "TMPDIR",
        *bubblewrap.GPU_ORDER,
        *bubblewrap.GPU_VARIABLES,
    }


@inside
def test_memory_behind_its_private_folders_is_bounded():
    fill = "open('/tmp/x', 'wb').write(bytes(300 << 20))"
    command = bubblewrap.Sandbox().wrap([sys.executable, "-I", "-c", fill])
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "No space left on device" in answer.stderr


@inside
def test_blender_loads_inside():
    program = "import bpy; print(bpy.app.version_string)"
    command = bubblewrap.Sandbox().wrap([sys.executable, "-I", "-c", program])
    variables = bubblewrap.environment({})
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, timeout=60)
    assert "5.0.1" in answer.stdout


@inside
def test_nothing_inside_outlives_the_one_that_started_it():
    import psutil

    program = f"""
import sys
from pathlib import Path
from gpu_worker.blender.process import BlenderChild, ChildCommand, ChildLimits
from gpu_worker.sandbox.bubblewrap import Sandbox
fake = Path({str(FAKE)!r})
child = BlenderChild(ChildLimits(1 << 30), ChildCommand(fake, Sandbox(readable=(fake.parent,)).wrap))
child.start()
child.ready()
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        box = psutil.Process(int(parent.stdout.readline()))
        inside = [box, *box.children(recursive=True)]
        parent.kill()
    assert len(inside) == 3
    assert psutil.wait_procs(inside, 10)[1] == []


def test_the_home_folder_is_never_shown(monkeypatch, tmp_path):
    home = tmp_path / "people" / "me"
    (home / "scenes").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: "/usr/bin/true")
    for shown in (home, home.parent, Path("/"), home / "scenes" / ".."):
        with pytest.raises(bubblewrap.SandboxError, match="home folder"):
            bubblewrap.Sandbox(readable=(shown,)).wrap(["x"])
        with pytest.raises(bubblewrap.SandboxError, match="home folder"):
            bubblewrap.Sandbox(writable=(shown,)).wrap(["x"])
    assert str(home / "scenes") in bubblewrap.Sandbox(readable=(home / "scenes",)).wrap(["x"])


def test_of_an_environment_in_the_home_folder_only_itself_is_shown(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "me" / "project" / ".venv"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(
        bubblewrap.sysconfig, "get_path", lambda name: sys.prefix + "/lib/python3.11/site-packages"
    )
    bubblewrap.python_folders.cache_clear()
    try:
        assert bubblewrap.python_folders() == (tmp_path / "me" / "project" / ".venv",)
    finally:
        bubblewrap.python_folders.cache_clear()


def test_a_machine_without_bubblewrap_says_so(monkeypatch):
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    bubblewrap.unavailable.cache_clear()
    try:
        assert bubblewrap.unavailable() == "bubblewrap is not installed."
    finally:
        bubblewrap.unavailable.cache_clear()


def test_a_bubblewrap_that_is_not_permitted_says_so(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: str(fake))
    bubblewrap.unavailable.cache_clear()
    bubblewrap._system_binds.cache_clear()
    try:
        assert "No permissions to create a new namespace" in bubblewrap.unavailable()
    finally:
        bubblewrap.unavailable.cache_clear()
        bubblewrap._system_binds.cache_clear()

"""Another user of the machine where a farm with its node runs; and the folder of a scene it is started in."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from render_farm.client import FarmClient
from render_farm.embedded.state import Folder

NOBODY = 65534
SECONDS = 180
SHADOWED = ("redis", "msgspec", "structlog", "psutil", "uvicorn", "ray", "web3", "render_farm", "gpu_worker")
SHADOWED += ("payments", "verification", "farm_protocol", "frame_splitter", "sitecustomize")

# What another user finds out, told as JSON: secrets it reads, and what it may open.
INTRUDER = """
import json, os, socket, sys
paths, sockets, secrets = json.load(sys.stdin)
def opens(path):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
        return True
    except OSError:
        return False
def connects(path):
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(path)
            return True
        except OSError:
            return False
lines = b""
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        lines += open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        pass
print(json.dumps({
    "opened": [path for path in paths if opens(path)],
    "connected": [path for path in sockets if connects(path)],
    "seen": [secret for secret in secrets if secret.encode() in lines],
    "looked": len(lines),
}))
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user of the machine")


class Running:
    """A farm that was started in a hostile folder, with what it made."""

    def __init__(self, base, mark):
        self.base, self.state, self.mark = base, base / "farm", mark
        self.process = None

    def processes(self):
        """The farm's processes; Ray's too, whoever they belong to now."""
        tree = psutil.Process(self.process.pid)
        found = {one.pid: one for one in [tree, *tree.children(recursive=True)]}
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.state) in " ".join(one.cmdline()):
                    found[one.pid] = one
        return list(found.values())

    def links(self, kind):
        found = []
        for one in self.processes():
            with contextlib.suppress(psutil.Error):
                found += one.net_connections(kind)
        return found

    def secrets(self):
        kept = Folder(self.state).secrets()
        node = next(one for one in self.processes() if one.cmdline()[-1:] and "gpu_worker" in one.cmdline())
        return [kept.admin_token, kept.s3_secret, kept.signing_key, node.environ()["FARM_NODE_TOKEN"]]


@pytest.fixture(scope="module")
def farm():
    # Not below pytest's folder, which is closed itself; short, for Ray's sockets.
    base = Path(tempfile.mkdtemp(prefix="lu", dir="/tmp"))
    base.chmod(0o755)
    running = Running(base, base / "mark")
    scenes = hostile_folder(base, running.mark)
    older_farm(running.state)
    line = [str(Path(sys.executable).with_name("render-farm")), "up", "--slots", "1", "--json"]
    line += ["--state-dir", str(running.state)]
    log = (base / "up.log").open("w")
    # As a careless shell starts it.
    shell = ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", *line]
    with subprocess.Popen(shell, cwd=scenes, stdout=subprocess.PIPE, stderr=log, text=True) as up:
        running.process = up
        try:
            said = up.stdout.readline()
            assert said, (base / "up.log").read_text()
            wait_for_node(json.loads(said))
            yield running
        finally:
            up.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                up.wait(60)
            up.kill()
            log.close()
            shutil.rmtree(base, ignore_errors=True)


def hostile_folder(base, mark):
    """A folder as somebody sends it with a scene: with modules of all names that a farm might look for."""
    folder = base / "scenes"
    for name in SHADOWED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"open({str(mark)!r}, 'a').write({name!r} + ' ')\n")
    for name in ("security", "filer", "master", "credential", "notification"):
        (folder / f"{name}.toml").write_text(f"this is no TOML [[[ {mark}")
    return folder


def older_farm(state):
    """Folders as a version that did not close them left them."""
    for name in ("valkey", "seaweed/log", "node", "logs", "chain/wallets"):
        (state / name).mkdir(parents=True)
    (state / "logs" / "seaweed.log").write_text("s3 key\n")
    for path in (state, *state.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def wait_for_node(said):
    with FarmClient(said["url"], said["token"]) as client:
        end = time.monotonic() + SECONDS
        while not any(node.online and node.slots for node in client.nodes()):
            assert time.monotonic() < end, "the node does not come"
            time.sleep(0.2)


CLOSED = ("ray", "cache", "slots")
"""Of a node: what is in them is open, to Ray's processes or to the users that sandboxes run as."""


def paths_of(farm):
    """What of the farm's there is to read, without what lies in folders that keep all others out."""
    found = [farm.state]
    for folder, names, files in os.walk(farm.state):
        here = Path(folder)
        found += [here / name for name in (*names, *files)]
        if here == farm.state / "node":
            names[:] = [name for name in names if name not in CLOSED]
    return [path for path in found if not path.is_symlink()]


def test_every_socket_of_farm_and_node_is_on_loopback(farm):
    listening = [link.laddr for link in farm.links("inet") if link.status == psutil.CONN_LISTEN]
    assert len(listening) >= 14, "where are Ray, the stores and the chain?"
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_files_and_folders_are_their_users_alone(farm):
    modes = {}
    for path in paths_of(farm):
        with contextlib.suppress(FileNotFoundError):
            modes[str(path)] = stat.S_IMODE(path.lstat().st_mode)
    assert len(modes) > 40
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    for name in CLOSED:
        assert stat.S_IMODE((farm.state / "node" / name).stat().st_mode) == 0o700


def test_nothing_of_the_folder_it_was_started_in_is_run(farm):
    assert not farm.mark.exists(), farm.mark.read_text()
    # Every part is there and at work, so it has looked for its modules.
    assert Folder(farm.state).announced().parts.keys() >= {
        "valkey",
        "seaweed",
        "chain",
        "settler",
        "coordinator",
        "node",
    }


@needs_root
def test_another_user_reads_no_file_no_socket_and_no_secret(farm):
    sockets = sorted({one.laddr for one in farm.links("unix") if one.laddr.startswith("/")})
    assert len(sockets) >= 5
    beside = farm.base / "beside"
    beside.write_text("for everybody")
    beside.chmod(0o644)
    (open_socket := socket.socket(socket.AF_UNIX)).bind(str(farm.base / "open.sock"))
    with open_socket:
        os.chmod(farm.base / "open.sock", 0o777)
        open_socket.listen()
        asked = [[*map(str, paths_of(farm)), str(beside)], [*sockets, str(farm.base / "open.sock")]]
        found = as_nobody(INTRUDER, [*asked, [*farm.secrets(), "gpu_worker"]])
    assert found["opened"] == [str(beside)]
    assert found["connected"] == [str(farm.base / "open.sock")]
    assert found["seen"] == ["gpu_worker"]


def as_nobody(program, asked):
    line = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    # The system's Python: the one of the tests may lie where nobody may look.
    done = subprocess.run(
        [*line, "/usr/bin/python3", "-I", "-c", program],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

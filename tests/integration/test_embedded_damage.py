# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of an embedded farm's folder are lost or damaged: it starts, or says which file and what to do."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from farm_protocol.errors import FarmError
from render_farm.client import FarmClient
from render_farm.embedded import seaweed
from render_farm.embedded.append_only import FOLDER
from render_farm.embedded.files import DamagedFile
from render_farm.embedded.state import Folder

SECONDS = 120


def start(folder, *words, node=False):
    line = [sys.executable, "-m", "render_farm", "up", "--no-money", "--json", "--state-dir", str(folder)]
    line += ["--slots", "1"] if node else ["--no-node"]
    pipe = subprocess.PIPE
    return subprocess.Popen([*line, *words], stdout=pipe, stderr=pipe, text=True)


def up_and_down(folder, *words, node=False, look=lambda client: None):
    """A farm until it answers; what `look` saw of it, and what it said."""
    with start(folder, *words, node=node) as farm:
        try:
            said = farm.stdout.readline()
            assert said, farm.stderr.read()
            assert "url" in json.loads(said), said
            known = Folder(folder).announced()
            with FarmClient(known.url, known.token) as client:
                seen = look(client)
        finally:
            farm.send_signal(signal.SIGINT)
        return seen, farm.communicate(timeout=SECONDS)[1]


def refused(folder, *words):
    """What a farm that does not start says, and how long it takes."""
    began = time.monotonic()
    with start(folder, *words) as farm:
        out, _ = farm.communicate(timeout=SECONDS)
    assert farm.returncode == 1
    return json.loads(out), time.monotonic() - began


def nodes(client):
    return [(node.name, node.node, node.online) for node in client.nodes()]


@pytest.mark.farm
def test_an_own_node_whose_folder_was_removed_is_enrolled_anew(tmp_path):
    before, _ = up_and_down(tmp_path, node=True, look=nodes)
    again, _ = up_and_down(tmp_path, node=True, look=nodes)
    assert [name[:2] for name in again] == [name[:2] for name in before]
    shutil.rmtree(tmp_path / "node")
    after, said = up_and_down(tmp_path, node=True, look=nodes)
    assert "enrolled anew" in said
    assert len(after) == 1, "the old one is retired"
    assert after[0][1] != before[0][1]
    assert after[0][2]
    last, said = up_and_down(tmp_path, node=True, look=nodes)
    assert last[0][1] == after[0][1]
    assert "enrolled anew" not in said


@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"{", b'{"admin_token": 3}', b"[]"])
def test_damaged_secrets_are_named_and_kept(tmp_path, content):
    folder = Folder(tmp_path)
    folder.create()
    (tmp_path / "secrets.json").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"secrets\.json is damaged.*copy"):
        folder.secrets()
    assert (tmp_path / "secrets.json").read_bytes() == content


def test_the_command_names_damaged_secrets(tmp_path):
    Folder(tmp_path).create()
    (tmp_path / "secrets.json").write_bytes(b"\0" * 100)
    answer, _ = refused(tmp_path)
    assert answer["error"] == "damaged_file"
    assert str(tmp_path / "secrets.json") in answer["message"]


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 50, b'{"coordinator": "x"}', b'{"coordinator": 99999999}', b"[1]"]
)
def test_damaged_ports_are_chosen_anew(tmp_path, content):
    folder = Folder(tmp_path)
    folder.create()
    (tmp_path / "ports.json").write_bytes(content)
    port = folder.choose_port("coordinator")
    assert folder.port("coordinator") == port
    (tmp_path / "seaweed" / "ports.json").write_bytes(content)
    ports = seaweed._ports(tmp_path / "seaweed")
    assert seaweed._ports(tmp_path / "seaweed") == ports


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"relative", b"/etc", b"/nowhere/at/all"])
def test_a_damaged_socket_folder_is_made_anew(tmp_path, content):
    folder = Folder(tmp_path / ("long" * 25))
    folder.create()
    (folder.path / "socket-folder").write_bytes(content)
    short = folder.valkey_socket()
    assert short.parent.is_dir()
    assert str(short.parent).encode() != content
    assert folder.valkey_socket() == short
    short.parent.rmdir()


def test_a_damaged_announcement_is_none(tmp_path):
    folder = Folder(tmp_path)
    folder.create()
    (tmp_path / "farm.json").write_bytes(b"\0" * 100)
    assert folder.announced() is None


def test_a_taken_port_is_said_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer, _ = refused(tmp_path, "--bind", f"127.0.0.1:{port}")
        everywhere, _ = refused(tmp_path, "--bind", f"0.0.0.0:{port}")
    assert f"Port {port} of 127.0.0.1 is taken" in answer["message"]
    assert f"Port {port} of 0.0.0.0 is taken" in everywhere["message"]
    assert not (tmp_path / "logs" / "coordinator.log").exists(), "nothing was started for it"


def test_the_stores_torn_end_is_cut_and_said_and_damage_inside_told(tmp_path):
    up_and_down(tmp_path, look=lambda client: client.add_node("kept"))
    file = max((tmp_path / "valkey" / FOLDER).glob("*.incr.aof"))
    whole = file.read_bytes()
    file.write_bytes(whole + bytes(10_000))
    seen, said = up_and_down(tmp_path, look=nodes)
    assert [name for name, _, _ in seen] == ["kept"]
    assert "last 10000 bytes were cut off" in said
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes(50) + whole[150:])
    answer, _ = refused(tmp_path)
    assert answer["error"] == "store_damaged"
    assert str(file) in answer["message"]
    assert file.read_bytes() == whole[:100] + bytes(50) + whole[150:]
    up_and_down(tmp_path, "--cut-store")


def test_a_damaged_base_of_the_store_is_told_with_the_way_out(tmp_path):
    up_and_down(tmp_path)
    base = max((tmp_path / "valkey" / FOLDER).glob("*.base.rdb"))
    base.write_bytes(base.read_bytes()[:20] + bytes(40))
    answer, _ = refused(tmp_path)
    assert answer["error"] == "part_failed"
    assert (tmp_path / "logs" / "valkey.log").stat().st_size, "the log that is named says why"
    assert f"move {tmp_path / 'valkey'} away" in answer["message"]
    (tmp_path / "valkey").rename(tmp_path / "valkey.damaged")
    assert up_and_down(tmp_path, look=nodes)[0] == []


def test_a_farm_of_another_version_is_left_as_it_is(tmp_path):
    folder = Folder(tmp_path)
    folder.create()
    folder.create()  # its own farm starts again
    (tmp_path / "valkey" / "appendonlydir").mkdir()
    (tmp_path / "version").unlink()
    with pytest.raises(FarmError, match=r"another version.*--state-dir"):
        folder.create()

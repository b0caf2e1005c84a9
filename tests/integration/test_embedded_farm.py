# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded farm with its real store, object store and coordinator: kept alive, found, stopped."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from farm_protocol.errors import FarmError
from farm_protocol.records import Manifest
from payments import keystore
from payments.chain import Chain
from payments.network import load
from render_farm.client import FarmClient
from render_farm.embedded.money import money_folder
from render_farm.embedded.state import Folder, FolderInUse, RunningFarm
from render_farm.embedded.supervisor import Farm, FarmOptions
from render_farm.hashing import hash_file

PARTS = ("valkey", "seaweed", "coordinator")
SECONDS = 60.0


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "render_farm", *words]


@contextlib.contextmanager
def up(folder: Path, *words: str, money: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A farm without a node, once it answers."""
    line = command("up", "--no-node", "--json", "--state-dir", str(folder), *words)
    line += [] if money else ["--no-money"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as farm:
        try:
            assert farm.stdout is not None
            assert farm.stderr is not None
            said = farm.stdout.readline()
            assert said, farm.stderr.read()
            assert json.loads(said)["url"].startswith("http://127.0.0.")
            assert re.fullmatch("0x[0-9a-fA-F]{40}", json.loads(said)["address"])
            yield farm
        finally:
            if farm.poll() is None:
                farm.send_signal(signal.SIGTERM)
            farm.wait(SECONDS)


def announced(folder: Path) -> RunningFarm:
    farm = Folder(folder).announced()
    assert farm is not None
    return farm


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def alive(farm: RunningFarm) -> list[str]:
    """Names of parts whose process still is that process."""
    return [name for name, one in farm.parts.items() if _is_alive(one.pid, one.started)]


def _is_alive(pid: int, started: float) -> bool:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    return False


def names(farm: RunningFarm) -> list[str]:
    with FarmClient(farm.url, farm.token, patience=SECONDS) as client:
        return [node.name for node in client.nodes()]


def test_killed_parts_come_back_with_their_state(tmp_path: Path) -> None:
    folder = tmp_path / "farm"
    with up(folder) as process:
        farm = announced(folder)
        with FarmClient(farm.url, farm.token) as client:
            client.add_node("kept")
        for part in PARTS:
            os.kill(announced(folder).parts[part].pid, signal.SIGKILL)
            until(lambda part=part: announced(folder).parts.get(part) not in (None, farm.parts[part]))
            assert names(announced(folder)) == ["kept"]
        last = announced(folder)
        assert (last.url, last.token) == (farm.url, farm.token)
        with FarmClient(last.url, last.token, patience=SECONDS) as client:
            assert client.health().objects
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
    assert alive(last) == []
    assert Folder(folder).announced() is None
    with up(folder):
        again = announced(folder)
        assert (again.url, again.token) == (farm.url, farm.token)
        assert names(again) == ["kept"]


def test_a_killed_chain_and_a_killed_settler_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "farm"
    home = money_folder(Folder(folder))
    with up(folder, money=True):
        farm = announced(folder)
        network = load(home.network)
        first = Chain(farm.chain, network.chain_id)
        head = first.block_hash(first.head())
        for part in ("chain", "settler"):
            os.kill(announced(folder).parts[part].pid, signal.SIGKILL)
            until(lambda part=part: announced(folder).parts.get(part) not in (None, farm.parts[part]))
        again = Chain(announced(folder).chain, network.chain_id)
        until(lambda: (folder / "logs" / "settler.log").read_text().count("lock_held") == 2)
        assert again.block_hash(first.head()) == head
        assert load(home.network) == network
        with FarmClient(farm.url, farm.token) as client:
            assert client.rules().network == network
        secret = keystore.read_password(home.password)
        private = [home.password, *(home.wallet(name) for name in ("bank", "client", "operator"))]
        assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o600] * 4
        lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
        assert not any(secret in line for line in lines)
    assert alive(farm) == []


def test_a_chain_and_a_settler_that_hang_are_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "farm"
    with up(folder, "--hang-seconds", "2", money=True):
        before = announced(folder)
        until(lambda: {"chain", "settler"} <= announced(folder).parts.keys())
        for part in ("settler", "chain"):
            hung = announced(folder).parts[part]
            os.kill(hung.pid, signal.SIGSTOP)
            until(lambda part=part, hung=hung: announced(folder).parts.get(part) not in (None, hung))
        assert announced(folder).parts["valkey"] == before.parts["valkey"]


def test_a_farm_killed_with_9_leaves_nothing_and_starts_again(tmp_path: Path) -> None:
    with up(tmp_path) as process:
        farm = announced(tmp_path)
        assert sorted(alive(farm)) == sorted(PARTS)
        process.kill()
        until(lambda: not alive(farm))
    with up(tmp_path):
        assert announced(tmp_path).url == farm.url


def test_others_find_the_farm_and_cannot_start_a_second(tmp_path: Path) -> None:
    with up(tmp_path):
        where = ("--state-dir", str(tmp_path))
        second = subprocess.run(command("up", *where), capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert "already runs" in second.stderr
        added = subprocess.run(
            command("node", "add", "desk 2", "--json", *where), capture_output=True, text=True, check=True
        )
        answer = json.loads(added.stdout)
        line = f"gpu-worker run --coordinator {announced(tmp_path).url} --token-file node.token"
        assert answer["command"] == line
        listed = subprocess.run(command("node", "list", *where), capture_output=True, text=True, check=True)
        assert "desk 2" in listed.stdout
        with pytest.raises(FolderInUse), Farm(Folder(tmp_path), FarmOptions(), print).running():
            pass


def test_a_command_alone_runs_a_farm_for_itself(tmp_path: Path) -> None:
    where = ("--state-dir", str(tmp_path / "farm"))
    added = subprocess.run(
        command("node", "add", "desk", "--json", *where), capture_output=True, text=True, check=True
    )
    assert json.loads(added.stdout)["name"] == "desk"
    assert not Folder(tmp_path / "farm").in_use()
    found = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(one.info["cmdline"])]
    assert found == []
    jobs = subprocess.run(
        command("job", "list", "--json", *where), capture_output=True, text=True, check=True
    )
    assert json.loads(jobs.stdout) == {"jobs": []}


def test_other_machines_are_let_in_by_bind(tmp_path: Path) -> None:
    # Another address than 127.0.0.1 stands for another machine's view.
    with up(tmp_path / "farm", "--bind", "127.0.0.2"):
        farm = announced(tmp_path / "farm")
        assert farm.public_url.startswith("http://127.0.0.2:")
        (tmp_path / "scene.blend").write_bytes(b"BLENDER" * 1000)
        manifest = Manifest("scene.blend", {"scene.blend": hash_file(tmp_path / "scene.blend")})
        with FarmClient(farm.public_url, farm.token) as client:
            (missing,) = client.offer_scene(manifest).missing
            assert missing.url.startswith("http://127.0.0.2:")
            client.upload_scene(manifest, tmp_path)
            assert client.offer_scene(manifest).sealed


def test_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "farm"
    with up(folder):
        private = [folder / name for name in ("secrets.json", "farm.json", "ports.json")]
        assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o600] * 3
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        secrets = Folder(folder).secrets()
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or ())
            assert secrets.admin_token not in line
            assert secrets.s3_secret not in line
            assert secrets.signing_key not in line
        coordinator = psutil.Process(announced(folder).parts["coordinator"].pid)
        assert coordinator.environ()["FARM_SIGNING_KEY"] == secrets.signing_key


def test_the_signing_key_is_made_once_and_older_folders_get_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    older = {"admin_token": "a", "s3_key": "k", "s3_secret": "s", "instance": "i"}
    (tmp_path / "secrets.json").write_text(json.dumps(older))
    secrets = folder.secrets()
    assert len(bytes.fromhex(secrets.signing_key)) == 32
    assert (secrets.admin_token, secrets.instance) == ("a", "i")
    assert folder.secrets() == secrets
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_a_part_that_cannot_start_is_named_and_nothing_stays(tmp_path: Path) -> None:
    # An address of the documentation block: no machine has it.
    done = subprocess.run(
        command(
            "up", "--no-node", "--no-money", "--bind", "192.0.2.1", "--json", "--state-dir", str(tmp_path)
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["error"] == "part_failed"
    assert "The coordinator cannot listen at 192.0.2.1" in answer["message"]
    found = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(one.info["cmdline"])]
    assert found == []


def test_a_state_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FarmError, match="cannot be made"),
        Farm(Folder(tmp_path / "file" / "farm"), FarmOptions(), print).running(),
    ):
        pass


def test_a_path_too_long_for_a_socket_gets_another(tmp_path: Path) -> None:
    folder = Folder(tmp_path / ("long" * 25))
    folder.create()
    short = folder.valkey_socket()
    try:
        assert len(str(short)) < 100
        assert folder.valkey_socket() == short
        assert stat.S_IMODE(short.parent.stat().st_mode) == 0o700
    finally:
        short.parent.rmdir()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Other users of a node's machine: what they find in its folder, and what they put in its way."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.links import Links
from gpu_worker import actor
from gpu_worker.actor import SlotActor, SlotOrder
from gpu_worker.blender import ChildLimits, Device
from gpu_worker.folders import private_folder
from gpu_worker.node import _state_folder
from gpu_worker.slot import SlotPlan
from gpu_worker.stage import ChildPlan

STRANGER = 65534
"""The uid of nobody."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user of the machine")


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request):
    """The umask of a careless user, a usual one, and one that takes everything."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(one.stat().st_mode) for one in folder}


def as_stranger(*words: str) -> subprocess.CompletedProcess[str]:
    """A program of another user of this machine."""
    command = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def open_to_all(folder: Path) -> None:
    """Everything above a folder lets everybody through, as /home and /var do."""
    for one in (folder, *folder.parents):
        if one.stat().st_uid == os.geteuid() and one != Path("/"):
            one.chmod(one.stat().st_mode | 0o755)


def test_a_nodes_folder_and_those_made_for_it_are_its_users_alone(tmp_path, umask):
    state = tmp_path / "new" / "too" / "node"
    with _state_folder(state):
        assert modes((state, state.parent, state.parent.parent)) == {0o700}


def test_a_folder_that_others_could_look_into_is_closed(tmp_path):
    (tmp_path / "node").mkdir()
    (tmp_path / "node").chmod(0o777)
    with _state_folder(tmp_path / "node"):
        assert modes((tmp_path / "node",)) == {0o700}


def test_cache_and_stages_are_the_users_alone_on_whatever_machine_a_slot_is(tmp_path, monkeypatch, umask):
    """On a Ray cluster no node has made the state folder on the slot's machine."""
    monkeypatch.setattr(actor, "Slot", lambda *_: None)
    limits = ChildLimits(1 << 30, 60.0, 60.0)
    plan = SlotPlan(
        "cpu-0", (), tmp_path / "n" / "slots" / "cpu-0", ChildPlan(Device("CPU", 0, 1), limits, False)
    )
    cache = tmp_path / "n" / "cache"
    SlotActor(SlotOrder(plan, cache, 1 << 20, "http://127.0.0.1:9", "t", links=Links()), fresh=True)
    assert modes((cache, plan.folder.parent, tmp_path / "n")) == {0o700}


@as_root
def test_another_user_reads_and_changes_nothing_of_a_node(tmp_path, umask):
    open_to_all(tmp_path)
    state = tmp_path / "node"
    with _state_folder(state):
        scene = state / "cache" / "blobs" / "scene.blend"
        scene.parent.mkdir(parents=True)
        scene.write_bytes(b"BLENDER")
        for one in (scene.parent, scene):
            one.chmod(0o777)
        assert as_stranger("cat", str(scene)).returncode != 0
        assert as_stranger("ls", str(state)).returncode != 0
        assert as_stranger("touch", str(state / "node.key")).returncode != 0
        seen = as_stranger("stat", "-c", "%a", str(state))
        assert seen.stdout.strip() == "700", "the stranger gets as far as the folder itself"


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o777], ids=oct)
def test_a_folder_of_somebody_else_is_not_used(mode, tmp_path):
    """Who has put it there beforehand could read, and change, all that comes into it."""
    planted = tmp_path / "node"
    planted.mkdir()
    planted.chmod(mode)
    os.chown(planted, STRANGER, STRANGER)
    with pytest.raises(InvalidInput, match="another user"):
        private_folder(planted)
    (tmp_path / "link").symlink_to(planted)
    with pytest.raises(InvalidInput, match="another user"):
        private_folder(tmp_path / "link")
    assert planted.stat().st_mode & 0o777 == mode
    known = os.environ | {"FARM_NODE_TOKEN": "t"}
    command = [sys.executable, "-m", "gpu_worker", "run", "--coordinator", "http://127.0.0.1:9"]
    words = [*command, "--state-dir", str(planted), "--trust-farm", "0x" + "11" * 20, "--owner", "ann"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=known)
    assert ended.returncode == 1
    assert "--state-dir" in ended.stderr


def test_what_is_no_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for odd in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match="cannot be used"):
            private_folder(odd)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="cannot be used"):
        private_folder(tmp_path / "dangling")

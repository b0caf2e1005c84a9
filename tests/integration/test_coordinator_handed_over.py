# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that commands on the coordinator's own machine left in a folder, instead of uploading them."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from farm_protocol.handed_over import place
from tests import servers
from tests.api_calls import Api, manifest, under


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handed")


@pytest.fixture(scope="module")
def admin(
    copies: Path, tmp_path_factory: pytest.TempPathFactory, seaweed_server: servers.ObjectStore
) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("coordinator")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(
            folder / "process", store.url, seaweed_server, "--handed-over", str(copies)
        ) as running,
    ):
        yield Api(running.url, running.admin_token)


def hand_over(copies: Path, content: bytes) -> Path:
    path = place(copies, hashlib.sha256(content).hexdigest())
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_was_handed_over_is_not_asked_for(admin: Api, copies: Path) -> None:
    content = os.urandom(100)
    hand_over(copies, content)
    answer = admin.ok("POST", "/scenes", manifest(content))
    assert (answer["sealed"], answer["missing"]) == (True, [])


def test_a_file_of_another_size_is_asked_for(admin: Api, copies: Path) -> None:
    content = os.urandom(100)
    hand_over(copies, content).write_bytes(content[1:])
    answer = admin.ok("POST", "/scenes", manifest(content))
    assert len(answer["missing"]) == 1


def test_it_is_the_operators_alone(admin: Api, copies: Path) -> None:
    content = os.urandom(100)
    hand_over(copies, content)
    answer = admin.owner().ok("POST", "/scenes", manifest(content))
    assert (answer["sealed"], len(answer["missing"])) == (False, 1)


def test_a_node_elsewhere_gets_it_from_the_object_store(admin: Api, copies: Path) -> None:
    content = os.urandom(100)
    hand_over(copies, content)
    scene = admin.ok("POST", "/scenes", manifest(content))["scene"]
    job = admin.job(scene, frames=(1,))
    node = admin.node("elsewhere")
    (lease,) = node.lease(wait=5.0)
    listing = node.ok("GET", f"{under(lease)}/scene?token={lease['token']}")
    (file,) = listing["files"].values()
    assert urllib3.request("GET", file["url"]).data == content
    admin.ok("POST", f"/jobs/{job}/cancel")


def test_what_is_lost_there_is_asked_for_again(admin: Api, copies: Path) -> None:
    content = os.urandom(100)
    path = hand_over(copies, content)
    scene = admin.ok("POST", "/scenes", manifest(content))["scene"]
    job = admin.job(scene, frames=(1,))
    node = admin.node("own", own=True)
    (lease,) = node.lease(wait=5.0)
    path.unlink()
    lost = {
        "code": "lost",
        "message": "It is not there.",
        "lost": [path.name],
    }
    node.call("POST", f"{under(lease)}/failure?token={lease['token']}", lost)
    assert admin.ok("GET", f"/jobs/{job}")["lacks"]
    again = admin.ok("POST", "/scenes", manifest(content))
    assert len(again["missing"]) == 1
    hand_over(copies, content)
    assert admin.ok("POST", "/scenes", manifest(content))["sealed"]
    assert not admin.ok("GET", f"/jobs/{job}")["lacks"]

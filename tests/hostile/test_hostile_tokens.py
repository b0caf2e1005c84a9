"""Somebody has got hold of a token or a link, or reads them from a machine's list of processes."""

import io
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from farm_protocol.errors import InvalidInput
from farm_protocol.token_file import read_token
from gpu_worker.__main__ import main as gpu_worker
from render_farm import objects
from render_farm.cli.program import run
from render_farm.embedded.own_node import OwnNodeStart
from render_farm.embedded.state import Folder
from render_farm.store import keys
from tests import servers
from tests.api_calls import Api
from tests.token_files import token_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with servers.valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture(scope="module")
def farm(tmp_path_factory, store, seaweed_server):
    with servers.coordinator(tmp_path_factory.mktemp("farm"), store.url, seaweed_server) as running:
        yield running


@pytest.fixture
def admin(farm):
    return Api(farm.url, farm.admin_token)


def person(admin, **more):
    """A new owner: its id, and its calls."""
    made = admin.ok("POST", "/owners", {"name": "ann", **more})
    return made["owner"], Api(admin.url, made["token"])


def machine(owner, **more):
    made = owner.ok("POST", "/nodes", {"name": "rig", **more})
    return made["node"], Api(owner.url, made["token"])


def tokens(caller):
    return caller.ok("GET", "/tokens")["tokens"]


def is_dead(caller, path="/tokens"):
    return caller.call("GET", path).body.get("code") == "unauthorized"


# --- taken back -------------------------------------------------------------------------------------


def test_a_stolen_token_is_taken_back_at_once(admin):
    owner, ann = person(admin)
    (mine,) = tokens(ann)  # which the coordinator remembers now
    assert (mine["owner"], mine["node"], mine["role"]) == (owner, "", "owner")
    assert ann.token not in str(mine)
    ann.ok("DELETE", f"/tokens/{mine['id']}")
    assert is_dead(ann)
    assert mine["id"] not in [one["id"] for one in tokens(admin)]


def test_a_thief_with_a_nodes_token_cannot_keep_it(admin):
    _, ann = person(admin)
    node, rig = machine(ann)
    rig.ok("GET", "/nodes/self")
    rig.refused(403, "forbidden", "GET", "/tokens")
    theirs = next(one for one in tokens(ann) if one["node"] == node)
    rig.refused(403, "forbidden", "POST", f"/tokens/{theirs['id']}/rotate", {})
    ann.ok("DELETE", f"/tokens/{theirs['id']}")
    assert is_dead(rig, "/nodes/self")


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("kind", ["owners", "nodes"])
def test_a_token_that_was_taken_back_is_not_made_again_by_its_key(admin, store, forgotten, kind):
    key, body = secrets.token_hex(8), {"name": "twice"}
    made = admin.ok("POST", f"/{kind}", body, Idempotency_Key=key)
    again = admin.ok("POST", f"/{kind}", body, Idempotency_Key=key)
    assert again["token"] == made["token"]
    admin.ok("DELETE", f"/{kind}/{made[kind[:-1]]}")
    if forgotten:  # as a week later
        assert redis.Redis.from_url(store.url).delete(keys.repeated("admin", f"/api/v1/{kind}:{key}")) == 1
    admin.refused(409, "revoked", "POST", f"/{kind}", body, Idempotency_Key=key)
    assert is_dead(Api(admin.url, made["token"]), "/nodes/self" if kind == "nodes" else "/tokens")


def test_an_owner_that_is_removed_and_its_nodes_do_nothing_more(admin):
    owner, ann = person(admin)
    node, rig = machine(ann)
    rig.ok("GET", "/nodes/self")
    assert admin.ok("DELETE", f"/owners/{owner}") == {"owner": owner, "nodes": [node]}
    assert is_dead(ann)
    assert is_dead(rig, "/nodes/self")
    assert owner not in [one["owner"] for one in admin.ok("GET", "/owners")["owners"]]
    assert node not in [one["node"] for one in admin.ok("GET", "/nodes")["nodes"]]
    admin.refused(404, "not_found", "DELETE", f"/owners/{owner}")
    admin.refused(422, "invalid_input", "DELETE", "/owners/admin")


def test_a_node_that_is_removed_does_nothing_more(admin):
    _, ann = person(admin)
    node, rig = machine(ann)
    rig.ok("GET", "/nodes/self")
    _, other = machine(ann)
    ann.ok("DELETE", f"/nodes/{node}")
    assert is_dead(rig, "/nodes/self")
    other.ok("GET", "/nodes/self")


def test_owners_reach_no_tokens_of_others(admin):
    _, ann = person(admin)
    bob, eve = person(admin)
    (mine,) = tokens(ann)
    assert mine["id"] not in [one["id"] for one in tokens(eve)]
    eve.refused(404, "not_found", "DELETE", f"/tokens/{mine['id']}")
    eve.refused(404, "not_found", "POST", f"/tokens/{mine['id']}/rotate", {})
    eve.refused(403, "forbidden", "DELETE", f"/owners/{bob}")
    node, _ = machine(ann)
    eve.refused(404, "not_found", "DELETE", f"/nodes/{node}")
    assert tokens(ann)


def test_tokens_of_earlier_versions_are_seen_from_their_next_use_on(admin, store):
    owner, ann = person(admin)
    (mine,) = tokens(ann)
    raw = redis.Redis.from_url(store.url, decode_responses=True)
    (digest,) = raw.smembers(keys.owner_tokens(owner))
    raw.delete(keys.owner_tokens(owner))
    raw.hdel(keys.token(digest), "made", "lasts", "ends", "used")
    assert tokens(admin) == [] or mine["id"] not in [one["id"] for one in tokens(admin)]
    # Any other change makes the coordinator ask the store again.
    other, _ = person(admin)
    admin.ok("DELETE", f"/owners/{other}")
    (seen,) = tokens(ann)
    assert (seen["id"], seen["made"]) == (mine["id"], None)
    admin.ok("DELETE", f"/tokens/{seen['id']}")
    assert is_dead(ann)


# --- ends, and rotation -----------------------------------------------------------------------------


def test_a_token_ends_when_it_was_told_to(admin):
    _, ann = person(admin, expires_seconds=5)
    (mine,) = tokens(ann)
    assert 0 < mine["ends"] - time.time() <= 6
    end = time.monotonic() + 60
    while not is_dead(ann):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert mine["id"] not in [one["id"] for one in tokens(admin)]


@pytest.mark.parametrize("expires", [-1, 10**12, 1.5, "90d"])
def test_nonsense_ends_are_refused(admin, expires):
    assert admin.call("POST", "/owners", {"name": "x", "expires_seconds": expires}).status == 422


def test_a_rotated_token_is_another_and_the_old_one_is_dead(admin):
    _, ann = person(admin)
    node, rig = machine(ann, expires_seconds=3600)
    old = next(one for one in tokens(ann) if one["node"] == node)
    made = ann.ok("POST", f"/tokens/{old['id']}/rotate", {}, Idempotency_Key="once")
    again = ann.ok("POST", f"/tokens/{old['id']}/rotate", {}, Idempotency_Key="once")
    assert again["token"] == made["token"] != rig.token
    assert is_dead(rig, "/nodes/self")
    renewed = Api(ann.url, made["token"])
    assert renewed.ok("GET", "/nodes/self")["node"] == node
    (left,) = [one for one in tokens(ann) if one["node"] == node]
    assert left["id"] == made["id"]
    assert 3500 < left["ends"] - time.time() < 3700
    ann.ok("DELETE", f"/tokens/{made['id']}")
    ann.refused(409, "conflict", "POST", f"/tokens/{old['id']}/rotate", {}, Idempotency_Key="once")
    ann.refused(409, "conflict", "POST", f"/tokens/{old['id']}/rotate", {})
    assert is_dead(renewed, "/nodes/self")


def test_the_old_one_goes_on_for_the_overlap_and_no_longer(admin):
    _, ann = person(admin)
    (old,) = tokens(ann)
    made = ann.ok("POST", f"/tokens/{old['id']}/rotate", {"overlap_seconds": 5})
    assert {one["id"] for one in tokens(ann)} == {old["id"], made["id"]}
    end = time.monotonic() + 60
    while not is_dead(ann):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [one["id"] for one in tokens(Api(ann.url, made["token"]))] == [made["id"]]
    admin.refused(422, "invalid_input", "POST", f"/tokens/{made['id']}/rotate", {"overlap_seconds": 10**9})


def test_an_own_node_that_was_removed_is_enrolled_anew(farm, admin, tmp_path):
    start, said = OwnNodeStart(Folder(tmp_path), farm.url, farm.admin_token), []
    start.begin(said.append)
    first = start.token
    start.begin(said.append)
    assert (start.token, said) == (first, [])
    admin.ok("DELETE", f"/nodes/{Api(farm.url, first).ok('GET', '/nodes/self')['node']}")
    start.begin(said.append)
    assert start.token != first
    assert len(said) == 1
    assert Api(farm.url, start.token).ok("GET", "/nodes/self")["own"]


# --- links ------------------------------------------------------------------------------------------


def test_links_live_for_minutes(admin):
    _, ann = person(admin)
    blob = {"sha256": secrets.token_hex(32), "size": 4 * 10**9}
    offered = ann.ok("POST", "/scenes", {"main": "a.blend", "files": {"a.blend": blob}})
    (missing,) = offered["missing"]
    assert int(parse_qs(urlsplit(missing["url"]).query)["X-Amz-Expires"][0]) <= 15 * 60
    assert objects.LINK_SECONDS <= 15 * 60


# --- read from the machine --------------------------------------------------------------------------


def test_no_command_takes_a_token_from_its_command_line(capsys):
    told = "Every user of this machine can read"
    assert gpu_worker(["run", "--coordinator", "http://127.0.0.1:1", "--token", "SECRET"]) == 2
    said = capsys.readouterr().err
    line = [sys.executable, "-m", "render_farm", "node", "list", "--coordinator", "http://127.0.0.1:1"]
    done = subprocess.run([*line, "--token=SECRET"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    for text in (said, done.stderr):
        assert told in text
        assert "SECRET" not in text


def test_a_token_file_that_others_may_read_is_refused(tmp_path):
    path = Path(token_file(tmp_path, "t0ken"))
    assert read_token(str(path)) == "t0ken"
    for mode in (0o640, 0o604, 0o620, 0o666):
        path.chmod(mode)
        with pytest.raises(InvalidInput, match="chmod 600") as caught:
            read_token(str(path))
        assert "t0ken" not in caught.value.sentence


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\nb", "\x1b[31m", "é", "x" * 5000])
def test_what_is_no_token_is_refused_unsaid(tmp_path, text, monkeypatch):
    path = token_file(tmp_path, text)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    for where in (path, "-"):
        with pytest.raises(InvalidInput) as caught:
            read_token(where)
        assert not text.strip() or text.strip() not in caught.value.sentence


def test_a_token_comes_by_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"t0ken\n")))
    assert read_token("-") == "t0ken"


def test_no_page_tells_to_give_a_token_on_a_command_line():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for line in page.read_text().splitlines():
            taken = re.search(r"--token[ =](?!ADDRESS)", line)
            assert not taken or "chain deploy" in line, f"{page}: {line}"


def test_the_commands_of_an_operator_who_lost_a_token(farm, monkeypatch, tmp_path, capsys):
    file = token_file(tmp_path, farm.admin_token)

    def told(*words):
        assert run([*words, "--coordinator", farm.url, "--token-file", file]) == 0, capsys.readouterr()
        return capsys.readouterr().out.strip()

    name = f"zoe-{secrets.token_hex(4)}"
    zoe = Api(farm.url, told("owner", "add", name, "--expires", "90d"))
    rig = Api(farm.url, told("node", "add", f"rig-{name}", "--owner", name))
    (mine,) = [one for one in tokens(zoe) if not one["node"]]
    assert f"{mine['id']}  " in told("token", "list")
    fresh = Api(farm.url, told("token", "rotate", mine["id"]))
    assert is_dead(zoe)
    assert farm.admin_token not in told("token", "list", "--json")
    told("node", "remove", f"rig-{name}")
    assert is_dead(rig, "/nodes/self")
    (mine,) = tokens(fresh)
    assert mine["id"] in told("token", "revoke", mine["id"])
    assert is_dead(fresh)
    told("owner", "remove", name)
    assert name not in told("owner", "list")

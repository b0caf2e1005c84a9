# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole API on real servers: what works, and what is refused."""

import hashlib
import json
import os
import socket
import threading
import time
from dataclasses import replace

import pytest

from farm_protocol.fields import encode
from farm_protocol.records import (
    Beat,
    FailureCode,
    Heartbeat,
    JobSpec,
    LeaseRequest,
    Manifest,
    OutputFile,
    Progress,
    SlotOffer,
    TaskFailure,
    TaskResult,
)
from tests.api_calls import FACTS, KINDS, Api, events, manifest, under


@pytest.fixture
def admin(coordinator_server):
    return Api(coordinator_server.url, coordinator_server.admin_token)


@pytest.fixture
def ann(admin):
    """An owner. What anybody left unfinished is cancelled: its node shall get this test's tasks only."""
    for job in admin.ok("GET", "/jobs?unfinished=true")["jobs"]:
        admin.ok("POST", f"/jobs/{job['job']}/cancel")
    return admin.owner()


@pytest.fixture
def own(admin):
    return admin.node("own", own=True)


# --- a job from beginning to end --------------------------------------------------------------------


def test_job_from_scene_to_frames(ann, own):
    job = ann.job(tiles="2x1", name="shot")
    assert own.work() == 6
    told = ann.ok("GET", f"/jobs/{job}")
    assert told["state"] == "complete"
    assert told["frames"] == {"total": 2, "done": 2, "failed": 0}
    assert told["tasks"] == {"total": 6, "ready": 0, "leased": 0, "accepted": 6, "failed": 0}
    assert (told["width"], told["height"], told["extension"], told["device_class"]) == (64, 64, ".png", "cpu")
    assert told["render_seconds"] == 3.0
    frames = ann.ok("GET", f"/jobs/{job}/frames")["frames"]
    assert [(frame["frame"], frame["state"], frame["tiles"]) for frame in frames] == [
        (1, "done", 2),
        (2, "done", 2),
    ]
    stored = frames[0]["files"][0]
    content = ann.http.request("GET", stored["url"]).data
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (stored["sha256"], stored["size"])
    states = {task["state"] for task in ann.ok("GET", f"/jobs/{job}/tasks")["tasks"]}
    assert states == {"accepted"}


def test_lease_carries_all_a_node_needs(ann, own):
    content = os.urandom(50)
    scene = ann.scene(content)
    ann.job(scene, tiles="2x1", frames=(7,), resolution_percentage=50, samples=3, seed=-5)
    lease = own.lease()[0]
    assert lease["settings"] == {"samples": 3, "seed": -5, "resolution_percentage": 50, "format": "PNG"}
    assert (lease["width"], lease["height"], lease["scene"], lease["slot"]) == (32, 32, scene, "slot 0")
    assert lease["area"] == lease["canvas"] == {"x0": 0, "y0": 0, "x1": 32, "y1": 32}
    assert 0 < lease["expires_in"] <= 30
    files = own.ok("GET", f"{under(lease)}/scene?token={lease['token']}")
    assert files["main"] == "scene.blend"
    assert own.http.request("GET", files["files"]["scene.blend"]["url"]).data == content


def test_finish_starts_from_the_accepted_tiles(ann, own):
    ann.job(tiles="2x1", frames=(1,))
    for content in (b"left", b"right"):
        own.do(own.lease()[0], content)
    finish = own.lease()[0]
    assert finish["task"]["kind"] == "finish"
    fetched = [own.http.request("GET", entry["file"]["url"]).data for entry in finish["inputs"]]
    assert fetched == [b"left", b"right"]
    assert [entry["tile"]["x0"] for entry in finish["inputs"]] == [0, 32]


def test_bad_tile_is_rendered_again_by_another_node(ann, own, admin):
    job = ann.job(tiles="2x1", frames=(1,))
    for _ in range(2):
        own.do(own.lease()[0])
    finish = own.lease()[0]
    bad = finish["inputs"][1]["task"]
    failure = TaskFailure(FailureCode.BAD_INPUT, "not finite", (bad,))
    answer = own.ok("POST", f"{under(finish)}/failure?token={finish['token']}", failure)
    assert answer == {"state": "waiting"}
    other = admin.node("other", own=True)
    again = other.lease()[0]
    assert (again["task"]["id"], again["token"]) == (bad, 2)
    other.do(again)
    assert other.work() == 1
    assert ann.ok("GET", f"/jobs/{job}")["state"] == "complete"


def test_scene_that_always_fails_ends_its_job(ann, own, admin):
    job = ann.job(frames=(1, 2, 3, 4, 5))
    failure = TaskFailure(FailureCode.CRASHED, "Blender crashed")
    states, nodes = [], [own, admin.node("other", own=True)]
    while leases := nodes[0].lease():
        lease = leases[0]
        answer = nodes[0].ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
        states.append(answer["state"])
        nodes.reverse()
    assert states == ["ready", "ready", "failed"] * 3, "after three broken frames the rest is not tried"
    told = ann.ok("GET", f"/jobs/{job}")
    assert (told["state"], told["frames"]["failed"]) == ("failed", 3)
    assert "Blender crashed" in told["failure"]
    assert {frame["state"] for frame in ann.ok("GET", f"/jobs/{job}/frames")["frames"]} == {
        "failed",
        "cancelled",
    }
    first = ann.ok("GET", f"/jobs/{job}/tasks")["tasks"][0]
    assert [one["code"] for one in first["failures"]] == ["crashed"] * 3
    assert len({one["node"] for one in first["failures"]}) == 2


@pytest.mark.parametrize("at", ["render", "finish"])
def test_what_fails_in_tiles_is_tried_whole_before_it_fails(ann, own, admin, at):
    job = ann.job(frames=(1,))
    if at == "finish":
        own.do(own.lease()[0])
    failure = TaskFailure(FailureCode.SCENE, "Blender wrote no picture.")
    seen, nodes = [], [own, admin.node("other", own=True)]
    while leases := nodes[0].lease():
        (lease,) = leases
        seen.append((lease["task"]["kind"], lease["task"]["id"].endswith(".whole")))
        nodes[0].ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
        nodes.reverse()
    assert seen == [(at, False)] * 3 + [("render", True)] * 3
    told = ann.ok("GET", f"/jobs/{job}")
    assert (told["state"], told["frames"]["failed"]) == ("failed", 1)
    assert "cannot be rendered and put together (frame 1: Blender wrote no picture.)" in told["fallback"]


def test_broken_machine_does_not_fail_the_scene(ann, own):
    ann.job(frames=(1, 2, 3, 4))
    failure = TaskFailure(FailureCode.DEVICE, "no GPU")
    for lease in own.lease(slots=4):
        assert own.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure) == {"state": "ready"}
    assert own.lease() == [], "it is not handed the same tasks again at once"


# --- leases -----------------------------------------------------------------------------------------


def test_dead_lease_is_refused(ann, own, admin):
    ann.job(frames=(1,))
    lease = own.lease()[0]
    result = own.upload(lease, b"late")
    failure = TaskFailure(FailureCode.CRASHED, "it broke")
    own.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
    other = admin.node("other", own=True)
    second = other.lease()[0]
    assert second["token"] > lease["token"]
    token = f"token={lease['token']}"
    own.refused(409, "stale_lease", "POST", f"{under(lease)}/result?{token}", result)
    own.refused(409, "stale_lease", "POST", f"{under(lease)}/failure?{token}", failure)
    own.refused(409, "stale_lease", "GET", f"{under(lease)}/scene?{token}")
    own.refused(409, "stale_lease", "POST", f"{under(lease)}/uploads?{token}", {"files": result.files})
    other.do(second)


def test_submit_twice(ann, own):
    ann.job(frames=(1,))
    lease = own.lease()[0]
    result = own.upload(lease, b"once")
    first = own.submit(lease, result).body
    assert first["state"] == "accepted"
    assert own.submit(lease, result).body == first
    other = own.sign(lease, replace(result, render_seconds=99.0))
    own.refused(409, "stale_lease", "POST", f"{under(lease)}/result?token={lease['token']}", other)


def test_other_nodes_cannot_use_a_lease(ann, own, admin):
    ann.job(frames=(1,))
    lease = own.lease()[0]
    thief = admin.node("thief", own=True)
    result = own.upload(lease, b"mine")
    token = f"token={lease['token']}"
    thief.refused(409, "stale_lease", "GET", f"{under(lease)}/scene?{token}")
    thief.refused(403, "bad_signature", "POST", f"{under(lease)}/result?{token}", result)
    thief.refused(409, "stale_lease", "POST", f"{under(lease)}/result?{token}", thief.sign(lease, result))
    beat = Heartbeat((Beat(lease["task"]["id"], lease["token"]),))
    assert thief.ok("POST", "/leases/heartbeat", beat) == {"lost": [lease["task"]["id"]]}
    assert own.ok("POST", "/leases/heartbeat", beat) == {"lost": []}


def test_submit_needs_its_object(ann, own):
    ann.job(frames=(1,))
    lease = own.lease()[0]
    path = f"{under(lease)}/result?token={lease['token']}"
    file = OutputFile("tile.exr", hashlib.sha256(b"abc").hexdigest(), 3)
    nothing = own.sign(lease, TaskResult((file,), 1.0, 1.0, "cpu", pixel_root="0" * 64))
    said = own.refused(409, "conflict", "POST", path, nothing)
    assert "was not uploaded" in said
    result = own.upload(lease, b"abc")
    wrong_size = replace(result, files=(replace(file, size=4),))
    assert "3 bytes instead of 4" in own.refused(409, "conflict", "POST", path, wrong_size)
    wrong_sum = replace(result, files=(replace(file, sha256="0" * 64),))
    assert "was not uploaded" in own.refused(409, "conflict", "POST", path, own.sign(lease, wrong_sum))
    assert own.submit(lease, result).status == 200


def test_upload_link_takes_only_what_was_promised(ann, own):
    ann.job(frames=(1,))
    lease = own.lease()[0]
    content = os.urandom(1000)
    file = OutputFile("tile.exr", hashlib.sha256(content).hexdigest(), len(content))
    order = {"files": [file, replace(file, name="sub/extra.png")]}
    links = own.ok("POST", f"{under(lease)}/uploads?token={lease['token']}", order)["uploads"]
    assert [link["name"] for link in links] == ["tile.exr", "sub/extra.png"]
    assert own.put(links[0], os.urandom(1000)) in {400, 403}, "other bytes of the same length"
    for wrong in (content[:-1], content + b"x"):
        headers = {**links[0]["headers"], "content-length": str(len(wrong))}
        assert own.put({"url": links[0]["url"], "headers": headers}, wrong) in {400, 403}
    bare = own.http.request("PUT", links[0]["url"], body=content).status
    assert bare == 403, "the pinned checksum cannot be left out"
    assert own.put(links[0], content) == 200


def test_long_poll_wakes_when_a_job_comes(ann, own):
    answers = []
    asking = threading.Thread(target=lambda: answers.append((own.lease(wait=20.0), time.monotonic())))
    scene = ann.scene()
    asking.start()
    time.sleep(0.3)
    assert not answers
    ann.job(scene, frames=(1,))
    created = time.monotonic()
    asking.join(40)
    leases, woken = answers[0]
    assert len(leases) == 1
    assert woken - created < 10.0, "not only by the end of the poll"


def test_nothing_is_leased_to_who_hung_up(coordinator_server, ann, own):
    offer = SlotOffer("s", KINDS, "cpu")
    body = encode(LeaseRequest((offer,), 20.0, True))
    host, port = coordinator_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as link:
        head = f"POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {own.token}\r\n"
        link.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.3)
    job = ann.job(frames=(1,))
    time.sleep(0.3)
    assert ann.ok("GET", f"/jobs/{job}")["tasks"]["leased"] == 0
    assert len(own.lease()) == 1


def test_progress_is_seen_by_owner_and_operator(ann, own, admin):
    job = ann.job(frames=(1,))
    lease = own.lease()[0]
    beat = Beat(lease["task"]["id"], lease["token"], Progress(3, 4, "Sample 3/4"))
    own.ok("POST", "/leases/heartbeat", Heartbeat((beat,)))
    told = ann.ok("GET", f"/jobs/{job}/tasks")["tasks"][0]
    assert told["progress"] == {"done": 3, "total": 4, "activity": "Sample 3/4"}
    assert (told["state"], told["node"]) == ("leased", own.id)
    mine = next(node for node in admin.ok("GET", "/nodes")["nodes"] if node["node"] == own.id)
    assert mine["online"]
    assert mine["sandboxed"]
    (slot,) = mine["slots"]
    assert (slot["slot"], slot["task"], slot["progress"]) == ("slot 0", lease["task"]["id"], told["progress"])


# --- who may do what --------------------------------------------------------------------------------


def test_tokens_and_roles(coordinator_server, admin, ann, own):
    for token in ("", "nobody", coordinator_server.admin_token + "x"):
        stranger = Api(coordinator_server.url, token)
        stranger.refused(401, "unauthorized", "GET", "/jobs")
        stranger.refused(401, "unauthorized", "POST", "/leases", b"{}")
    assert Api(coordinator_server.url, "").ok("GET", "/health")["status"] == "ok"
    ann.refused(403, "forbidden", "POST", "/owners", {"name": "x"})
    ann.refused(403, "forbidden", "POST", "/nodes", {"name": "x", "own": True})
    ann.refused(403, "forbidden", "POST", "/leases", b"{}")
    own.refused(403, "forbidden", "GET", "/jobs")
    own.refused(403, "forbidden", "POST", "/scenes", b"{}")
    admin.refused(403, "forbidden", "POST", "/leases", b"{}")


def test_a_node_belongs_to_who_asked_for_it_or_to_whom_the_operator_names(admin, ann):
    bob = admin.ok("POST", "/owners", {"name": "bob"})["owner"]
    mine = admin.ok("POST", "/nodes", {"name": "mine"})["node"]
    his = admin.ok("POST", "/nodes", {"name": "his", "owner": bob})["node"]
    hers = ann.ok("POST", "/nodes", {"name": "hers"})["node"]
    owners = {one["node"]: one["owner"] for one in admin.ok("GET", "/nodes")["nodes"]}
    assert (owners[mine], owners[his]) == ("admin", bob)
    assert len({owners[mine], owners[his], owners[hers]}) == 3
    ann.refused(403, "forbidden", "POST", "/nodes", {"name": "x", "owner": bob})
    ann.refused(403, "forbidden", "GET", "/owners")
    admin.refused(404, "not_found", "POST", "/nodes", {"name": "x", "owner": "o0"})
    admin.refused(422, "invalid_input", "POST", "/nodes", {"name": "x", "owner": bob, "own": True})
    listed = {one["owner"]: one for one in admin.ok("GET", "/owners")["owners"]}
    assert listed[bob] == {"owner": bob, "name": "bob", "nodes": 1, "standing": {"passed": 0, "failed": 0}}
    assert next(iter(listed)) == "admin"


def test_owners_do_not_see_each_other(admin, ann):
    bob, content = admin.owner("bob"), os.urandom(100)
    scene = ann.scene(content)
    job = ann.job(scene)
    for path in ("", "/frames", "/tasks", "/events"):
        bob.refused(404, "not_found", "GET", f"/jobs/{job}{path}")
    bob.refused(404, "not_found", "POST", f"/jobs/{job}/cancel")
    assert bob.ok("GET", "/jobs")["jobs"] == []
    assert job in {one["job"] for one in admin.ok("GET", "/jobs")["jobs"]}
    node = ann.node("ann's")
    assert node.id not in {one["node"] for one in bob.ok("GET", "/nodes")["nodes"]}


def test_a_known_hash_opens_nobody_elses_asset(admin, ann):
    secret = os.urandom(100)
    scene = ann.scene(secret)
    bob = admin.owner("bob")
    theirs = bob.ok("POST", "/scenes", manifest(secret))
    assert (theirs["scene"], theirs["sealed"]) == (scene, False)
    assert len(theirs["missing"]) == 1, "bob must bring the bytes himself"
    said = bob.refused(409, "conflict", "POST", f"/scenes/{scene}/seal")
    assert "was not uploaded" in said
    spec = JobSpec(scene, (1,))
    bob.refused(409, "conflict", "POST", "/jobs", {"spec": spec, "facts": FACTS})


def test_nothing_is_uploaded_twice(ann):
    content = os.urandom(100)
    ann.scene(content)
    again = ann.ok("POST", "/scenes", manifest(content, "renamed.blend"))
    assert (again["sealed"], again["missing"]) == (True, [])


def test_interrupted_upload_goes_on(ann):
    first, second = os.urandom(100), os.urandom(100)
    files = {"a.blend": manifest(first).files["scene.blend"], "b.png": manifest(second).files["scene.blend"]}
    both = Manifest("a.blend", files)
    links = {one["sha256"]: one for one in ann.ok("POST", "/scenes", both)["missing"]}
    assert ann.put(links[files["a.blend"].sha256], first) == 200
    left = ann.ok("POST", "/scenes", both)
    assert [one["sha256"] for one in left["missing"]] == [files["b.png"].sha256]
    assert "'b.png' was not uploaded" in ann.refused(409, "conflict", "POST", f"/scenes/{left['scene']}/seal")


def test_wrong_bytes_do_not_reach_a_scene(ann):
    content = os.urandom(100)
    link = ann.ok("POST", "/scenes", manifest(content))["missing"][0]
    assert ann.put(link, os.urandom(100)) in {400, 403}
    assert ann.ok("POST", "/scenes", manifest(content))["missing"]


def test_unsandboxed_node_gets_only_its_owners_jobs(admin, ann):
    bob = admin.owner("bob")
    node = bob.node("bare")
    ann.job()
    assert node.lease(sandboxed=False) == []
    mine = bob.job()
    assert [lease["task"]["job"] for lease in node.lease(sandboxed=False, slots=4)] == [mine, mine]


def test_strangers_nodes_do_not_finish(ann, admin):
    guest = ann.node("guest")
    ann.job(frames=(1,))
    assert guest.work() == 1
    assert guest.lease() == [], "the finish task waits for an own node"


def test_final_jobs_go_to_own_nodes(ann, own):
    job = ann.job(facts=replace(FACTS, final_only=("EEVEE.",)), frames=(1,))
    assert ann.node("guest").lease() == []
    lease = own.lease()[0]
    assert lease["task"]["output"] == "final"
    own.do(lease)
    told = ann.ok("GET", f"/jobs/{job}")
    assert (told["state"], told["frames"]["done"]) == ("complete", 1)


def test_job_pins_the_class_of_its_first_lease(ann, own, admin):
    other = admin.node("other", own=True)
    own.device = "optix"
    job = ann.job(frames=(1, 2, 3), tiles="2x1")
    first = own.lease()[0]
    assert other.lease() == []
    own.do(first)
    assert other.lease() == [], "an accepted tile holds the pin"
    assert ann.ok("GET", f"/jobs/{job}")["device_class"] == "optix"
    assert len(other.lease(device_class="optix")) == 1


def test_pin_moves_while_nothing_was_rendered(ann, own, admin):
    other = admin.node("other", own=True)
    job = ann.job(frames=(1,))
    lease = own.lease(device_class="optix")[0]
    failure = TaskFailure(FailureCode.DEVICE, "gone")
    own.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
    assert len(other.lease()) == 1
    assert ann.ok("GET", f"/jobs/{job}")["device_class"] == "cpu"


def test_tile_of_another_class_is_refused(ann, own):
    ann.job(frames=(1,))
    lease = own.lease(device_class="optix")[0]
    said = own.submit(lease, own.upload(lease, b"rendered on the processor after all"))
    assert (said.status, said.body["code"]) == (422, "invalid_input")
    own.device = "optix"
    own.do(lease)


# --- what the owner wants ---------------------------------------------------------------------------


def test_pause_and_resume(ann, own):
    job = ann.job(frames=(1, 2, 3))
    lease = own.lease()[0]
    assert ann.ok("POST", f"/jobs/{job}/pause")["state"] == "paused"
    assert own.lease() == []
    own.do(lease)
    assert own.lease() == [], "not even the finish task"
    assert ann.ok("POST", f"/jobs/{job}/resume")["state"] == "rendering"
    own.work()
    assert ann.ok("GET", f"/jobs/{job}")["state"] == "complete"
    assert ann.ok("POST", f"/jobs/{job}/pause")["state"] == "complete"


def test_cancel_ends_leases_at_once(ann, own):
    job = ann.job(frames=(1, 2))
    done, lease = own.lease(slots=2)
    own.do(done)
    result = own.upload(lease, b"too late")
    assert ann.ok("POST", f"/jobs/{job}/cancel")["state"] == "cancelled"
    beat = Heartbeat((Beat(lease["task"]["id"], lease["token"]),))
    assert own.ok("POST", "/leases/heartbeat", beat) == {"lost": [lease["task"]["id"]]}
    assert own.submit(lease, result).status == 409
    assert own.lease() == []
    assert ann.ok("POST", f"/jobs/{job}/resume")["state"] == "cancelled"
    ann.refused(404, "not_found", "POST", f"/jobs/{job}/explode")


def test_priority_then_age(ann, own):
    scene = ann.scene()
    first, second = (ann.job(scene, frames=(1,), name=name, priority=40) for name in "ab")
    urgent = ann.job(scene, frames=(1,))
    order = [lease["task"]["job"] for _ in range(3) for lease in own.lease()]
    assert order == [urgent, first, second]


def test_unfinished_job_is_found_by_fingerprint(ann, own):
    scene = ann.scene()
    job = ann.job(scene, frames=(1,), name="one", priority=1)
    fingerprint = ann.ok("GET", f"/jobs/{job}")["fingerprint"]
    ann.job(scene, frames=(2,))
    query = f"/jobs?fingerprint={fingerprint}"
    assert [one["job"] for one in ann.ok("GET", f"{query}&unfinished=true")["jobs"]] == [job]
    own.work()
    assert ann.ok("GET", f"{query}&unfinished=true")["jobs"] == []
    again = ann.job(scene, frames=(1,), name="two")
    assert [one["job"] for one in ann.ok("GET", query)["jobs"]] == [again, job]


# --- events -----------------------------------------------------------------------------------------


def test_events_end_with_the_job_and_resume(ann, own):
    job = ann.job(frames=(1,), tiles="2x1")
    own.work()
    with events(ann, job) as stream:
        told = list(stream)
    assert told[-1]["event"] == "job"
    assert told[-1]["data"]["state"] == "complete"
    kinds = [(one["event"], one["data"].get("state")) for one in told if one["event"] != "job"]
    assert kinds.count(("task", "leased")) == kinds.count(("task", "accepted")) == 3
    frame = next(one["data"] for one in told if one["event"] == "frame")
    assert (frame["frame"], frame["state"], frame["tiles"], frame["render_seconds"]) == (1, "done", 2, 1.5)
    assert ann.http.request("GET", frame["files"][0]["url"]).data == b"pixels"
    with events(ann, job, told[3]["id"]) as stream:
        assert [one["id"] for one in stream] == [one["id"] for one in told[4:]]
    with events(ann, job, told[-1]["id"]) as stream:
        assert list(stream) == [], "nothing comes after the last event"


def test_events_come_as_they_happen(ann, own):
    job = ann.job(frames=(1,))
    with events(ann, job) as stream:
        assert next(stream)["event"] == "job"
        lease = own.lease()[0]
        leased = next(stream)["data"]
        assert (leased["state"], leased["node"], leased["slot"]) == ("leased", own.id, "slot 0")
        beat = Heartbeat((Beat(lease["task"]["id"], lease["token"], Progress(1, 4)),))
        own.ok("POST", "/leases/heartbeat", beat)
        progress = next(stream)
        assert progress["event"] == "progress"
        assert (progress["data"]["done"], progress["data"]["total"]) == (1, 4)


def test_nonsense_event_id_is_refused(ann):
    ann.refused(422, "invalid_input", "GET", f"/jobs/{ann.job()}/events", Last_Event_ID="$")


# --- creating once ----------------------------------------------------------------------------------


def test_same_key_same_job(ann):
    body = {"spec": JobSpec(ann.scene(), (1,)), "facts": FACTS}
    first, second = (ann.ok("POST", "/jobs", body, Idempotency_Key="k")["job"] for _ in range(2))
    assert first == second
    assert ann.ok("POST", "/jobs", body, Idempotency_Key="l")["job"] != first
    other = {**body, "spec": replace(body["spec"], frames=(2,))}
    ann.refused(409, "conflict", "POST", "/jobs", other, Idempotency_Key="k")


def test_same_key_same_token(admin):
    body = {"name": "twice"}
    for path in ("/owners", "/nodes"):
        first, second = (admin.ok("POST", path, body, Idempotency_Key="k") for _ in range(2))
        assert first == second
        assert admin.ok("POST", path, body)["token"] != first["token"]
        admin.refused(409, "conflict", "POST", path, {"name": "other"}, Idempotency_Key="k")


def test_keys_of_two_owners_do_not_meet(admin, ann):
    bob = admin.owner("bob")
    mine, theirs = (who.ok("POST", "/nodes", {"name": "n"}, Idempotency_Key="same") for who in (ann, bob))
    assert mine["node"] != theirs["node"]
    assert mine["token"] != theirs["token"]


# --- what cannot be rendered ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "facts"),
    [
        ({"frames": ()}, {}),
        ({"frames": (1, 1)}, {}),
        ({"resolution_percentage": 1}, {}),
        ({"tiles": "0x1"}, {}),
        ({"format": "TARGA_OF_TOMORROW"}, {}),
        ({}, {"camera": False}),
        ({}, {"refused": ("Unbaked cloth.",)}),
    ],
)
def test_unrenderable_jobs_are_refused(ann, spec, facts):
    wish = JobSpec(ann.scene(b"same scene"), **{"frames": (1,), **spec})
    said = ann.refused(
        422, "invalid_input", "POST", "/jobs", {"spec": wish, "facts": replace(FACTS, **facts)}
    )
    assert said.endswith((".", "tiles: write columns x rows, as in 4x2, or auto."))


def test_job_needs_a_sealed_scene(ann):
    body = {"spec": JobSpec("0" * 64, (1,)), "facts": FACTS}
    ann.refused(409, "conflict", "POST", "/jobs", body)


# --- hostile requests -------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"main": 1}', b"\xff\xfe", b"[" * 100_000])
def test_bad_json_is_refused(ann, raw):
    ann.refused(422, "invalid_input", "POST", "/scenes", raw)


def test_out_of_range_values_are_refused(ann, own):
    blob = {"sha256": "A" * 64, "size": 1}
    ann.refused(422, "invalid_input", "POST", "/scenes", {"main": "a", "files": {"a": blob}})
    ann.refused(422, "invalid_input", "POST", "/scenes", {"main": "a", "files": {"a": {**blob, "size": -1}}})
    wild = {"offers": [], "wait": 1e9, "sandboxed": True}
    own.refused(422, "invalid_input", "POST", "/leases", wild)
    twice = LeaseRequest((SlotOffer("s", KINDS, "cpu"), SlotOffer("s", KINDS, "cpu")))
    own.refused(422, "invalid_input", "POST", "/leases", twice)


def test_oversize_bodies_are_refused_before_they_are_read(coordinator_server, own, ann):
    own.refused(413, "too_large", "POST", "/leases", b" " * ((1 << 20) + 1))
    host, port = coordinator_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as link:
        head = f"POST /api/v1/scenes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ann.token}\r\n"
        link.sendall(f"{head}Content-Length: {1 << 40}\r\n\r\n".encode())
        assert b"413" in link.recv(1000).split(b"\r\n")[0], "answered though not a byte of it came"


def test_oversize_chunked_body_is_cut_off(coordinator_server, own):
    host, port = coordinator_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as link:
        head = f"POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {own.token}\r\n"
        link.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        link.sendall(chunk * 17)
        assert b"413" in link.recv(1000).split(b"\r\n")[0]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\\b", "C:evil", "a/../../b", "a\nb"])
def test_path_tricks_are_refused(ann, own, name):
    ann.refused(422, "invalid_input", "POST", "/scenes", manifest(b"x", name))
    ann.job(frames=(1,))
    lease = own.lease()[0]
    file = OutputFile(name, "0" * 64, 1)
    token = f"token={lease['token']}"
    own.refused(422, "invalid_input", "POST", f"{under(lease)}/uploads?{token}", {"files": [file]})
    result = TaskResult((file,), 1.0, 1.0, "cpu")
    own.refused(422, "invalid_input", "POST", f"{under(lease)}/result?{token}", result)


def test_wrong_addresses_and_methods_are_problems(ann, own):
    ann.refused(404, "not_found", "GET", "/nowhere")
    ann.refused(405, "method_not_allowed", "DELETE", "/jobs")
    ann.refused(404, "not_found", "GET", "/jobs/..%2f..%2fetc")
    own.refused(422, "invalid_input", "GET", "/leases/x/scene?token=abc")
    own.refused(422, "invalid_input", "GET", "/leases/x/scene")
    own.refused(409, "stale_lease", "GET", "/leases/x%0d%0aFLUSHALL/scene?token=1")


def test_words_of_nodes_cannot_steer_a_terminal(ann, own):
    job = ann.job(frames=(1,))
    odd = {"offers": [{"slot": "s\u001b[2J", "kinds": ["render"], "device_class": "cpu"}], "sandboxed": True}
    own.refused(422, "invalid_input", "POST", "/leases", odd)
    lease = own.lease()[0]
    failure = TaskFailure(FailureCode.NODE, "disk \x1b]0;full\x07")
    own.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
    task = ann.ok("GET", f"/jobs/{job}/tasks")["tasks"][0]
    assert task["failures"][0]["message"] == "disk  ]0;full "
    ann.refused(422, "invalid_input", "POST", "/nodes", {"name": "a\nb"})


@pytest.mark.parametrize("tail", ["%3Atasks", "%3Aevents", "%3Aready%3Arender", "%00", "%0a"])
def test_ids_reach_no_other_keys(ann, tail):
    job = ann.job(frames=(1,))
    ann.refused(404, "not_found", "GET", f"/jobs/{job}{tail}")
    ann.refused(404, "not_found", "GET", f"/jobs/{job}{tail}/frames")


def test_openapi_describes_every_call(coordinator_server):
    told = Api(coordinator_server.url, "").ok("GET", "/openapi.json")
    text = json.dumps(told)
    named = set(told["components"]["schemas"])
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= named, used - named
    lease = told["paths"]["/api/v1/leases"]["post"]
    assert lease["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("LeaseRequest")
    assert lease["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("LeaseList")
    assert "offers" in told["components"]["schemas"]["LeaseRequest"]["properties"]
    assert len(told["paths"]) >= 30


def test_page_lists_every_call(coordinator_server):
    answer = Api(coordinator_server.url, "").http.request("GET", f"{coordinator_server.url}/docs")
    text = answer.data.decode()
    told = Api(coordinator_server.url, "").ok("GET", "/openapi.json")
    assert text.count("<dt>") == sum(len(calls) for calls in told["paths"].values())
    assert "/api/v1/leases/{task}/result" in text
    assert "<script" not in text
    assert "default-src 'none'" in answer.headers["content-security-policy"]

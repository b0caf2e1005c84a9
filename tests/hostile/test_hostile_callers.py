# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and nodes with tokens that ask too much: it is refused, or done beside the others' calls."""

import asyncio
import hashlib
import threading
from contextlib import ExitStack

import msgspec
import pytest
import urllib3

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode, decoder, encode
from farm_protocol.records import Blob, JobSpec, Manifest, OutputFile
from frame_splitter.split import fingerprint
from render_farm.api.edge import AT_ONCE, LARGE_BODY, MOST_ITEMS
from render_farm.api.reading import PAGE
from render_farm.farm import Farm
from render_farm.gates import PIECE, Busy, Turns, Workshop
from render_farm.intake import MOST_FOLDERS, check_manifest
from render_farm.quotes import MOST_AT_ONCE
from render_farm.store.identities import Caller, Role
from tests import servers
from tests.api_calls import FACTS, Api, events, under

JOBS, TASKS, GIGABYTES, STREAMS, NODES = 3, 40, 1, 2, 2
QUOTAS = {
    "jobs": JOBS,
    "tasks": TASKS,
    "gigabytes": GIGABYTES,
    "streams": STREAMS,
    "nodes": NODES,
}


@pytest.fixture(scope="module")
def farm(tmp_path_factory, seaweed_server):
    """A coordinator whose owners may have little."""
    folder = tmp_path_factory.mktemp("callers")
    options = [word for name, most in QUOTAS.items() for word in (f"--quota-{name}", str(most))]
    with servers.unshaken_coordinator(folder, seaweed_server, *options) as running:
        yield running


@pytest.fixture
def admin(farm):
    return Api(farm.url, farm.admin_token)


@pytest.fixture
def ann(admin):
    return admin.owner()


def file(content=b"a", size=None):
    return Blob(hashlib.sha256(content).hexdigest(), len(content) if size is None else size)


# --- nothing keeps the event loop --------------------------------------------------------------------


def test_folders_in_folders_are_looked_at_once():
    """28,000 names of 500 folders took a quarter of a minute each time."""
    deep = "/".join("d" for _ in range(MOST_FOLDERS))
    names = {f"{deep}/{number}": file() for number in range(30_000)}
    check_manifest(Manifest(f"{deep}/0", names))
    with pytest.raises(InvalidInput, match="folders"):
        check_manifest(Manifest("a", {"a": file(), f"d/{deep}/a": file()}))
    with pytest.raises(InvalidInput, match="also a folder"):
        check_manifest(Manifest("a", {"a": file(), "b/c": file(), "b/c/d/e": file()}))


def test_a_frame_named_twice_at_the_end_of_many(ann):
    """Each of so many was counted among all."""
    scene = ann.scene()
    frames = (*range(99_998), 99_997)
    order = {"spec": JobSpec(scene, frames, "1x1"), "facts": FACTS}
    assert "99997 is listed twice" in ann.refused(422, "invalid_input", "POST", "/jobs", order)


def test_others_are_answered_while_a_large_manifest_is_read(farm, ann):
    """The call is open all the while, and somebody else is answered."""
    names = {f"{'n' * 200}/{number}": file() for number in range(60_000)}
    raw = encode(Manifest(next(iter(names)), names))
    assert len(raw) < LARGE_BODY
    done = threading.Event()
    answers = []

    def send():
        answers.append(Api(farm.url, ann.token).call("POST", "/scenes", raw))
        done.set()

    sending = threading.Thread(target=send)
    sending.start()
    others = 0
    while not done.is_set():
        assert Api(farm.url, "").ok("GET", "/farm")["address"]
        others += 1
    sending.join()
    assert answers[0].status == 200
    assert others > 3


def test_many_links_are_signed_beside_others(admin, ann):
    node, job = admin.node(own=True), ann.job(frames=(1,))
    lease = node.lease()[0]
    files = tuple(OutputFile(f"{number}.exr", file().sha256, 1) for number in range(1000))
    links = node.ok("POST", f"{under(lease)}/uploads?token={lease['token']}", {"files": files})["uploads"]
    assert len(links) == 1000
    much = tuple(OutputFile(f"{number}.exr", file().sha256, 4 * 1000**3) for number in range(1000))
    sentence = node.refused(
        422, "invalid_input", "POST", f"{under(lease)}/uploads?token={lease['token']}", {"files": much}
    )
    assert "GB in all" in sentence
    ann.ok("POST", f"/jobs/{job}/cancel")


def test_frames_have_bounds_of_tiles(ann):
    order = {"spec": JobSpec(ann.scene(), (1,), "999x999"), "facts": FACTS}
    assert "tiles" in ann.refused(422, "invalid_input", "POST", "/jobs", order)


def test_long_work_of_others_is_a_piece_long():
    """Two owners ask for a great many links each; a third has a few in between."""
    ann, bob, eve = (Caller(Role.OWNER, name, "") for name in ("ann", "bob", "eve"))
    done, begun = [], threading.Event()

    def work(number):
        done.append(number)
        begun.set()

    async def story():
        workshop = Workshop()
        many = [asyncio.create_task(workshop.each(one, range(20 * PIECE), work)) for one in (ann, bob)]
        assert await asyncio.to_thread(begun.wait, 60)
        assert await workshop.do(eve, lambda: "done") == "done"
        before = len(done)
        await asyncio.gather(*many)
        workshop.close()
        assert before < len(done) == 40 * PIECE

    asyncio.run(story())


def test_one_caller_does_not_fill_the_queue():
    """What waits for its turn is counted: more of a caller's is refused, others come in."""
    ann, eve = (Caller(Role.OWNER, name, "") for name in ("ann", "eve"))

    async def story():
        turns, opened = Turns("things", 1, 2, waiting=3), asyncio.Event()

        async def hold(caller):
            async with turns.taken(caller):
                await opened.wait()

        held = [asyncio.create_task(hold(ann)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await hold(ann)
        opened.set()
        await hold(eve)
        await asyncio.gather(*held, hold(ann))

    asyncio.run(story())


def test_many_who_ask_whether_all_is_well_ask_the_parts_once():
    """Anybody may ask: a thousand at once would keep results from being looked at."""
    asked = []

    class Slow:
        """A coordinator whose parts take a while."""

        _asked = None
        parts_answer = Farm.parts_answer

        async def _ask_parts(self):
            asked.append(1)
            await asyncio.sleep(0)
            return True, True

    async def story():
        farm = Slow()
        assert await asyncio.gather(*(farm.parts_answer() for _ in range(100))) == [(True, True)] * 100
        assert len(asked) == 1
        await farm.parts_answer()
        assert len(asked) == 2

    asyncio.run(story())


# --- bodies and headers ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/jobs", "/quotes", "/scenes", "/nodes", "/owners"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"spec":[', b'[{"files":'])
def test_deep_bodies_are_refused(admin, path, opening):
    assert admin.call("POST", path, opening * 100_000).status in {413, 422}
    assert admin.call("POST", path, opening * 6_000).status == 422


@pytest.mark.parametrize(
    "path",
    [
        "/leases",
        "/leases/heartbeat",
        "/leases/x/uploads?token=1",
        "/leases/x/result?token=1",
        "/leases/x/failure?token=1",
        "/nodes/self",
        "/nodes/self/offer",
        "/nodes/self/releases",
    ],
)
def test_deep_bodies_of_nodes_are_refused(admin, path):
    assert admin.node().call("POST", path, b'{"a":' + b"[" * 400_000).status in {413, 422}
    assert admin.node().call("POST", path, b'{"a":' + b"[" * 60_000).status == 422


@pytest.mark.parametrize("kind", [Manifest, JobSpec, SceneFacts, dict])
def test_deep_json_is_a_sentence_for_everybody(kind):
    with pytest.raises(InvalidInput, match="nested too deeply"):
        decode(b'{"a":' * 100_000, kind)
    with pytest.raises(msgspec.DecodeError):
        decoder(kind).decode(b'{"a":' * 100_000)


def test_bodies_have_bounds_of_items(ann):
    body = b'{"main":"a","files":{},"x":[' + b"1," * (MOST_ITEMS + 1) + b"1]}"
    assert "items" in ann.refused(413, "too_large", "POST", "/scenes", body)


def test_bodies_without_a_length_have_bounds(ann):
    def endless():
        for _ in range(LARGE_BODY // AT_ONCE + 2):
            yield b" " * AT_ONCE

    headers = {"Authorization": f"Bearer {ann.token}"}
    try:
        answer = ann.http.request("POST", f"{ann.url}/api/v1/scenes", headers=headers, body=endless())
    except (urllib3.exceptions.HTTPError, OSError):
        return  # the coordinator hung up
    assert answer.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "identity, gzip", "x"])
def test_compressed_bodies_are_refused(ann, encoding):
    ann.refused(415, "unsupported_encoding", "POST", "/scenes", b"{}", Content_Encoding=encoding)


@pytest.mark.parametrize(
    "after",
    ["99999999999999999999", "18446744073709551616", "1-18446744073709551616", "-1", "1-", "٣", "0x1", "$"],
)
def test_event_ids_have_bounds(ann, after):
    job = ann.job(frames=(1,))
    ann.refused(422, "invalid_input", "GET", f"/jobs/{job}/events", Last_Event_ID=after.encode())
    ann.ok("POST", f"/jobs/{job}/cancel")


def test_the_largest_event_id_is_one(ann):
    job = ann.job(frames=(1,))
    ann.ok("POST", f"/jobs/{job}/cancel")
    with events(ann, job, "18446744073709551615-18446744073709551615") as heard:
        assert list(heard) == []


@pytest.mark.parametrize("after", ["99999999999999999999", "1-99999999999999999999", "x"])
def test_promises_have_such_bounds_too(admin, after):
    admin.node().refused(422, "invalid_input", "GET", f"/nodes/self/promises?after={after}")


@pytest.mark.parametrize(
    "path",
    [
        "/log/proof?leaf=99999999999999999999999&size=99999999999999999999999",
        "/log/proof?leaf=-1&size=1",
        "/log/proof?leaf=0&size=" + "9" * 5000,
        "/log/rounds/" + "9" * 400,
        "/jobs/" + "a" * 5000,
        "/jobs?fingerprint=" + "%00" * 100,
        "/quotes/q?wait=1e400",
        "/quotes/q?wait=nan",
        "/jobs/x/frames/" + "9" * 30 + "/receipt",
    ],
)
def test_numbers_have_bounds(admin, path):
    assert 200 <= admin.call("GET", path).status < 500


@pytest.mark.parametrize("tail", ["%3Aslots", "%3Aoffers", "%3Aleases", "%3Aaudits", "%3Apromises"])
def test_names_of_nodes_reach_no_other_keys(admin, tail):
    node = admin.node()
    job = admin.job(frames=(1,))
    node.lease()
    admin.refused(404, "not_found", "POST", f"/nodes/{node.id}{tail}/retire")
    admin.ok("POST", f"/jobs/{job}/cancel")


def test_names_of_tasks_and_scenes_reach_no_other_keys(admin, ann):
    job, node = ann.job(frames=(1,)), admin.node(own=True)
    lease = node.lease()[0]
    task = lease["task"]["id"]
    for name in (f"{task}:extras", f"{task}%0a", f"{job}:tasks", "../x"):
        assert node.call("GET", f"/leases/{name}/scene?token=1").status in {404, 409}
        beat = {"beats": [{"task": name, "token": 1}]}
        node.refused(422, "invalid_input", "POST", "/leases/heartbeat", beat)
    assert ann.call("POST", f"/scenes/{'0' * 64}:waiting/seal").status == 404
    order = {"spec": JobSpec(f"{'0' * 64}:waiting", (1,), "1x1"), "facts": FACTS}
    ann.refused(422, "invalid_input", "POST", "/jobs", order)
    ann.refused(422, "invalid_input", "POST", "/quotes", order)
    ann.ok("POST", f"/jobs/{job}/cancel")


# --- quotas ------------------------------------------------------------------------------------------


def test_unfinished_jobs_are_counted(ann):
    scene = ann.scene()
    jobs = [ann.job(scene, frames=(1,)) for _ in range(JOBS)]
    order = {"spec": JobSpec(scene, (1,), "1x1"), "facts": FACTS}
    assert f"{JOBS} unfinished jobs" in ann.refused(403, "quota", "POST", "/jobs", order)
    assert ann.ok("GET", "/quota")["jobs"] == {"used": JOBS, "most": JOBS}
    ann.ok("POST", f"/jobs/{jobs[0]}/cancel")
    assert ann.ok("GET", "/quota")["jobs"]["used"] == JOBS - 1
    ann.job(scene, frames=(1,))


def test_tasks_are_counted_and_a_refused_job_leaves_nothing(ann):
    scene = ann.scene()
    ann.job(scene, frames=tuple(range(15)))
    assert ann.ok("GET", "/quota")["tasks"] == {"used": 30, "most": TASKS}
    order = {"spec": JobSpec(scene, tuple(range(6)), "1x1"), "facts": FACTS}
    assert "has 30 tasks" in ann.refused(403, "quota", "POST", "/jobs", order).replace("have", "has")
    assert len(ann.ok("GET", "/jobs")["jobs"]) == 1
    ann.job(scene, frames=tuple(range(5)))


def test_a_finished_job_counts_no_more(admin, ann):
    own = admin.node(own=True)
    ann.job(frames=(1,))
    own.work()
    assert ann.ok("GET", "/quota")["jobs"]["used"] == 0


def test_at_once_they_get_no_more_than_one_by_one(farm, ann):
    scene = ann.scene()
    order = {"spec": JobSpec(scene, (1,), "1x1"), "facts": FACTS}
    outcomes = []
    threads = [
        threading.Thread(
            target=lambda: outcomes.append(Api(farm.url, ann.token).call("POST", "/jobs", order))
        )
        for _ in range(4 * JOBS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.status for one in outcomes) == [201] * JOBS + [403] * 3 * JOBS


def test_bytes_are_counted_once(ann):
    scene = Manifest("a", {"a": file(b"a", 600_000_000), "b": file(b"a", 600_000_000)})
    for _ in range(2):
        assert len(ann.ok("POST", "/scenes", scene)["missing"]) == 1
    assert ann.ok("GET", "/quota")["bytes"] == {"used": 600_000_000, "most": 1_000_000_000}
    more = Manifest("b", {"b": file(b"b", 400_000_001)})
    assert "GB" in ann.refused(403, "quota", "POST", "/scenes", more)
    assert ann.call("POST", f"/scenes/{'0' * 64}/seal").status == 404
    ann.ok("POST", "/scenes", Manifest("b", {"b": file(b"b", 400_000_000)}))


def test_the_operator_has_no_such_bounds(admin):
    scene = admin.scene()
    jobs = [admin.job(scene, frames=tuple(range(TASKS))) for _ in range(JOBS + 1)]
    assert admin.ok("GET", "/quota")["jobs"]["most"] is None
    for job in jobs:
        admin.ok("POST", f"/jobs/{job}/cancel")


def test_nodes_of_an_owner_are_counted(ann):
    for _ in range(NODES):
        ann.node()
    ann.refused(403, "quota", "POST", "/nodes", {"name": "one more"})


def test_streams_of_an_owner_are_counted(admin, ann):
    job = ann.job(frames=(1,))
    with ExitStack() as held:
        heard = [held.enter_context(events(ann, job)) for _ in range(STREAMS)]
        assert all(next(one)["event"] == "job" for one in heard)
        answer = ann.call("GET", f"/jobs/{job}/events")
        assert (answer.status, answer.body["code"]) == (429, "quota")
        assert answer.headers["retry-after"]
        bob = admin.owner("bob")
        other = bob.job(frames=(1,))
        with events(bob, other) as his:
            assert next(his)["event"] == "job"
        bob.ok("POST", f"/jobs/{other}/cancel")
    ann.ok("POST", f"/jobs/{job}/cancel")


def test_streams_that_were_left_are_not_counted(ann):
    """Also those that nobody read a byte of."""
    job = ann.job(frames=(1,))
    for _ in range(5 * STREAMS):
        answer = ann.http.request(
            "GET",
            f"{ann.url}/api/v1/jobs/{job}/events",
            headers={"Authorization": f"Bearer {ann.token}"},
            preload_content=False,
        )
        answer.close()
        while answer.status == 200 and ann.ok("GET", "/quota")["streams"]["used"] == STREAMS:
            pass
    ann.ok("POST", f"/jobs/{job}/cancel")
    while ann.ok("GET", "/quota")["streams"]["used"]:
        pass


def test_nobody_goes_before_everybody(admin, ann):
    scene = ann.scene()
    order = {"spec": JobSpec(scene, (1,), "1x1", priority=51), "facts": FACTS}
    assert "priority" in ann.refused(403, "forbidden", "POST", "/jobs", order)
    ann.ok("POST", f"/jobs/{ann.job(scene, frames=(1,), priority=0)}/cancel")
    ann.ok("POST", f"/jobs/{ann.job(scene, frames=(1,), priority=50)}/cancel")
    admin.ok("POST", f"/jobs/{admin.job(frames=(1,), priority=100)}/cancel")


def test_a_flood_of_quotes_does_not_go_before_everybody(admin, ann):
    """A person waits for a quote or two; ten are a queue."""
    bob, own = admin.owner("bob"), admin.node(own=True)
    job = bob.job(frames=(1,))
    order = {"spec": JobSpec(ann.scene(), (1,), "1x1"), "facts": FACTS}
    asked = [ann.ok("POST", "/quotes", order)["quote"] for _ in range(MOST_AT_ONCE)]
    ann.refused(409, "too_many_quotes", "POST", "/quotes", order)
    kinds = ("render", "finish", "probe")
    before = []
    while (next_one := own.lease(kinds=kinds)[0]["task"]["job"]) != job:
        before.append(next_one)
    assert len(set(before) & set(asked)) <= 2
    for one in (*asked, job):
        admin.ok("POST", f"/jobs/{one}/cancel")


def test_fingerprints_do_not_tell_priorities_apart():
    """Else a refused job could not be found again under a lower one."""
    spec = JobSpec("0" * 64, (1,))
    assert fingerprint(spec) == fingerprint(JobSpec("0" * 64, (1,), priority=1))


def test_a_job_of_very_many_frames_is_made_and_ended_beside_others(farm, admin):
    """The store is held for no longer than others' calls take."""
    scene, done = admin.scene(), threading.Event()
    made = []

    def work():
        job = admin.job(scene, frames=tuple(range(20_000)))
        made.append(Api(farm.url, farm.admin_token).ok("POST", f"/jobs/{job}/cancel"))
        done.set()

    working = threading.Thread(target=work)
    working.start()
    others = 0
    while not done.is_set():
        assert Api(farm.url, farm.admin_token).ok("GET", "/quota")["jobs"]["most"] is None
        others += 1
    working.join()
    assert others > 3
    assert made[0]["state"] == "cancelled"
    assert made[0]["tasks"]["ready"] == 0
    total = made[0]["tasks"]["total"]
    for after in range(0, total, PAGE):
        page = admin.ok("GET", f"/jobs/{made[0]['job']}/tasks?after={after}")
        assert {task["state"] for task in page["tasks"]} == {"cancelled"}
        assert page["more"] is (after + PAGE < total)


def test_a_full_store_is_said_and_lets_what_goes_on_end(farm, admin, ann):
    import redis

    own, job = admin.node(own=True), ann.job(frames=(1,))
    with redis.Redis.from_url(farm.store.url) as store:
        lease = own.lease()[0]
        store.config_set("maxmemory", "1")
        try:
            order = {"spec": JobSpec(ann.ok("GET", f"/jobs/{job}")["scene"], (1,), "1x1"), "facts": FACTS}
            assert "full" in ann.refused(507, "storage_full", "POST", "/jobs", order)
            own.do(lease)
            assert own.work()
            assert ann.ok("GET", f"/jobs/{job}")["state"] == "complete"
            token = ann.ok("GET", "/tokens")["tokens"][0]["id"]
            assert ann.ok("DELETE", f"/tokens/{token}")["id"] == token
            assert ann.call("GET", "/jobs").status == 401
        finally:
            store.config_set("maxmemory", "0")

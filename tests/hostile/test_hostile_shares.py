# SPDX-License-Identifier: GPL-3.0-or-later
"""One owner, with however many nodes and calls, takes no more than its share of what all have together."""

import asyncio
import hashlib
import os
from types import SimpleNamespace

import pytest
import redis
from starlette.requests import ClientDisconnect

from farm_protocol.errors import Unavailable
from farm_protocol.fields import encode
from farm_protocol.records import Blob, Manifest
from farm_protocol.typed_data import BadSignature
from render_farm.client.farm_client import FarmClient
from render_farm.coordinator.api import description, edge, people
from render_farm.coordinator.api.reading import PAGE, turn
from render_farm.coordinator.gates import FARMS_PART, OWNERS_PART, Busy, Gate, Turns
from render_farm.coordinator.limits import Quota
from render_farm.serving.connection_limits import Doors, Limits, household
from render_farm.store import keys
from render_farm.store.identities import ADMIN, Caller, Role
from tests.support import servers
from tests.support.coordinator_api import Api

MOST = 1_000_000_000


@pytest.fixture(scope="module")
def farm(tmp_path_factory, seaweed_server):
    """A coordinator whose owners may store a gigabyte."""
    folder = tmp_path_factory.mktemp("shares")
    with servers.unshaken_coordinator(folder, seaweed_server, "--quota-gigabytes", "1") as running:
        yield running


@pytest.fixture
def admin(farm):
    return Api(farm.url, farm.admin_token)


@pytest.fixture
def ann(admin):
    return admin.owner()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def scene(sizes):
    """A scene of files of these sizes."""
    names = {f"f{number}": Blob(digest(b"%d" % number), size) for number, size in enumerate(sizes)}
    return Manifest("f0", names)


def node_of(owner, number, own=False):
    return Caller(Role.NODE, owner, f"{owner}-{number}", own)


# --- bytes -------------------------------------------------------------------------------------------


def test_a_blob_counts_with_the_largest_size_told_for_it(ann):
    """Told one byte first, 1.2 GB came in beside a quota of one."""
    sizes = [10_000_000] * 120
    ann.ok("POST", "/scenes", scene([1] * 120))
    assert "1.2 GB" in ann.refused(403, "quota", "POST", "/scenes", scene(sizes))
    assert ann.ok("GET", "/quota")["bytes"]["used"] == 120
    ann.ok("POST", "/scenes", scene(sizes[:90]))
    ann.ok("POST", "/scenes", scene([1] * 120))
    assert ann.ok("GET", "/quota")["bytes"]["used"] == 90 * 10_000_000 + 30
    ann.refused(403, "quota", "POST", "/scenes", scene(sizes))


def test_one_size_at_a_time_comes_to_no_more(ann):
    for size in (0, 1, 500_000_000, MOST):
        ann.ok("POST", "/scenes", scene([size]))
        assert ann.ok("GET", "/quota")["bytes"]["used"] == size
    ann.refused(403, "quota", "POST", "/scenes", scene([MOST + 1]))


def test_a_scene_with_another_size_than_the_file_has_is_not_sealed(ann):
    """Its file was checked before, with its own size."""
    content = os.urandom(100)
    ann.scene(content)
    other = ann.ok("POST", "/scenes", Manifest("a", {"a": Blob(digest(content), 99)}))
    assert not other["sealed"]
    assert "100 bytes instead of 99" in ann.refused(409, "conflict", "POST", f"/scenes/{other['scene']}/seal")


# --- places ------------------------------------------------------------------------------------------


def filled(gate, callers):
    """How many of the callers' calls come in, until one of each is refused."""
    came = 0
    for caller in callers:
        try:
            while True:
                gate.enter(caller)
                came += 1
        except (Busy, Unavailable):
            pass
    return came


def test_one_operators_nodes_have_a_share_of_the_places():
    """Seventeen nodes of one operator kept everybody else from waiting for work."""
    gate = Gate("calls that wait", 128, 2048)
    assert filled(gate, [node_of("eve", number) for number in range(100)]) == 2048 // OWNERS_PART
    gate.enter(node_of("ann", 1))
    with pytest.raises(Busy, match="Your nodes and you"):
        gate.enter(Caller(Role.OWNER, "eve", ""))


def test_places_are_kept_for_the_farm():
    gate = Gate("calls that wait", 128, 2048)
    many = [node_of(f"o{owner}", number) for owner in range(10) for number in range(20)]
    assert filled(gate, many) == 2048 - 2048 // FARMS_PART
    with pytest.raises(Unavailable):
        gate.enter(node_of("ann", 1))
    own = node_of(ADMIN, 1, own=True)
    gate.enter(own)
    gate.enter(Caller(Role.ADMIN, ADMIN, ""))
    for caller in many:
        while gate.used(caller):
            gate.leave(caller)
    assert filled(gate, [node_of("eve", number) for number in range(100)]) == 2048 // OWNERS_PART


def test_one_operators_nodes_have_one_turn_at_a_time():
    """And close the workshop to nobody."""
    opened, having = asyncio.Event(), asyncio.Queue()

    async def hold(turns, caller):
        async with turns.taken(caller):
            having.put_nowait(caller.owner)
            await opened.wait()

    async def story():
        turns, refused = Turns("long requests", 1, 2), 0
        held = [asyncio.create_task(hold(turns, node_of("eve", n // 30))) for n in range(300)]
        await asyncio.sleep(0)
        honest = asyncio.create_task(hold(turns, Caller(Role.OWNER, "ann", "")))
        assert {await having.get(), await having.get()} == {"eve", "ann"}
        opened.set()
        await honest
        for one in held:
            try:
                await one
            except Busy:
                refused += 1
        assert refused > 200

    asyncio.run(story())


def test_the_farms_own_nodes_wait_for_no_stranger():
    """Each of them has its own line."""
    opened, having = asyncio.Event(), asyncio.Queue()

    async def hold(turns, caller):
        async with turns.taken(caller):
            having.put_nowait(caller.owner)
            await opened.wait()

    async def story():
        turns = Turns("long requests", 1, 3)
        callers = [node_of(ADMIN, number, own=True) for number in range(2)]
        callers.append(Caller(Role.ADMIN, ADMIN, ""))
        held = [asyncio.create_task(hold(turns, caller)) for caller in callers]
        for _ in callers:
            assert await having.get() == ADMIN
        opened.set()
        await asyncio.gather(*held)

    asyncio.run(story())


# --- long answers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_job(farm):
    """Its owner, and a job of more frames and tasks than one answer has."""
    owner = Api(farm.url, farm.admin_token).owner("long")
    return owner, owner.job(frames=tuple(range(2 * PAGE + 1)))


@pytest.mark.parametrize("kind", ["tasks", "frames"])
def test_long_lists_are_told_a_page_at_a_time(long_job, kind):
    """One answer had 98,000 tasks, took a quarter of a minute, and could be asked for at will."""
    owner, job = long_job
    first = owner.ok("GET", f"/jobs/{job}/{kind}")
    assert (len(first[kind]), first["more"]) == (PAGE, True)
    second = owner.ok("GET", f"/jobs/{job}/{kind}?after={PAGE}&limit={PAGE}")
    assert second[kind][0] not in first[kind]
    past = owner.ok("GET", f"/jobs/{job}/{kind}?after=1000000")
    assert (past[kind], past["more"]) == ([], False)
    for wrong in ("after=-1", "limit=0", f"limit={PAGE + 1}", "after=" + "9" * 40):
        owner.refused(422, "invalid_input", "GET", f"/jobs/{job}/{kind}?{wrong}")


def test_clients_follow_the_pages(farm, long_job):
    owner, job = long_job
    with FarmClient(farm.url, owner.token, own=True) as client:
        frames = [one.frame for one in client.frames(job)]
        assert frames == list(range(2 * PAGE + 1))
        tasks = [one.task.id for one in client.tasks(job)]
        assert len(tasks) == len(set(tasks)) == client.job(job).tasks.total


def test_one_long_answer_of_an_owner_is_made_at_a_time():
    """Others of the same owner stand in line, so many, and somebody else's is made meanwhile."""
    opened, having = asyncio.Event(), asyncio.Queue()
    farm = SimpleNamespace(reads=Turns("long answers", 1, 8))
    request = SimpleNamespace(
        app=SimpleNamespace(state=SimpleNamespace(farm=farm)), is_disconnected=still_there
    )

    async def make(owner):
        async with turn(request, Caller(Role.OWNER, owner, "")):
            having.put_nowait(owner)
            await opened.wait()

    async def story():
        made = [asyncio.create_task(make("eve")) for _ in range(40)]
        assert await having.get() == "eve"
        made.append(asyncio.create_task(make("ann")))
        assert await having.get() == "ann"
        opened.set()
        outcomes = await asyncio.gather(*made, return_exceptions=True)
        assert sum(isinstance(one, Busy) for one in outcomes) == 8

    asyncio.run(story())


async def still_there():
    return False


def test_nothing_is_read_for_who_has_left():
    """What a caller asked for went on for minutes after the caller had hung up."""
    read = []

    class Left:
        """A request whose caller hung up while it stood in line."""

        app = SimpleNamespace(state=SimpleNamespace(farm=SimpleNamespace(reads=Turns("long answers", 1, 8))))

        async def is_disconnected(self):
            return True

    async def story():
        async with turn(Left(), Caller(Role.OWNER, "ann", "")):
            read.append(1)

    with pytest.raises(ClientDisconnect):
        asyncio.run(story())
    assert not read


# --- small calls -------------------------------------------------------------------------------------


def test_the_description_is_written_once(farm):
    """Anybody may ask for it, without a token: each time it was all written anew."""
    made = []

    def openapi():
        made.append(1)
        return {"info": {"title": "t", "version": "1"}, "paths": {}}

    async def story():
        request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(), openapi=openapi))
        assert (await description.document(request)).body == (await description.document(request)).body
        assert (await description.page(request)).body == (await description.page(request)).body

    asyncio.run(story())
    assert made == [1]
    assert "/jobs/{job}/tasks" in str(Api(farm.url, "").ok("GET", "/openapi.json")["paths"])


@pytest.mark.parametrize(
    ("who", "path"), [("node", "/nodes/self"), ("owner", "/nodes"), ("admin", "/owners")]
)
def test_small_calls_take_small_bodies(admin, ann, who, path):
    """A mebibyte of fields that nobody knows was read by the event loop."""
    caller = {"node": ann.node(), "owner": ann, "admin": admin}[who]
    body = b"{" + b",".join(b'"%d":0' % number for number in range(10_000)) + b"}"
    caller.refused(413, "too_large", "POST", path, body)


def test_long_bodies_are_understood_in_a_thread_and_in_turn():
    """The caller's, one at a time."""
    took = []

    class Shop:
        """A workshop that tells what it did."""

        async def do(self, caller, work):
            took.append(caller.node)
            return await asyncio.to_thread(work)

    async def story(size):
        raw = b'{"a":"' + b"x" * size + b'"}'

        async def stream():
            yield raw

        state = SimpleNamespace(farm=SimpleNamespace(workshop=Shop()))
        request = SimpleNamespace(
            app=SimpleNamespace(state=state),
            state=SimpleNamespace(caller=node_of("eve", 1)),
            headers={},
            stream=stream,
        )
        assert len((await edge.body(request, dict))[0]["a"]) == size

    asyncio.run(story(100))
    assert took == []
    asyncio.run(story(edge.AT_ONCE))
    assert took == ["eve-1"]


def test_signatures_are_checked_in_a_thread_and_in_turn():
    """Wrong ones, as many as a node could send, kept the event loop."""
    took = []

    class Shop:
        """A workshop that tells what it did."""

        async def do(self, caller, work):
            took.append(caller.node)
            return await asyncio.to_thread(work)

    async def story():
        key = "0x" + "11" * 32 + "22" * 32 + "1b"
        raw = encode(people.Binding("0x" + "1" * 40, key))

        async def stream():
            yield raw

        rules = SimpleNamespace(address="0x" + "2" * 40)
        state = SimpleNamespace(farm=SimpleNamespace(workshop=Shop(), rules=rules))
        request = SimpleNamespace(app=SimpleNamespace(state=state), headers={}, stream=stream)
        await people.bind(request, node_of("eve", 1))

    with pytest.raises(BadSignature):
        asyncio.run(story())
    assert took == ["eve-1"]


# --- records and addresses ---------------------------------------------------------------------------


def test_tokens_issued_in_a_day_are_counted(farm, admin, ann):
    """Nodes added and retired, tokens rotated: the store keeps something of each for good."""
    node = ann.ok("POST", "/nodes", {"name": "n"})["node"]
    token = next(one["id"] for one in ann.ok("GET", "/tokens")["tokens"] if one["node"] == node)
    owner = next(one["owner"] for one in ann.ok("GET", "/nodes")["nodes"])
    with redis.Redis.from_url(farm.store.url) as store:
        assert store.ttl(keys.owner_issued(owner)) > 0
        store.incrby(keys.owner_issued(owner), 4 * Quota().nodes)
    assert "tomorrow" in ann.refused(403, "quota", "POST", "/nodes", {"name": "n"})
    ann.refused(403, "quota", "POST", f"/tokens/{token}/rotate", {})
    admin.ok("POST", "/nodes", {"name": "n", "owner": owner})


def test_a_key_gives_no_token_that_has_ended(ann):
    """It said `created`, with a token that opened nothing."""
    order = {"name": "n", "expires_seconds": 1}
    made = ann.ok("POST", "/nodes", order, Idempotency_Key="k")
    while Api(ann.url, made["token"]).call("GET", "/nodes/self").status == 200:
        pass
    assert "ended" in ann.refused(409, "revoked", "POST", "/nodes", order, Idempotency_Key="k")


class Guest:
    """A connection from an address."""

    def __init__(self, address):
        self.address = address

    def leave(self):
        """It has no other end."""


def test_addresses_of_one_network_count_together():
    """Who has one IPv6 network has as many addresses as it likes."""
    doors = Doors(Limits(per_address=4))
    near = [Guest(f"2001:db8:0:1::{number:x}") for number in range(1, 6)]
    for one in near[:4]:
        assert doors.enter(one)
        doors.works(one)
    assert not doors.enter(near[4])
    assert doors.enter(Guest("2001:db8:0:2::1"))
    for one in near[:4]:
        doors.gone(one)
    assert doors.enter(near[4])
    for mapped in ("::ffff:10.0.0.1", "10.0.0.1"):
        assert household(mapped) == "10.0.0.1"
    assert household("10.0.0.2") != household("10.0.0.1")

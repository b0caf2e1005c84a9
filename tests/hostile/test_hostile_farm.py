# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile farm, and what stands in for an honest one: what it has nodes and clients open, ask and send."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from farm_protocol import web
from farm_protocol.addresses import Kind, is_clear, kind_of, origin_of
from farm_protocol.errors import Conflict, FarmError, Forbidden, InvalidInput
from farm_protocol.fields import StoredFile, encode
from farm_protocol.ids import OwnerId, SceneId
from farm_protocol.links import LinkRefused, Links, checked_headers, links, trusted_links
from farm_protocol.node_answers import LeasedScene
from farm_protocol.records import FailureCode, LeaseRequest, TaskFailure, TaskKind, Upload
from farm_protocol.transfer import TIMEOUT
from farm_protocol.typed_data import address_of
from gpu_worker.farm import transfer
from gpu_worker.farm.coordinator import Coordinator
from gpu_worker.farm.pins import pinned_objects
from gpu_worker.farm.trust import Proof
from gpu_worker.slot.outcomes import outcome_of
from gpu_worker.slot.scene_cache import SceneCache
from render_farm.client.farm_client import FarmClient
from tests.fakes.fake_coordinator import FARM, TOKEN, FakeCoordinator
from tests.fakes.scripted_server import Answer, Asked, scripted
from tests.support.hostile_farm import closed_port, victim
from tests.support.worker_node import Node, lease_of
from verification.protocol.attestation import sign

SECRET = hashlib.sha256(b"secret").hexdigest()


@pytest.fixture(scope="module")
def farm():
    farm = FakeCoordinator()
    yield farm
    farm.close()


@pytest.fixture
def follow():
    """Says where links may lead, for a test."""
    yield transfer.follow
    transfer.follow(Links())


# --- whose scenes are opened without a sandbox ----------------------------------------------------------


@pytest.mark.parametrize(
    "told", [(), ("--owner", "ann"), ("--trust-farm", FARM), ("--trust-farm", "me", "--owner", "ann")]
)
def test_a_node_without_sandbox_works_for_no_farm_that_its_user_did_not_name(farm, told, tmp_path):
    """Loopback is no proof: it may be a tunnel, or another user's program."""
    command = [sys.executable, "-m", "gpu_worker", "run", "--coordinator", farm.url, "--no-sandbox", *told]
    environment = os.environ | {"FARM_NODE_TOKEN": TOKEN}
    before = len(farm.requests)
    ended = subprocess.run(
        [*command, "--state-dir", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 1
    assert "--trust-farm" in ended.stderr
    assert len(farm.requests) == before, "it must not even ask for work"


def test_a_node_without_sandbox_opens_what_its_own_user_made_and_nothing_else(farm, tmp_path):
    node = Node(farm, tmp_path, "--no-sandbox")

    def ended() -> bool:
        return node.process.poll() is not None

    try:
        farm.put(lease_of(farm, "mine", 1))
        farm.wait_for(lambda: "mine:1" in farm.results or ended(), 90)
        assert not ended(), node.events
        before = farm.calls["scene"], farm.calls["store GET"]
        for number, kind in enumerate(TaskKind):
            lease = lease_of(farm, f"strange{number}", number, kind)
            farm.put(replace(lease, owner=OwnerId("a-stranger")))
        farm.wait_for(lambda: len(farm.failures) == len(TaskKind) or ended(), 60)
        assert not ended(), node.events
        assert {told[0][1].code for told in farm.failures.values()} == {FailureCode.NODE}
        assert all("no sandbox" in told[0][1].message for told in farm.failures.values())
        assert (farm.calls["scene"], farm.calls["store GET"]) == before, "nothing may even be fetched"
    finally:
        node.finish()


def signed_by(key, spoil=lambda challenge: challenge):
    """A server that signs its answers with a key."""
    body = encode({"leases": []})

    def answers(asked: Asked) -> Answer:
        from farm_protocol.documents import FarmAnswer

        challenge = spoil(asked.headers["farm-challenge"])
        told = FarmAnswer(challenge, hashlib.sha256(body).hexdigest())
        return Answer(body=body, headers={"Farm-Signature": sign(told, address_of(key), key)})

    return answers


@pytest.mark.parametrize(
    "answers",
    [
        signed_by(b"\x22" * 32),
        signed_by(b"\x11" * 32, lambda _: "00" * 32),
        lambda _: Answer(body=b'{"leases": []}'),
        lambda _: Answer(body=b'{"leases": []}', headers={"Farm-Signature": "0x" + "00" * 65}),
    ],
    ids=["another key", "another challenge", "no signature", "no signature at all of anybody"],
)
def test_leases_of_a_farm_that_cannot_show_its_key_are_not_taken(answers):
    """Such as one that took over the farm's port, or its address."""
    with scripted(answers) as server:
        node = Coordinator(server.url, TOKEN, tries=1, proof=Proof(FARM))
        with pytest.raises(Forbidden, match="does not show"):
            node.lease(LeaseRequest(()))


def test_leases_of_a_farm_that_shows_its_key_are_taken():
    with scripted(signed_by(b"\x11" * 32)) as server:
        assert Coordinator(server.url, TOKEN, tries=1, proof=Proof(FARM)).lease(LeaseRequest(())) == ()


def test_a_listing_of_another_scene_than_the_leased_one_is_refused(tmp_path):
    """The lease is signed, its scene's listing is not: the scene's id is the digest of what it lists."""
    cache = SceneCache(tmp_path, 1000, lambda *_: pytest.fail("nothing may be fetched"), strict=True)
    listing = LeasedScene("s", "evil.blend", {"evil.blend": StoredFile("evil.blend", SECRET, 6)})
    with pytest.raises(InvalidInput, match="another scene"):
        cache.hold(SceneId("ab" * 32), lambda: listing, threading.Event())


def test_what_a_hostile_farm_put_into_the_cache_is_not_opened_later_without_a_sandbox(tmp_path):
    scene, listing = SceneId("ab" * 32), LeasedScene("s", "a", {"a": StoredFile("a", SECRET, 6)})

    def fetch(file, target, stopped):
        target.write_bytes(b"secret")

    SceneCache(tmp_path, 1000, fetch).hold(scene, lambda: listing, threading.Event()).release()
    strict = SceneCache(tmp_path, 1000, fetch, strict=True)
    with pytest.raises(InvalidInput, match="another scene"):
        strict.hold(scene, lambda: listing, threading.Event())


# --- links ----------------------------------------------------------------------------------------------


def get(url: str, folder: Path) -> TaskFailure:
    outcome = outcome_of(
        lambda: transfer.download(StoredFile("f", SECRET, 6, url), folder / "f", threading.Event())
    )
    assert isinstance(outcome, TaskFailure)
    return outcome


def test_a_link_beyond_the_farms_object_store_is_not_followed_and_tells_nothing(follow, tmp_path):
    """Closed, open with other bytes, and open with the right ones are one answer, and nobody is asked."""
    with victim() as inside:
        follow(links(("http://127.0.0.1:9",), "http://127.0.0.1:9", "127.0.0.1"))
        told = [get(f"http://127.0.0.1:{port}/x", tmp_path) for port in (closed_port(), inside.port)]
        assert inside.heard == []
    assert told[0] == told[1]
    assert told[0] == TaskFailure(FailureCode.NODE, "The object store does not answer.")


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:9@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@127.0.0.1:9/",
        "http://127.0.0.1:9#@127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://0x7f000001:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0:{port}/",
        "https://127.0.0.1:{port}/",
        "ftp://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
    ],
)
def test_no_way_of_writing_a_link_leads_elsewhere(link, follow, tmp_path, monkeypatch):
    monkeypatch.setattr("farm_protocol.retry.backoff", lambda *_: 0.0)
    with victim() as inside:
        follow(links(("http://127.0.0.1:9",), "http://127.0.0.1:9", "127.0.0.1"))
        url = link.format(port=inside.port)
        get(url, tmp_path)
        (tmp_path / "body").write_bytes(b"mine")
        with pytest.raises(FarmError):
            transfer.upload(tmp_path / "body", Upload("f", url, {}))
        assert inside.heard == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_object_store_leads_nobody_on(status, follow, tmp_path):
    (tmp_path / "body").write_bytes(b"mine")
    with victim() as inside:
        moved = Answer(status, headers={"Location": inside.url})
        with scripted(lambda _: moved) as store:
            follow(links((store.url,), store.url, "127.0.0.1"))
            get(store.url + "/f", tmp_path)
            with pytest.raises(FarmError):
                transfer.upload(tmp_path / "body", Upload("f", store.url + "/f", {}))
        assert inside.heard == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "vault.internal"},
        {"X-Vault-Token": "s.1"},
        {"Authorization": "Basic eA=="},
        {"Cookie": "a=b"},
        {"Transfer-Encoding": "chunked"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"x-amz-copy-source": "/farm/blobs"},
        {"content-type": "a\r\nHost: vault.internal"},
        {"content-type\r\nHost": "vault.internal"},
        {"content-type": "a" * 10_000},
    ],
    ids=str,
)
def test_headers_of_the_farms_choosing_are_not_sent(headers, follow, tmp_path):
    (tmp_path / "body").write_bytes(b"mine")
    with scripted(lambda _: Answer()) as store:
        follow(links((store.url,), store.url, "127.0.0.1"))
        with pytest.raises(LinkRefused):
            transfer.upload(tmp_path / "body", Upload("f", store.url + "/f", headers))
        assert store.asked == []
        signed = {"x-amz-checksum-sha256": "abc", "content-length": "4", "If-None-Match": "*"}
        transfer.upload(tmp_path / "body", Upload("f", store.url + "/f", signed))
        assert store.asked[0].body == b"mine"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", Kind.PUBLIC),
        ("2606:4700::1111", Kind.PUBLIC),
        ("10.0.0.1", Kind.PRIVATE),
        ("fd00::1", Kind.PRIVATE),
        ("fec0::1", Kind.PRIVATE),
        ("100.64.0.1", Kind.SHARED),
        ("127.8.8.8", Kind.LOOPBACK),
        ("::ffff:127.0.0.1", Kind.LOOPBACK),
        ("::127.0.0.1", Kind.LOOPBACK),
        ("64:ff9b::7f00:1", Kind.LOOPBACK),
        ("2002:7f00:1::", Kind.LOOPBACK),
        ("::ffff:10.0.0.1", Kind.PRIVATE),
        ("169.254.1.1", Kind.LINK_LOCAL),
        ("fe80::1%eth0", Kind.LINK_LOCAL),
        ("169.254.169.254", Kind.NOBODY),
        ("::ffff:169.254.169.254", Kind.NOBODY),
        ("fd00:ec2::254", Kind.NOBODY),
        ("100.100.100.200", Kind.NOBODY),
        ("169.254.170.2", Kind.NOBODY),
        ("fd00:ec2::23", Kind.NOBODY),
        ("fd20:ce::254", Kind.NOBODY),
        ("::ffff:0:127.0.0.1", Kind.LOOPBACK),
        ("2606:4700::5efe:10.0.0.1", Kind.PRIVATE),
        ("2606:4700::200:5efe:127.0.0.1", Kind.LOOPBACK),
        ("64:ff9b:1::8.8.8.8", Kind.PRIVATE),
        ("0.0.0.0", Kind.NOBODY),
        ("0.1.2.3", Kind.NOBODY),
        ("::", Kind.NOBODY),
        ("224.0.0.1", Kind.NOBODY),
        ("ff02::1", Kind.NOBODY),
        ("255.255.255.255", Kind.NOBODY),
        ("localhost", Kind.NOBODY),
    ],
)
def test_every_address_is_of_one_kind(address, kind):
    assert kind_of(address) is kind


FAR = ("8.8.8.8", "10.1.1.1", "100.64.1.1", "127.0.0.1", "169.254.1.1", "169.254.169.254")


@pytest.mark.parametrize(
    ("peer", "reached"),
    [
        ("8.8.4.4", ("8.8.8.8",)),
        ("10.9.9.9", ("8.8.8.8", "10.1.1.1")),
        ("100.64.2.2", ("8.8.8.8", "100.64.1.1")),
        ("127.0.0.1", ("8.8.8.8", "127.0.0.1")),
        ("169.254.2.2", ("8.8.8.8", "169.254.1.1")),
        ("169.254.169.254", ("8.8.8.8",)),
    ],
)
def test_a_farm_is_believed_addresses_of_the_kind_it_is_at_itself(peer, reached):
    named = links(("https://objects.example",), "https://farm.example", peer)
    assert tuple(filter(named.allows, FAR)) == reached


def test_what_the_user_named_may_be_anywhere_but_where_clouds_keep_secrets():
    assert [one for one in FAR if not trusted_links(("http://minio:9000",)).allows(one)] == [
        "169.254.169.254"
    ]


def resolver(monkeypatch, *answers):
    """Have a name give other addresses each time it is looked up; the list of look-ups."""
    asked = []

    def getaddrinfo(host, port, *_):
        given = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in given]

    monkeypatch.setattr(web.socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_that_comes_to_mean_an_inner_address_is_not_connected_to(follow, tmp_path, monkeypatch):
    with victim() as inside:
        origin = f"http://objects.example:{inside.port}"
        follow(links((origin,), "https://farm.example", "8.8.8.8"))
        asked = resolver(monkeypatch, ["127.0.0.1"])
        told = get(origin + "/f", tmp_path)
        assert (inside.heard, asked) == ([], ["objects.example"])
    assert told == TaskFailure(FailureCode.NODE, "The object store does not answer.")


def test_what_was_looked_at_is_what_is_connected_to(monkeypatch):
    """A name that answers well to the question and ill to the connection gains nothing: it is asked once."""
    asked = resolver(monkeypatch, ["8.8.8.8", "127.0.0.1"], ["127.0.0.1"])
    connected = []

    def connect(address, *_, **__):
        connected.append(address[0])
        raise OSError("nobody there")

    monkeypatch.setattr(web, "create_connection", connect)
    allowed = links(("http://objects.example",), "https://farm.example", "8.8.4.4")
    with pytest.raises(urllib3.exceptions.HTTPError):
        web.pool(allows=allowed.allows).request("GET", "http://objects.example/")
    assert (asked, connected) == (["objects.example"], ["8.8.8.8"])


def test_a_stores_endless_answer_to_an_upload_is_not_read(follow, tmp_path):
    (tmp_path / "body").write_bytes(b"mine")
    with victim(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 5000) as store:
        origin = f"http://127.0.0.1:{store.port}"
        follow(links((origin,), origin, "127.0.0.1"))
        began = time.monotonic()
        transfer.upload(tmp_path / "body", Upload("f", origin + "/f", {}))
        assert time.monotonic() - began < TIMEOUT.read_timeout / 2


def test_a_file_larger_than_any_object_is_not_begun(follow, tmp_path):
    with scripted(lambda _: Answer()) as store:
        follow(links((store.url,), store.url, "127.0.0.1"))
        huge = StoredFile("f", SECRET, 1 << 42, store.url + "/f")
        with pytest.raises(LinkRefused):
            transfer.download(huge, tmp_path / "f", threading.Event())
        assert store.asked == []


def test_a_farm_that_names_another_object_store_later_is_refused_until_the_operator_agrees(tmp_path):
    assert pinned_objects(tmp_path, "https://f", ("https://a",)) == ("https://a:443",)
    assert pinned_objects(tmp_path, "https://f", ("HTTPS://A:443",)) == ("https://a:443",)
    assert pinned_objects(tmp_path, "https://g", ()) == ("https://g:443",)
    with pytest.raises(Conflict, match=r"objects\.json"):
        pinned_objects(tmp_path, "https://f", ("https://a", "http://10.0.0.1"))
    (tmp_path / "objects.json").unlink()
    pinned_objects(tmp_path, "https://f", ("https://b",))


def test_what_was_pinned_is_read_or_said_to_be_damaged(tmp_path):
    (tmp_path / "objects.json").write_text('{"https://f": 1}')
    with pytest.raises(InvalidInput, match=r"objects\.json"):
        pinned_objects(tmp_path, "https://f", ("https://a",))


# --- the client's side ------------------------------------------------------------------------------------


def rules(*objects):
    """What a farm says of itself."""
    plain = {"address": FARM, "beacon": "local", "genesis": 0.0, "period": 0.5, "network": None}
    from verification.audit.rate import Rates
    from verification.audit.sampling import AuditPolicy

    return encode({**plain, "policy": AuditPolicy(), "rates": Rates(), "objects": objects})


@pytest.mark.parametrize("named", [(), ("http://127.0.0.1:9",)])
def test_an_artist_asks_nobody_but_the_farm_and_its_object_store(tmp_path, named):
    (tmp_path / "scene.blend").write_bytes(b"BLENDER")
    with victim() as inside, scripted(lambda _: Answer(body=rules(*named))) as server:
        with FarmClient(server.url, "t", patience=0.1) as client:
            with pytest.raises(LinkRefused):
                client.download(StoredFile("f", SECRET, 6, inside.url), tmp_path / "f")
            with pytest.raises(LinkRefused):
                client._transfers.upload(tmp_path / "scene.blend", inside.url, {})
        assert inside.heard == []


def test_an_artist_follows_links_to_the_object_store_that_the_farm_names(tmp_path):
    with (
        scripted(lambda _: Answer(body=b"secret")) as store,
        scripted(lambda _: Answer(body=rules(store.url))) as server,
        FarmClient(server.url, "t") as client,
    ):
        client.download(StoredFile("f", SECRET, 6, store.url + "/f"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"secret"


def test_an_artist_asks_inside_the_network_only_where_the_farm_is_there_or_the_artist_says_so(
    tmp_path, monkeypatch
):
    with scripted(lambda _: Answer(body=b"secret")) as store:
        file = StoredFile("f", SECRET, 6, store.url + "/f")
        with scripted(lambda _: Answer(body=rules(store.url))) as server:
            with FarmClient(server.url, "t", patience=0.1) as client:
                known, client._link._http.peer = client.rules(), "8.8.8.8"
                monkeypatch.setattr(client, "rules", lambda: known)
                with pytest.raises(LinkRefused, match="--objects"):
                    client.download(file, tmp_path / "f")
            with FarmClient(server.url, "t", objects=(store.url,)) as client:
                client.download(file, tmp_path / "f")


def test_an_artists_upload_carries_no_header_of_the_farms_choosing(tmp_path):
    (tmp_path / "scene.blend").write_bytes(b"BLENDER")
    with scripted(lambda _: Answer()) as server, FarmClient(server.url, "t", patience=0.1) as client:
        with pytest.raises(LinkRefused):
            client._transfers.upload(tmp_path / "scene.blend", server.url + "/f", {"Host": "vault"})
        assert server.asked == []


def test_addresses_that_are_none_are_refused():
    for odd in ("http://", "http://a b", "http://h:99999", "http://u:p@h", "http://h\\@g", "javascript:1"):
        with pytest.raises(InvalidInput):
            origin_of(odd)
    urls = (
        "http://farm.example",
        "http://127.0.0.1.example",
        "http://[::1]:1",
        "https://farm",
        "http://127.1.1.1",
    )
    assert [is_clear(url) for url in urls] == [True, True, False, False, False]
    assert checked_headers({"X-Amz-Checksum-Crc32c": "a"}) == {"X-Amz-Checksum-Crc32c": "a"}

"""Somebody on the machine, or a page in its browser, speaks to the ports of the embedded object store."""

import contextlib
import http.client
import os
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import psutil
import pytest
from botocore.config import Config

from render_farm.embedded import certificates, leash, seaweed
from tests.support import servers

SECRET = b"an artist's unpublished picture"
H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
DOORS = (
    "/buckets/farm/",
    "/buckets/farm/scene",
    "/",
    "/dir/assign",
    "/col/delete?collection=farm",
    "/status",
)
DOORS += ("/metrics", "/vol/status", "/dir/status", "/cluster/status", "/ui/index.html", "/healthz")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with servers.seaweed(tmp_path_factory.mktemp("store")) as running:
        client = s3(running)
        client.create_bucket(Bucket="farm")
        client.put_object(Bucket="farm", Key="scene", Body=SECRET)
        yield running


def s3(running):
    config = Config(retries={"max_attempts": 8}, connect_timeout=5, read_timeout=30)
    keys = {"aws_access_key_id": running.key, "aws_secret_access_key": running.secret}
    return boto3.client("s3", endpoint_url=running.url, region_name="us-east-1", config=config, **keys)


def listening(running):
    """The addresses at which the store's process listens."""
    found = psutil.Process(running.child.pid).net_connections("inet")
    return sorted({one.laddr for one in found if one.status == psutil.CONN_LISTEN})


def inner_ports(running):
    ports = [address.port for address in listening(running) if not running.url.endswith(f":{address.port}")]
    assert len(ports) >= 8, "where are the inner parts?"
    return ports


def answer(port, door, method="GET"):
    """Status and body of a request as a page of another site makes it; 0 where HTTP is not spoken."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{door}", method=method)
    request.add_header("Origin", "http://evil.example")
    request.add_header("Host", "evil.example")
    try:
        with urllib.request.urlopen(request, timeout=10) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, http.client.HTTPException):  # what is no HTTP at all
        return 0, b""


def said_by(port, context):
    """What a port says over TLS to a client of gRPC; nothing where it refuses the connection."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as link,
    ):
        link.sendall(H2)
        return link.recv(64)
    return b""


def still_there(running):
    return s3(running).get_object(Bucket="farm", Key="scene")["Body"].read() == SECRET


def test_no_inner_part_answers_over_http(store):
    for port in inner_ports(store):
        for door in DOORS:
            status, body = answer(port, door)
            assert status in (0, 400), (port, door, status, body[:100])
            assert SECRET not in body


def test_nobody_overwrites_or_removes_over_http(store):
    for port in inner_ports(store):
        for method in ("PUT", "POST", "DELETE"):
            assert answer(port, "/buckets/farm/scene", method)[0] in (0, 400)
            assert answer(port, "/col/delete?collection=farm", method)[0] in (0, 400)
    assert still_there(store)


def test_grpc_speaks_to_nobody_without_a_key(store):
    for port in inner_ports(store):
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 10) as link:
            link.sendall(H2)
            said = link.recv(64)
            # A gRPC server that takes anybody begins with a SETTINGS frame.
            assert said[3:4] != b"\x04" or said[:1] in (b"\x15", b"H"), (port, said)


@pytest.mark.parametrize("own_key", [False, True])
def test_tls_without_the_stores_own_key_is_refused(store, tmp_path, own_key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if own_key:
        folder = certificates.write_security(tmp_path / "mine")
        context.load_cert_chain(folder / certificates.CERTIFICATE, folder / certificates.KEY)
    assert [port for port in inner_ports(store) if said_by(port, context)] == []


def test_the_stores_own_key_opens_them(store):
    # Or the tests above would pass with a store that answers nobody at all.
    folder = Path(store.command[store.command.index("-dir") + 1]) / "tls"
    context = ssl.create_default_context(cafile=folder / certificates.CERTIFICATE)
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(folder / certificates.CERTIFICATE, folder / certificates.KEY)
    heard = [said_by(port, context)[3:4] for port in inner_ports(store)]
    assert heard.count(b"\x04") >= 4


def test_it_listens_on_loopback_only(store):
    assert {address.ip for address in listening(store)} == {"127.0.0.1"}


def test_s3_lets_no_page_read_its_answers(store):
    for method in ("GET", "OPTIONS"):
        request = urllib.request.Request(f"{store.url}/farm/scene", method=method)
        request.add_header("Origin", "http://evil.example")
        request.add_header("Access-Control-Request-Method", "GET")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 403
        assert refused.value.headers["Access-Control-Allow-Origin"] in (None, seaweed._NO_PAGE)


def test_data_of_a_farm_that_ran_before_is_kept(store):
    store.kill()
    folder = Path(store.command[store.command.index("-dir") + 1])
    before = (folder / "tls" / certificates.KEY).read_bytes()
    for name in certificates.CERTIFICATE, certificates.KEY, certificates.SETTINGS:
        (folder / "tls" / name).unlink()
    port = int(store.url.rpartition(":")[2])
    store.command = seaweed.command(folder, port)
    store.start()
    assert still_there(store)
    assert (folder / "tls" / certificates.KEY).read_bytes() != before


def test_its_files_and_sockets_are_its_users_alone_whatever_the_umask(tmp_path):
    folder, port = tmp_path / "store", seaweed.free_port()
    (tmp_path / "store").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        words = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "9"]
        command = words + seaweed.command(folder, port)
    finally:
        os.umask(before)
    # The name of its key is in no log.
    with subprocess.Popen(
        ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", *command],
        env=os.environ | seaweed.environment("farmnamed", "s" * 32),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            servers.wait_until(lambda: seaweed.ready(port))
            sockets = [one.laddr for one in psutil.Process(child.pid).net_connections("unix")]
            paths = [*folder.rglob("*"), folder, *(Path(one) for one in sockets if one.startswith("/"))]
            open_to_others = [
                str(path)
                for path in paths
                if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o077
            ]
            assert len(paths) > 10
            assert open_to_others == []
        finally:
            child.kill()
    assert not [log for log in (folder / "log").iterdir() if b"farmnamed" in log.read_bytes()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user of the machine")
def test_a_socket_that_another_user_put_in_its_place_is_not_used(tmp_path):
    store = tmp_path / "store"
    seaweed.command(store, 1)
    taken = seaweed._ports(store)["master.port.grpc"]
    trap = Path(f"/tmp/seaweedfs-master-grpc-{taken}.sock")
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(str(trap))
        try:
            os.chown(trap, 65534, 65534)
            assert seaweed._ports(store)["master.port.grpc"] != taken
        finally:
            trap.unlink()


def test_new_ports_are_none_whose_socket_another_user_has(monkeypatch):
    """Names that earlier runs of somebody else left in /tmp are in the way as well."""
    free, taken = seaweed.free_port, seaweed.free_port()
    asked = iter([taken])
    trap = Path(f"/tmp/seaweedfs-volume-grpc-{taken}.sock")
    trap.touch(exist_ok=False)
    monkeypatch.setattr(seaweed, "_is_anothers", lambda path: path == trap)
    monkeypatch.setattr(seaweed, "free_port", lambda offset=0: next(asked, None) or free(offset))
    try:
        assert taken not in seaweed._choose().values()
    finally:
        trap.unlink()

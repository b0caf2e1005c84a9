# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever listens on the way: nothing is said in clear beyond the machine unless its user wants it so."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from farm_protocol.errors import InvalidInput, Unavailable
from farm_protocol.http_client import Distrusted
from gpu_worker.farm.coordinator import Coordinator
from render_farm.client.farm_client import FarmClient
from render_farm.coordinator import config
from render_farm.embedded.seaweed import free_port
from render_farm.embedded.state import Folder
from render_farm.embedded.supervisor import Farm, FarmOptions
from render_farm.serving.tls import certificate
from tests.fakes.scripted_server import Answer, scripted
from tests.support import servers
from tests.support.understood import environment_of

NGINX = Path(__file__).parents[2] / "docs" / "nginx.conf"


def make_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A certificate that is its own root, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=farm", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(
        [*command, "-addext", "subjectAltName=" + ",".join(names)], check=True, capture_output=True
    )
    return cert, key


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    names = ("DNS:localhost", "DNS:farm.example", "DNS:objects.farm.example")
    return make_certificate(tmp_path_factory.mktemp("tls"), *names)


# --- what is refused --------------------------------------------------------------------------------------

FAR = "http://192.0.2.10:8700"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("gpu_worker", "run", "--coordinator", FAR), 1),
        (("render_farm", "job", "list", "--coordinator", FAR), 1),
        (("render_farm", "up", "--bind", "0.0.0.0:0"), 1),
        (("render_farm", "up", "--bind", "[::]:0"), 1),
        (("render_farm.coordinator", "--bind", "0.0.0.0"), 2),
        (("render_farm.coordinator", "--s3-public-endpoint", "http://192.0.2.10:9000"), 2),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
def test_plain_http_beyond_this_machine_is_refused_with_its_mend(words, status, tmp_path):
    place = [] if words[0] == "render_farm.coordinator" else ["--state-dir", str(tmp_path / "state")]
    secrets = dict.fromkeys(("FARM_ADMIN_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x")
    secrets |= {"FARM_TOKEN": "t", "FARM_NODE_TOKEN": "t", "FARM_SIGNING_KEY": "11" * 32}
    environment = os.environ | secrets | {"FARM_INSECURE": ""}
    command = [sys.executable, "-m", *words, *place]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=90, check=False)
    assert ended.returncode == status, ended.stderr
    assert "--insecure" in ended.stderr
    assert "docs/tls.md" in ended.stderr
    assert not list(tmp_path.glob("state/logs/*")), "nothing may have begun"


def test_what_its_user_wants_in_clear_is_begun():
    with pytest.raises(InvalidInput, match="--insecure"):
        FarmClient(FAR, "t")
    FarmClient(FAR, "t", insecure=True).close()
    secrets = dict.fromkeys(("FARM_ADMIN_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x")
    known = secrets | {"FARM_SIGNING_KEY": "11" * 32}
    with environment_of(known):
        assert config.read(["--bind", "0.0.0.0", "--insecure"]).bind == "0.0.0.0"
    with environment_of(known | {"FARM_INSECURE": "1"}):
        assert config.read(["--bind", "0.0.0.0"]).certificate is None


def test_certificates_that_are_none_are_named(files, tmp_path):
    cert, key = map(str, files)
    _, other = make_certificate(tmp_path, "DNS:localhost")
    for pair in ((cert, ""), ("", key), (cert, str(other)), (cert, "/nowhere"), (key, key)):
        with pytest.raises(InvalidInput, match="--tls-key"):
            certificate(*pair)
    assert certificate("", "") is None
    with pytest.raises(InvalidInput, match="FARM_CA_FILE"):
        FarmClient("https://farm.example", "t", ca_file=str(key))


# --- a coordinator with a certificate -----------------------------------------------------------------------


class Nobody:
    """Stands for an object store that is away: none is needed here."""

    url, key, secret = "http://127.0.0.1:9", "k", "s"


@pytest.fixture(scope="module")
def farm(files, tmp_path_factory):
    cert, key = map(str, files)
    options = ["--tls-cert", cert, "--tls-key", key, "--local-port", str(free_port())]
    folder = tmp_path_factory.mktemp("coordinator")
    with servers.coordinator(folder, "redis://127.0.0.1:9/0", Nobody, *options) as running:
        running.url = running.url.replace("http://127.0.0.1", "https://localhost")
        running.inside = f"http://127.0.0.1:{options[-1]}"
        yield running


def test_a_farm_with_a_certificate_is_asked_by_those_who_know_its_root(farm, files):
    with FarmClient(farm.url, farm.admin_token, ca_file=str(files[0])) as client:
        known = client.rules()
    with FarmClient(farm.inside, farm.admin_token) as client:
        assert client.rules() == known, "this machine's own parts go on in clear"


def test_a_token_is_told_to_nobody_who_only_claims_to_be_the_farm(farm, files, tmp_path):
    """Not with an unknown root, not under another name, not in clear: else the store would have been asked,
    which is away.
    """
    other, _ = make_certificate(tmp_path, "DNS:localhost")
    elsewhere = farm.url.replace("localhost", "127.0.0.1")
    for url, root in ((farm.url, ""), (farm.url, str(other)), (elsewhere, str(files[0]))):
        # It is said at once, with its mend: nobody waits for a farm that will not be believed.
        client, words = FarmClient(url, "t", patience=600, ca_file=root), r"not believed: .*FARM_CA_FILE"
        with client, pytest.raises(InvalidInput, match=words):
            client.rules()
        with pytest.raises(Distrusted, match=words):
            Coordinator(url, "t", 1, ca_file=root).myself()
    with pytest.raises(Unavailable, match="does not answer"):
        Coordinator(farm.url.replace("https", "http"), "t", 1).myself()


def test_who_never_becomes_encrypted_is_sent_away(farm):
    with socket.create_connection(("127.0.0.1", int(farm.url.rpartition(":")[2]))) as idle:
        idle.settimeout(60)
        assert idle.recv(1) == b""


# --- the relay before the object store, and a reverse proxy -------------------------------------------------


def test_the_relay_is_encrypted_and_changes_nothing(files, tmp_path):
    with scripted(lambda asked: Answer(body=asked.path.encode())) as store:
        port = free_port()
        words = ["127.0.0.1", str(port), store.url.rpartition(":")[2], *map(str, files)]
        command = [sys.executable, "-m", "render_farm.embedded.relay", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as relay:
            try:
                assert b"listening" in relay.stdout.readline()
                told = urllib3.PoolManager(ca_certs=str(files[0]), retries=False).request(
                    "PUT", f"https://localhost:{port}/farm/a%2Fb?X-Amz-Signature=1", body=b"x" * 100_000
                )
            finally:
                relay.terminate()
    assert (told.status, told.data) == (200, b"/farm/a%2Fb?X-Amz-Signature=1")
    assert store.asked[0].headers["host"] == f"localhost:{port}"
    assert store.asked[0].body == b"x" * 100_000


class Slow(BaseHTTPRequestHandler):
    """Events that come one by one, and an answer that is held open."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(b"data: first\n\n")
        assert Slow.go_on.wait(60), "the first event did not pass"
        self._chunk(b"data: last\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def nginx(folder: Path, files: tuple[Path, Path], coordinator: int, objects: int):
    """Debian's nginx with the example of the docs, on other ports; the port it listens at."""
    port, cert, key = free_port(), *files
    site = NGINX.read_text().replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    site = site.replace("/etc/ssl/farm/fullchain.pem", str(cert))
    site = site.replace("/etc/ssl/farm/privkey.pem", str(key))
    site = site.replace("127.0.0.1:8700", f"127.0.0.1:{coordinator}")
    site = site.replace("127.0.0.1:8333", f"127.0.0.1:{objects}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{site}}}\n"
    )
    command = [shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), "-e", "stderr"]
    command += ["-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not listens(port):
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
            yield port
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def through(port: int, name: str, cert: Path) -> urllib3.HTTPSConnectionPool:
    """Connections to the proxy under a name that no resolver knows."""
    return urllib3.HTTPSConnectionPool(
        "127.0.0.1", port, ca_certs=str(cert), server_hostname=name, assert_hostname=name, retries=False
    )


@pytest.mark.skipif(
    "CI" not in os.environ and not shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"),
    reason="Debian's nginx is not installed (apt-get install nginx); CI has it",
)
def test_the_example_of_a_reverse_proxy_passes_events_long_answers_and_signed_links(files, tmp_path):
    slow = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=slow.serve_forever, args=(0.02,), daemon=True).start()
    with (
        scripted(lambda _: Answer(body=b"pixels")) as store,
        nginx(tmp_path, files, slow.server_port, int(store.url.rpartition(":")[2])) as port,
    ):
        events = through(port, "farm.example", files[0]).request(
            "GET", "/api/v1/jobs/j/events", headers={"Host": "farm.example"}, preload_content=False
        )
        heard = events.stream(64)
        assert next(heard) == b"data: first\n\n"
        Slow.go_on.set()
        assert b"".join(heard) == b"data: last\n\n"
        host, path = f"objects.farm.example:{port}", "/farm/a%2Fb%20c?X-Amz-Signature=1%2F"
        objects = through(port, "objects.farm.example", files[0])
        body = os.urandom(3 << 20)
        assert objects.request("PUT", path, body=body, headers={"Host": host}).status == 200
        assert objects.request("GET", path, headers={"Host": host}).data == b"pixels"
    slow.shutdown()
    slow.server_close()
    asked = [(one.method, one.path, one.headers["host"]) for one in store.asked]
    assert asked == [("PUT", path, host), ("GET", path, host)], "links are signed for this path and name"
    assert store.asked[0].body == body


def test_the_example_names_what_the_docs_say():
    told = (NGINX.parent / "tls.md").read_text()
    ports = re.findall(r"proxy_pass http://127\.0\.0\.1:(\d+);", NGINX.read_text())
    assert [f":{ports[0]}" in told, f'"seaweed": {ports[1]}' in told] == [True, True]


def test_an_own_node_is_told_of_the_relay_that_runs(files, tmp_path):
    """The relay's port is taken by then, by the relay itself: asked for anew, it would be another."""
    options = FarmOptions(bind="127.0.0.2", certificate=certificate(*map(str, files)))
    farm = Farm(Folder(tmp_path), options, print)
    farm.folder.create()
    farm.folder.choose_port("seaweed")
    told = farm._objects
    with socket.create_server(("127.0.0.2", int(told.rpartition(":")[2]))):
        assert told.startswith("https://127.0.0.2:")
        assert farm._objects == told

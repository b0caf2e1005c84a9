"""A page of a stranger, open in a real browser on the machine where a farm runs."""

import base64
import contextlib
import http.client
import http.server
import json
import os
import shutil
import subprocess
import threading
from urllib.parse import urlsplit

import boto3
import psutil
import pytest
from botocore.config import Config

from render_farm.client.farm_client import FarmClient
from render_farm.embedded import seaweed
from render_farm.embedded.state import Folder
from render_farm.embedded.supervisor import Farm, FarmOptions

BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
SECRET = b"an artist's unpublished picture"
SECONDS = 120
OTHER_NAME = "farm.evil.example"
DOORS = ("/", "/buckets/farm/scene", "/farm/scene", "/col/delete?collection=farm", "/dir/assign")
DOORS += ("/api/v1/health", "/api/v1/farm", "/status", "/metrics")

# What a page could read, of what it tried; `no-cors` and pictures are sent though their answers are hidden.
PAGE = """<!doctype html><script>
const ask = JSON.parse(atob("ASKED"));
const within = (made) => Promise.race([made, new Promise((_, no) => setTimeout(no, 20000))]);
async function read(url, options) {
  try {
    const answer = await within(fetch(url, options));
    return {url, method: options.method, status: answer.status, text: (await answer.text()).slice(0, 200)};
  } catch { return null; }
}
async function main() {
  const tries = [];
  for (const site of ask.sites ?? [""]) for (const door of ask.doors) {
    const url = site + door;
    for (const method of ["GET", "PUT", "DELETE", "POST"]) tries.push([url, {method, mode: "cors"}]);
    tries.push([url, {method: "GET", mode: "no-cors"}]);
    tries.push([url, {method: "POST", mode: "no-cors", body: "{}", headers: {"content-type": "text/plain"}}]);
    new Image().src = url;
  }
  const found = (await Promise.all(tries.map(([url, options]) => read(url, options)))).filter(Boolean);
  const seen = found.filter((one) => one.status);
  await fetch("/report", {method: "POST", body: JSON.stringify({tried: tries.length, seen})});
}
main();
</script>"""
FRAMES = "<!doctype html>{}"


class Stranger(http.server.ThreadingHTTPServer):
    """A site of somebody else's: serves the page, and hears what it found out.

    It is the browser's proxy as well, which stands for the stranger's name server: OTHER_NAME leads to the
    stranger for the page, and to this machine for everything else.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, pages, wanted=1):
        super().__init__(("127.0.0.1", 0), _Site)
        self.pages, self.wanted, self.reports, self.told = pages, wanted, [], threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def heard(self, report):
        self.reports.append(report)
        if len(self.reports) >= self.wanted:
            self.told.set()


class _Site(http.server.BaseHTTPRequestHandler):
    def answer(self):
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if url.path == "/report":
            self.server.heard(json.loads(body))
            self.reply(204, b"")
        elif url.path in self.server.pages:
            self.reply(200, self.server.pages[url.path])
        elif url.hostname == OTHER_NAME:
            self.reply(*forwarded(self.command, url, self.headers, body))
        else:
            self.reply(404, b"")

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def reply(self, status, body, content="text/html"):
        self.send_response(status)
        self.send_header("content-type", content)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def forwarded(method, url, headers, body):
    """What the farm's port answers to a request as the browser made it."""
    link = http.client.HTTPConnection("127.0.0.1", url.port, timeout=60)
    try:
        path = f"{url.path}?{url.query}" if url.query else url.path
        link.request(method, path, body or None, {**dict(headers), "Host": url.netloc})
        found = link.getresponse()
        return found.status, found.read()
    except (OSError, http.client.HTTPException):
        return 502, b""
    finally:
        link.close()


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("farm"))
    with Farm(folder, FarmOptions(node=False, money=True), print).running() as running:
        running.wait_for_money()
        store(running).put_object(Bucket="farm", Key="scene", Body=SECRET)
        with FarmClient(running.url, running.token) as client:
            client.add_node("desk")
        yield running


def store(running):
    secrets = running.folder.secrets()
    keys = {"aws_access_key_id": secrets.s3_key, "aws_secret_access_key": secrets.s3_secret}
    url = seaweed.url(running.folder.port("seaweed"))
    config = Config(retries={"max_attempts": 8})
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config, **keys)


def ports(running):
    """Every TCP port that a process of the farm listens on; not those of servers other tests share."""
    parts = [psutil.Process(part.pid) for part in running.folder.announced().parts.values()]
    processes = [one for part in parts for one in (part, *part.children(recursive=True))]
    found = [link for one in processes for link in one.net_connections("inet")]
    return sorted({link.laddr.port for link in found if link.status == psutil.CONN_LISTEN})


@contextlib.contextmanager
def opened(url, profile, *options):
    """The browser, on a page."""
    line = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    line += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "--explicitly-allowed-ports=1-65535"]
    # It is the farm that is tried, not the browser's own guard before addresses of this machine.
    line += ["--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests", *options, url]
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(line, env=clean | {"HOME": str(profile)}, **quiet) as browser:
        try:
            yield
        finally:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(browser.pid).children(recursive=True):
                    child.kill()
            browser.kill()


def page(**asked):
    return PAGE.replace("ASKED", base64.b64encode(json.dumps(asked).encode()).decode()).encode()


def visited(site, url, profile, *options):
    """What the pages of a stranger's site reported."""
    try:
        with opened(url, profile, *options):
            assert site.told.wait(SECONDS), "the page did not report"
        return site.reports
    finally:
        site.shutdown()
        site.server_close()


def is_harmless(one, running):
    """Whether an answer tells no more than that an object store is there: it refuses, or says nothing."""
    port = f":{running.folder.port('seaweed')}/"
    return port in one["url"] and (one["status"] in (403, 405) or one["text"] == "")


def assert_untouched(running):
    with FarmClient(running.url, running.token) as client:
        assert [node.name for node in client.nodes()] == ["desk"]
        assert client.health().objects
    assert store(running).get_object(Bucket="farm", Key="scene")["Body"].read() == SECRET
    assert running.part("seaweed").restarts == running.part("coordinator").restarts == 0


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium-headless-shell"
)


@needs_browser
def test_a_page_reads_and_changes_nothing(farm, tmp_path):
    sites = [f"http://{name}:{port}" for port in ports(farm) for name in ("127.0.0.1", "localhost")]
    assert len(sites) >= 20
    site = Stranger({"/": page(sites=sites, doors=DOORS)})
    url = f"http://127.0.0.1:{site.server_address[1]}/"
    (report,) = visited(site, url, tmp_path, "--no-proxy-server")
    assert report["tried"] == len(sites) * len(DOORS) * 6
    assert [one for one in report["seen"] if not is_harmless(one, farm)] == []
    assert_untouched(farm)


@needs_browser
def test_a_page_whose_name_leads_to_this_machine_reads_and_changes_nothing(farm, tmp_path):
    asked = ports(farm)
    frames = "".join(f"<iframe src='http://{OTHER_NAME}:{port}/page'></iframe>" for port in asked)
    site = Stranger({"/start": FRAMES.format(frames).encode(), "/page": page(doors=DOORS)}, len(asked))
    proxy = f"--proxy-server=http://127.0.0.1:{site.server_address[1]}"
    reports = visited(site, f"http://{OTHER_NAME}/start", tmp_path, proxy)
    seen = [one for report in reports for one in report["seen"]]
    # Here the page may read every answer: its site and the farm's are the same to the browser.
    assert len(seen) > len(asked) * len(DOORS)
    assert {one["status"] for one in seen} <= {400, 403, 404, 405, 421, 200, 501, 502}
    told = [one for one in seen if one["status"] == 200 and one["text"]]
    assert told == []
    assert not any("operator" in one["text"] or "time" in one["text"] for one in seen)
    assert_untouched(farm)


@needs_browser
def test_the_page_does_read_what_is_open(tmp_path):
    # Or the tests above would pass with a browser that fetches nothing.
    class Open(_Site):
        def do_GET(self):
            self.send_response(200)
            self.send_header("access-control-allow-origin", "*")
            self.send_header("content-length", "4")
            self.end_headers()
            self.wfile.write(b"open")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Open) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = Stranger({"/": page(sites=[f"http://127.0.0.1:{server.server_address[1]}"], doors=["/"])})
        url = f"http://127.0.0.1:{site.server_address[1]}/"
        (report,) = visited(site, url, tmp_path, "--no-proxy-server")
        server.shutdown()
    assert [(one["method"], one["text"]) for one in report["seen"]] == [("GET", "open")]


@pytest.mark.parametrize(
    "host", ["farm.evil.example", "farm.evil.example:{}", "127.0.0.1.evil.example", "[::1", "@127.0.0.1", ""]
)
def test_the_coordinator_is_asked_under_its_own_names_only(farm, host):
    port = urlsplit(farm.url).port
    assert under(port, f"127.0.0.1:{port}") == under(port, f"LOCALHOST:{port}") == 200
    assert under(port, host.format(port)) in (400, 421)


def under(port, host):
    """The status of an open call under a Host."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        link.putrequest("GET", "/api/v1/health", skip_host=True)
        link.putheader("Host", host)
        link.endheaders()
        return link.getresponse().status
    finally:
        link.close()

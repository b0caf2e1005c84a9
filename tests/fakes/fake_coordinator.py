# SPDX-License-Identifier: GPL-3.0-or-later
"""A coordinator and an object store in one small threaded server, for tests of the node.

It speaks what docs/http.md says a node may call, and can be told to be away, to lose leases, to
refuse, and to lie.
"""

import contextlib
import dataclasses
import hashlib
import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from farm_protocol.documents import Enrolment, FarmAnswer, Submission
from farm_protocol.records import Heartbeat, Lease, LeaseRequest, TaskFailure, TaskResult
from farm_protocol.typed_data import address_of
from verification.protocol.attestation import attest, digest, require_signer, sign

TOKEN = "node-token"
KEY = b"\x11" * 32
"""The farm signs with it."""
FARM = address_of(KEY)
NODE = "node-1"


TERMS = {"round": 12, "commitment": "ab" * 32, "rate": 1_000_000, "closes_in": 1.0, "out_in": 2.0}


def receipt_of(attestation, number=0, farm=FARM, key=KEY, **other):
    """A receipt of submission, as JSON; with other terms than those that were told where those are given."""
    terms = TERMS | other
    said = terms["round"], terms["commitment"], terms["rate"]
    submission = Submission(digest(attestation, farm).hex(), 1_700_000_000_000, *said)
    return {
        "submission": dataclasses.asdict(submission),
        "signature": sign(submission, farm, key),
        "leaf": number,
    }


class FakeCoordinator:
    """Leases what is put in `ready`; keeps what nodes hand in."""

    def __init__(self, port=0):
        self.changed = threading.Condition()
        self.ready = []
        self.listings = {}
        self.objects = {}
        self.requests = []
        self.beats = []
        self.troubles = ()
        self.results = {}
        self.failures = defaultdict(list)
        self.lost = set()
        self.away = False
        self.store_away = False
        self.refuse_token = False
        self.address = None
        self.spoil = lambda answer: answer
        self.log = lambda path, query: None
        self.calls = defaultdict(int)
        fake = self

        class Handler(_Handler):
            farm = fake

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add_scene(self, scene, body):
        self.objects[f"/store/{scene}"] = body
        digest = hashlib.sha256(body).hexdigest()
        file = {"name": "s", "sha256": digest, "size": len(body), "url": f"{self.url}/store/{scene}"}
        self.listings[scene] = {"scene": scene, "main": "scene.blend", "files": {"scene.blend": file}}

    def put(self, *leases):
        with self.changed:
            self.ready += leases
            self.changed.notify_all()

    def wait_for(self, condition, seconds=30):
        """Wait until `condition()` holds; something changes on every call of a node."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), (self.results, dict(self.failures), self.calls)

    def take(self, request):
        """Leases for a request's offers, as the scheduler would: kinds must match."""
        self.requests.append(request)
        given = []
        for offer in request.offers:
            lease = next((one for one in self.ready if one.task.kind in offer.kinds), None)
            if lease is not None:
                self.ready.remove(lease)
                given.append(dataclasses.replace(lease, slot=offer.slot))
        return given


class _Handler(BaseHTTPRequestHandler):
    farm: FakeCoordinator
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.serve("GET")

    def do_POST(self):
        self.serve("POST")

    def do_PUT(self):
        self.serve("PUT")

    def serve(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        farm = self.farm
        in_store = parts.path.startswith("/store/")
        name = "store " + method if in_store else parts.path.rpartition("/")[2]
        with farm.changed:
            farm.calls[name] += 1
            farm.changed.notify_all()
        if (farm.store_away and in_store) or (farm.away and not in_store):
            return self.answer(503, {"code": "unavailable", "detail": "Away for a moment."})
        if in_store:
            return self.store(method, parts.path, body)
        if farm.refuse_token or self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer(401, {"code": "unauthorized", "detail": "The farm does not know this token."})
        return self.call(parts, body)

    def call(self, parts, body):
        farm, path = self.farm, parts.path.removeprefix("/api/v1")
        if path == "/nodes/self":
            return self.about_node(body)
        if path == "/leases":
            return self.answer(200, {"leases": self.lease(msgspec.json.decode(body, type=LeaseRequest))})
        if path == "/leases/heartbeat":
            heartbeat = msgspec.json.decode(body, type=Heartbeat)
            beats = heartbeat.beats
            with farm.changed:
                farm.troubles = heartbeat.troubles
                farm.beats.append(beats)
                farm.changed.notify_all()
            return self.answer(200, {"lost": [beat.task for beat in beats if beat.task in farm.lost]})
        if path.startswith("/log/"):
            return self.about_log(path, parse_qs(parts.query))
        _, _, task, what = path.split("/")
        task, token = unquote(task), int(parse_qs(parts.query)["token"][0])
        if task in farm.lost:
            return self.answer(409, {"code": "stale_lease", "detail": "The lease passed on."})
        return self.about_task(task, token, what, body)

    def about_log(self, path, query):
        """What the test has the farm say of its log: by path and query, or nothing."""
        said = self.farm.log(path, {name: int(values[0]) for name, values in query.items()})
        if said is None:
            return self.answer(404, {"code": "not_found", "detail": "The log has no head yet."})
        return self.answer(200, said)

    def about_node(self, body):
        """Who the node is; with a body it shows its key."""
        farm = self.farm
        if body:
            shown = json.loads(body)
            require_signer(Enrolment(NODE, shown["address"]), FARM, shown["signature"], shown["address"])
            if farm.address not in (None, shown["address"]):
                return self.answer(
                    409, {"code": "conflict", "detail": "This node signed with another key before."}
                )
            farm.address = shown["address"]
        known = {"node": NODE, "name": "test", "own": True, "farm": FARM, "address": farm.address}
        return self.answer(200, known)

    def about_task(self, task, token, what, body):
        farm = self.farm
        if what == "scene":
            return self.answer(200, farm.listings[task.partition(":")[0]])
        if what == "uploads":
            names = [file["name"] for file in json.loads(body)["files"]]
            return self.answer(
                200,
                {
                    "uploads": [
                        {
                            "name": name,
                            "url": f"{farm.url}/store/{task}/{name}",
                            "headers": {"x-amz-checksum-sha256": "signed"},
                        }
                        for name in names
                    ]
                },
            )
        if what == "terms":
            return self.answer(200, TERMS)
        with farm.changed:
            if what == "result":
                result = msgspec.json.decode(body, type=TaskResult)
                missing = [
                    file.name for file in result.files if f"/store/{task}/{file.name}" not in farm.objects
                ]
                if missing:
                    return self.answer(409, {"code": "conflict", "detail": "The object is not there."})
                attestation = attest(task, token, result)
                require_signer(attestation, FARM, result.signature, farm.address)
                answer = {"state": "submitted", "receipt": receipt_of(attestation, len(farm.results))}
                spoilt = farm.spoil(answer)
                if spoilt == answer:
                    farm.results[task] = (token, result)
                farm.changed.notify_all()
                return self.answer(200, spoilt)
            if what == "failure":
                farm.failures[task].append((token, msgspec.json.decode(body, type=TaskFailure)))
            farm.changed.notify_all()
        return self.answer(200, {"state": "accepted"})

    def lease(self, request):
        deadline = time.monotonic() + request.wait
        farm = self.farm
        with farm.changed:
            while not (given := farm.take(request)) and (left := deadline - time.monotonic()) > 0:
                farm.changed.wait(left)
        return [msgspec.json.decode(msgspec.json.encode(lease)) for lease in given]

    def store(self, method, path, body):
        farm, path = self.farm, unquote(path)
        if method == "PUT":
            assert self.headers["x-amz-checksum-sha256"] == "signed"
            with farm.changed:
                farm.objects[path] = body
                farm.changed.notify_all()
            return self.answer(200, {})
        if path not in farm.objects:
            return self.answer(404, {})
        return self.answer(200, farm.objects[path])

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if challenge := self.headers["Farm-Challenge"]:
            shown = FarmAnswer(challenge, hashlib.sha256(data).hexdigest())
            self.send_header("Farm-Signature", sign(shown, FARM, KEY))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data)


__all__ = ["FARM", "KEY", "NODE", "TERMS", "TOKEN", "FakeCoordinator", "Lease", "receipt_of"]

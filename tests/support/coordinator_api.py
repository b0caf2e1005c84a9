# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's API as a test calls it: raw, so that wrong calls can be made too."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import urllib3

from farm_protocol import documents, typed_data
from farm_protocol.appointments import AuditTerms
from farm_protocol.audits import CheckReport, CropFinding
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile, decode, encode
from farm_protocol.records import (
    Blob,
    JobSpec,
    LeaseRequest,
    Manifest,
    OutputFile,
    SlotOffer,
    TaskKind,
    TaskResult,
)
from tests.support.plain_facts import PLAIN_SCENE
from verification.protocol import attestation
from verification.protocol.file_root import file_root

KINDS = (TaskKind.RENDER, TaskKind.FINISH, TaskKind.AUDIT, TaskKind.CHECK)

FACTS = replace(PLAIN_SCENE, resolution_x=64, resolution_y=64, samples=4)
"""A plain Cycles scene of 64x64 pixels."""


@dataclass(frozen=True)
class Answer:
    """Status, headers and the decoded body."""

    status: int
    headers: Any
    body: Any


@dataclass
class Api:
    """Calls under one token."""

    url: str
    token: str
    http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, timeout=40.0)
    )

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One call, whatever comes of it. Header names have underscores for dashes."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if body is None or isinstance(body, bytes) else encode(body)
        answer = self.http.request(method, f"{self.url}/api/v1{path}", headers=sent, body=raw)
        return Answer(answer.status, answer.headers, json.loads(answer.data) if answer.data else None)

    def ok(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """One call that must succeed; returns its body."""
        answer = self.call(method, path, body, **headers)
        assert answer.status < 300, answer
        return answer.body

    def refused(
        self, status: int, code: str, method: str, path: str, body: object = None, **headers: str
    ) -> str:
        """One call that must fail so; returns the sentence."""
        answer = self.call(method, path, body, **headers)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), answer
        assert answer.body["code"] == code, answer
        assert answer.body["status"] == status
        return str(answer.body["detail"])

    def put(self, link: dict[str, Any], content: bytes) -> int:
        """PUT to a link the API gave; returns the object store's status."""
        return self.http.request("PUT", link["url"], headers=link["headers"], body=content).status

    # --- what most tests start with -------------------------------------------------------------

    def owner(self, name: str = "ann") -> "Api":
        """A new owner (asked for by the operator)."""
        return Api(self.url, self.ok("POST", "/owners", {"name": name})["token"])

    def node(self, name: str = "node", own: bool = False) -> "Node":
        """A new node of the caller's."""
        made = self.ok("POST", "/nodes", {"name": name, "own": own})
        node = Node(self.url, made["token"], id=made["node"])
        node.enrol()
        return node

    def scene(self, content: bytes | None = None) -> str:
        """A sealed scene of one file."""
        content = os.urandom(100) if content is None else content
        scene = self.ok("POST", "/scenes", manifest(content))
        for link in scene["missing"]:
            assert self.put(link, content) == 200
        assert self.ok("POST", f"/scenes/{scene['scene']}/seal")["sealed"]
        return str(scene["scene"])

    def job(self, scene: str | None = None, facts: SceneFacts = FACTS, **spec: Any) -> str:
        """A job of two whole frames, unless `spec` says otherwise."""
        wish = JobSpec(scene or self.scene(), **{"frames": (1, 2), "tiles": "1x1", **spec})
        return str(self.ok("POST", "/jobs", {"spec": wish, "facts": facts})["job"])


@dataclass
class Node(Api):
    """Calls as a node makes them."""

    id: str = ""
    device: str = "cpu"
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    farm: str = ""

    @property
    def address(self) -> str:
        """What the node signs as."""
        return typed_data.address_of(self.key)

    def enrol(self) -> None:
        """Bind the node's address to its token."""
        self.farm = self.ok("GET", "/nodes/self")["farm"]
        signature = attestation.sign(documents.Enrolment(self.id, self.address), self.farm, self.key)
        self.ok("POST", "/nodes/self", {"address": self.address, "signature": signature})

    def sign(self, lease: dict[str, Any], result: TaskResult) -> TaskResult:
        """The result with this node's signature for this lease."""
        message = attestation.attest(lease["task"]["id"], lease["token"], result)
        return replace(result, signature=attestation.sign(message, self.farm, self.key))

    def appoint(self, lease: dict[str, Any], result: TaskResult, attempt: int = 1) -> TaskResult:
        """The result with an appointment by the farm's terms; without one where the farm tells none."""
        path = f"{under(lease)}/terms?token={lease['token']}&attempt={attempt}"
        told = self.call("GET", path)
        if told.status != 200:
            return result
        message = attestation.attest(lease["task"]["id"], lease["token"], result)
        one = attestation.appoint(message, decode(encode(told.body), AuditTerms), attempt, self.farm)
        signature = attestation.sign(one, self.farm, self.key)
        return replace(result, appointment=one, appointment_signature=signature)

    def lease(
        self, wait: float = 0.0, sandboxed: bool = True, slots: int = 1, **offer: Any
    ) -> list[dict[str, Any]]:
        """Leases for so many slots."""
        wish = {"kinds": KINDS, "device_class": self.device, **offer}
        offers = tuple(SlotOffer(f"slot {number}", **wish) for number in range(slots))
        return list(self.ok("POST", "/leases", LeaseRequest(offers, wait, sandboxed))["leases"])

    def upload(self, lease: dict[str, Any], content: bytes, name: str = "tile.exr") -> TaskResult:
        """Upload one file; returns the result to submit."""
        file = OutputFile(name, hashlib.sha256(content).hexdigest(), len(content))
        link = self.ok("POST", f"{under(lease)}/uploads?token={lease['token']}", {"files": [file]})[
            "uploads"
        ][0]
        assert self.put(link, content) == 200
        result = TaskResult((file,), 1.0, 0.5, self.device, pixel_root=file_root((file,)))
        return self.sign(lease, result)

    def submit(self, lease: dict[str, Any], result: TaskResult) -> Answer:
        """Sign as it is now and submit, whatever comes of it."""
        result = self.sign(lease, result) if result.pixel_root else result
        path = f"{under(lease)}/result?token={lease['token']}"
        if lease["task"]["kind"] != TaskKind.RENDER or not result.pixel_root:
            return self.call("POST", path, result)
        # On a loaded machine the log may be closed before the submit is there.
        while (answer := self.call("POST", path, self.appoint(lease, result))).status == 409:
            if answer.body["code"] != "round_closed":
                break
        return answer

    def do(self, lease: dict[str, Any], content: bytes = b"pixels", report: CheckReport | None = None) -> Any:
        """Upload and submit; a check finds what `report` says, else nothing wrong. Returns the answer."""
        result = self.upload(lease, content)
        if lease["task"]["kind"] == TaskKind.CHECK:
            result = replace(result, report=report or fine(lease))
        answer = self.submit(lease, result)
        assert answer.status == 200, answer
        assert answer.body["state"] in {"accepted", "submitted"}, answer
        return answer.body

    def work(self) -> int:
        """Do all there is to do; returns how many tasks."""
        done = 0
        while leases := self.lease():
            for lease in leases:
                self.do(lease)
                done += 1
        return done


def fine(lease: dict[str, Any]) -> CheckReport:
    """What a check says of a tile that is as its audits rendered it."""
    audits = lease["check"]["audits"]
    crops = [decode(encode(crop), Tile) for audit in audits for crop in audit["order"]["crops"]]
    findings = tuple(CropFinding(crop, different=0) for crop in crops)
    return CheckReport(channels=("ViewLayer/Combined.R",), noise=0.5, crops=findings)


STRANGERS_ONLY = ("--audit-own-first", "0", "--audit-repeat", "0")
"""Options of a coordinator whose own nodes audit nothing that strangers could."""


def under(lease: dict[str, Any]) -> str:
    """The path of a lease."""
    return f"/leases/{lease['task']['id']}"


def manifest(content: bytes, name: str = "scene.blend") -> Manifest:
    """A scene of one file."""
    return Manifest(name, {name: Blob(hashlib.sha256(content).hexdigest(), len(content))})


@contextmanager
def events(api: Api, job: str, after: str = "") -> Iterator[Iterator[dict[str, Any]]]:
    """A job's event stream, decoded, with `id` and `event` beside the data."""
    headers = {"Authorization": f"Bearer {api.token}"} | ({"Last-Event-ID": after} if after else {})
    url = f"{api.url}/api/v1/jobs/{job}/events"
    answer = api.http.request("GET", url, headers=headers, preload_content=False)
    try:
        assert answer.status == 200, answer.data
        yield _events(answer)
    finally:
        answer.close()


def _events(answer: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    text = ""
    for chunk in answer.stream(1, decode_content=False):
        text += chunk.decode("latin-1")
        if text.endswith("\n\n"):
            fields = dict(
                line.split(": ", 1) for line in text.strip().split("\n") if not line.startswith(":")
            )
            text = ""
            if "data" in fields:
                yield {"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])}

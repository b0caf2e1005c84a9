# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node asks the coordinator (docs/http.md)."""

import threading
from typing import Protocol
from urllib.parse import quote

import msgspec

from farm_protocol.appointments import AuditTerms
from farm_protocol.fields import Address, decode, encode
from farm_protocol.http_client import HttpClient
from farm_protocol.node_answers import LeasedScene, LeaseList, NodeSelf, OfferAnswer, SubmitAnswer, UploadList
from farm_protocol.records import (
    Heartbeat,
    HeartbeatAnswer,
    Lease,
    LeaseRequest,
    OutputFile,
    TaskFailure,
    TaskResult,
    Upload,
)
from farm_protocol.retry import Retry, insist
from payments.messages.network import Network
from payments.messages.promises import Offer, Promises, Release, Signed

CHALLENGE, SIGNATURE = "Farm-Challenge", "Farm-Signature"
"""Headers by which the farm is asked to show its key, and does."""

TRIES = 5
"""How often a call is made that the coordinator may safely hear twice."""


class _FarmNetwork(msgspec.Struct, frozen=True):
    network: Network | None = None


class Prover(Protocol):
    """Has the farm show its key with an answer (`gpu_worker.farm.trust.Proof`)."""

    def challenge(self) -> str:
        """What the farm is to sign with its answer."""

    def check(self, challenge: str, answer: bytes, signature: str | None) -> None:
        """Raises Forbidden where it did not."""


class Coordinator:
    """The coordinator at `url`, as the node that `token` names. May be used from several threads. With a
    `proof` the farm has to show its key with what decides about files that are opened. `ca_file` has the
    certificates it is checked by ('': the system's).

    Every method raises the FarmError the coordinator answered with, or Unavailable where it does not
    answer.
    """

    def __init__(
        self, url: str, token: str, tries: int = TRIES, *, ca_file: str = "", proof: Prover | None = None
    ) -> None:
        self._http = HttpClient(url, token, ca_file=ca_file)
        self._tries, self._proof = tries, proof
        self._closed = threading.Event()

    @property
    def peer(self) -> str:
        """The address that the coordinator answered from last."""
        return self._http.peer

    def myself(self) -> NodeSelf:
        """What the farm knows of this node."""
        return decode(self._call("GET", "/nodes/self", proven=True), NodeSelf)

    def enrol(self, address: Address, signature: str) -> NodeSelf:
        """Bind this node's address to its token. Raises Conflict where it has another one."""
        body = encode({"address": address, "signature": signature})
        return decode(self._call("POST", "/nodes/self", body, proven=True), NodeSelf)

    def lease(self, request: LeaseRequest) -> tuple[Lease, ...]:
        """Ask for work; not repeated, because an answer lost on the way holds leases."""
        body = self._call("POST", "/leases", encode(request), tries=1, patience=request.wait, proven=True)
        return decode(body, LeaseList).leases

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Renew leases; the answer names those that are lost."""
        return decode(self._call("POST", "/leases/heartbeat", encode(heartbeat), tries=1), HeartbeatAnswer)

    def scene(self, lease: Lease) -> LeasedScene:
        """What the leased task's scene consists of."""
        return decode(self._call("GET", _of(lease, "scene")), LeasedScene)

    def uploads(self, lease: Lease, files: tuple[OutputFile, ...]) -> tuple[Upload, ...]:
        """Where to put the files of a finished task."""
        return decode(self._call("POST", _of(lease, "uploads"), encode({"files": files})), UploadList).uploads

    def terms(self, lease: Lease, attempt: int) -> AuditTerms:
        """By what it will be decided whether a tile is audited."""
        return decode(self._call("GET", f"{_of(lease, 'terms')}&attempt={attempt}"), AuditTerms)

    def log_head(self, number: int | None = None) -> bytes:
        """The signed head of the farm's log for a round, or the newest; not decoded. Raises NotFound."""
        return self._call("GET", "/log/head" if number is None else f"/log/heads/{number}", tries=1)

    def log_consistency(self, first: int, second: int) -> bytes:
        """The farm's proof that its log of `second` leaves begins with that of `first`; not decoded."""
        return self._call("GET", f"/log/consistency?from={first}&to={second}", tries=1)

    def log_proof(self, leaf: int, size: int) -> bytes:
        """The farm's proof that a leaf is among the first `size`; not decoded."""
        return self._call("GET", f"/log/proof?leaf={leaf}&size={size}", tries=1)

    def submit(self, lease: Lease, result: TaskResult) -> SubmitAnswer:
        """Hand the result in."""
        return decode(self._call("POST", _of(lease, "result"), encode(result)), SubmitAnswer)

    def give_back(self, lease: Lease, failure: TaskFailure, tries: int | None = None) -> None:
        """Give the task back."""
        self._call("POST", _of(lease, "failure"), encode(failure), tries=tries)

    def network(self) -> Network | None:
        """Where the farm takes payments; None where it takes none."""
        return decode(self._call("GET", "/farm"), _FarmNetwork).network

    def offer(self, offer: Signed[Offer]) -> str:
        """Sell from now on; the offer's struct hash as the farm reads it."""
        return decode(self._call("POST", "/nodes/self/offer", encode(offer)), OfferAnswer).offer

    def withdraw_offer(self) -> None:
        """Sell no longer."""
        self._call("DELETE", "/nodes/self/offer", tries=1)

    def promises(self, after: str, wait: float) -> Promises:
        """What the farm promised this node since `after`; held open up to `wait` seconds."""
        path = f"/nodes/self/promises?after={quote(after, safe='')}&wait={wait:g}"
        return decode(self._call("GET", path, tries=1, patience=wait), Promises)

    def release(self, release: Signed[Release]) -> None:
        """Give up what an agreement could still earn."""
        self._call("POST", "/nodes/self/releases", encode(release))

    def close(self) -> None:
        """End waits between tries; calls after this are made once."""
        self._closed.set()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        tries: int | None = None,
        patience: float = 0,
        proven: bool = False,
    ) -> bytes:
        attempts = Retry(tries or self._tries).attempts(self._closed.wait)
        proof = self._proof if proven else None
        return insist(attempts, lambda: self._once(method, path, body, patience, proof))

    def _once(
        self, method: str, path: str, body: bytes | None, patience: float, proof: Prover | None
    ) -> bytes:
        if proof is None:
            return self._http.ask(method, path, body, wait=patience).data
        challenge = proof.challenge()
        answer = self._http.ask(method, path, body, headers={CHALLENGE: challenge}, wait=patience)
        proof.check(challenge, answer.data, answer.headers.get(SIGNATURE))
        return answer.data


def _of(lease: Lease, what: str) -> str:
    return f"/leases/{quote(lease.task.id, safe='')}/{what}?token={lease.token}"

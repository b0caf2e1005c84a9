# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node asks the coordinator (docs/architecture.md, "HTTP, version 1")."""

import random
import threading
from typing import Annotated, Any, Protocol
from urllib.parse import quote

import msgspec
import urllib3

from farm_protocol import web
from farm_protocol.addresses import origin_of
from farm_protocol.appointments import AuditTerms
from farm_protocol.errors import (
    Conflict,
    FarmError,
    Forbidden,
    InvalidInput,
    NotFound,
    RoundClosed,
    StaleLease,
    Unauthorized,
    Unavailable,
)
from farm_protocol.fields import Address, Digest, Name, StoredFile, decode, decoder, encode
from farm_protocol.links import MOST_ORIGINS
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
from payments.network import Network
from payments.promises import Promises, SignedOffer, SignedRelease

LARGEST_ANSWER = 256 << 20
"""Bytes: the listing of a scene with a hundred thousand files, each with a signed link."""

CHALLENGE, SIGNATURE = "Farm-Challenge", "Farm-Signature"
"""Headers by which the farm is asked to show its key, and does."""

TRIES = 5
"""How often a call is made that the coordinator may safely hear twice."""

_ERRORS: tuple[type[FarmError], ...] = (
    StaleLease,
    RoundClosed,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unavailable,
)


class Unreachable(Unavailable):
    """No coordinator answers. The sentence has the socket's words, which are for this machine's user only."""


class Distrusted(Unreachable):
    """Who answers at the coordinator's address shows a certificate that is not believed."""


class SceneListing(msgspec.Struct, frozen=True):
    """The files of a leased scene, by relative path, with links to fetch them; `main` is to be opened,
    `color_config` as in its Manifest.
    """

    scene: Name
    main: Name
    files: Annotated[dict[Name, StoredFile], msgspec.Meta(min_length=1, max_length=200_000)]
    color_config: Name = ""


class NodeSelf(msgspec.Struct, frozen=True):
    """A node, as the farm knows it; `farm` is the address the farm signs with. Links of the farm lead to
    `objects` (scheme://host:port), or to the farm itself where it names none; `owner` is whose node it is.
    """

    node: Name
    name: Name
    own: bool
    farm: Address
    address: Address | None = None
    objects: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MOST_ORIGINS)] = ()
    owner: Name = ""


class SubmitAnswer(msgspec.Struct, frozen=True):
    """What became of a result. `receipt` stays undecoded for `notary.py`, because slots should not load
    what reads signatures.
    """

    state: Name
    receipt: msgspec.Raw = msgspec.Raw(b"null")


class _Leases(msgspec.Struct, frozen=True):
    leases: Annotated[tuple[Lease, ...], msgspec.Meta(max_length=10_000)]


class _Uploads(msgspec.Struct, frozen=True):
    uploads: Annotated[tuple[Upload, ...], msgspec.Meta(max_length=10_000)]


class _FarmNetwork(msgspec.Struct, frozen=True):
    network: Network | None = None


class _OfferAnswer(msgspec.Struct, frozen=True):
    offer: Digest


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""
    title: str = ""
    code: str = ""


class Prover(Protocol):
    """Has the farm show its key with an answer (`gpu_worker.trust.Proof`)."""

    def challenge(self) -> str:
        """What the farm is to sign with its answer."""

    def check(self, challenge: str, answer: bytes, signature: str | None) -> None:
        """Raises Forbidden where it did not."""


class Coordinator:
    """The coordinator at `url`, as the node that `token` names. May be used from several threads. With a
    `proof` the farm has to show its key with what decides about files that are opened. `peer` is the address
    it answered from last; `ca_file` has the certificates it is checked by ('': the system's).

    Every method raises the FarmError the coordinator answered with, or Unavailable where it does not
    answer.
    """

    def __init__(
        self, url: str, token: str, tries: int = TRIES, *, ca_file: str = "", proof: Prover | None = None
    ) -> None:
        self._base = checked_url(url).rstrip("/") + "/api/v1"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._tries, self._proof = tries, proof
        self.peer = ""
        self._pool = web.pool(maxsize=16, ca_file=ca_file, met=self._met)
        self._closed = threading.Event()

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
        return decode(body, _Leases).leases

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Renew leases; the answer names those that are lost."""
        return decode(self._call("POST", "/leases/heartbeat", encode(heartbeat), tries=1), HeartbeatAnswer)

    def scene(self, lease: Lease) -> SceneListing:
        """What the leased task's scene consists of."""
        return decode(self._call("GET", _of(lease, "scene")), SceneListing)

    def uploads(self, lease: Lease, files: tuple[OutputFile, ...]) -> tuple[Upload, ...]:
        """Where to put the files of a finished task."""
        return decode(self._call("POST", _of(lease, "uploads"), encode({"files": files})), _Uploads).uploads

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

    def offer(self, offer: SignedOffer) -> str:
        """Sell from now on; the offer's struct hash as the farm reads it."""
        return decode(self._call("POST", "/nodes/self/offer", encode(offer)), _OfferAnswer).offer

    def withdraw_offer(self) -> None:
        """Sell no longer."""
        self._call("DELETE", "/nodes/self/offer", tries=1)

    def promises(self, after: str, wait: float) -> Promises:
        """What the farm promised this node since `after`; held open up to `wait` seconds."""
        path = f"/nodes/self/promises?after={quote(after, safe='')}&wait={wait:g}"
        return decode(self._call("GET", path, tries=1, patience=wait), Promises)

    def release(self, release: SignedRelease) -> None:
        """Give up what an agreement could still earn."""
        self._call("POST", "/nodes/self/releases", encode(release))

    def close(self) -> None:
        """End waits between tries; calls after this are made once."""
        self._closed.set()

    def _met(self, address: str) -> None:
        self.peer = address

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        tries: int | None = None,
        patience: float = 0,
        proven: bool = False,
    ) -> bytes:
        proof = self._proof if proven else None
        wanted = tries or self._tries
        for attempt in range(1, wanted + 1):
            try:
                return self._once(method, path, body, patience, proof)
            except Unavailable:
                if attempt == wanted or self._closed.wait(backoff(attempt, longest=5.0)):
                    raise
        raise AssertionError("unreachable")

    def _once(
        self, method: str, path: str, body: bytes | None, patience: float, proof: Prover | None
    ) -> bytes:
        challenge = proof.challenge() if proof else ""
        try:
            response = self._pool.request(
                method,
                self._base + path,
                body=body,
                headers={**self._headers, **({CHALLENGE: challenge} if proof else {})},
                timeout=urllib3.Timeout(connect=10, read=30 + patience),
                redirect=False,
                preload_content=False,
            )
            try:
                answer = _bounded(response)
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            if told := web.distrusted(error, self._base):
                raise Distrusted(told) from error
            raise Unreachable(f"The coordinator at {self._base} does not answer: {_reason(error)}") from error
        if response.status >= 400:
            raise _problem(response.status, answer)
        if response.status >= 300:
            raise InvalidInput(f"The coordinator's address moved ({response.status}): give the new one.")
        if proof:
            proof.check(challenge, answer, response.headers.get(SIGNATURE))
        return answer


def checked_url(url: str) -> str:
    """`url`, if it names a host over http or https. Raises InvalidInput."""
    origin_of(url)
    return url


def backoff(attempt: int, longest: float) -> float:
    """Seconds to wait after the `attempt`th failure in a row: doubled each time, and spread."""
    wait = min(longest, 0.25 * float(2 ** min(attempt - 1, 20)))
    return wait * random.uniform(0.5, 1.0)  # noqa: S311


def _of(lease: Lease, what: str) -> str:
    return f"/leases/{quote(lease.task.id, safe='')}/{what}?token={lease.token}"


def _bounded(response: urllib3.BaseHTTPResponse) -> bytes:
    body = response.read(LARGEST_ANSWER + 1, decode_content=True)
    if len(body) > LARGEST_ANSWER:
        response.close()
        raise InvalidInput("The coordinator's answer is too large.")
    return body


def _problem(status: int, body: bytes) -> FarmError:
    """The error a problem document stands for; by its code, else by its status."""
    try:
        problem = decoder(_Problem).decode(body)
    except (msgspec.DecodeError, ValueError):
        problem = _Problem()
    sentence = (problem.detail or problem.title or f"The coordinator answered {status}.")[:2000]
    by_code = [kind for kind in _ERRORS if kind.code == problem.code]
    by_status = [kind for kind in reversed(_ERRORS) if kind.status == status]
    if status >= 500 or status == 429:
        return Unavailable(sentence)
    return (by_code or by_status or [InvalidInput])[0](sentence)


def _reason(error: Any) -> str:
    return str(getattr(error, "reason", None) or error)[:300]

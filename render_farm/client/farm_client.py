# SPDX-License-Identifier: GPL-3.0-or-later
"""The farm from Python: what the commands use, and what a studio's own scripts can use.

    from pathlib import Path
    from render_farm.client.farm_client import FarmClient

    with FarmClient("https://farm.example:8700", token) as farm:
        scene = farm.upload_scene(bundled.manifest, bundled.root)
        job = farm.submit(JobSpec(scene=scene, frames=(1, 2, 3)), facts)
        for event in farm.events(job.job):
            print(event.kind, event.data)
        for frame in farm.frames(job.job):
            farm.download(frame.files[0], Path(f"{frame.frame:04}.png"))

Every method raises FarmError (or one of its kinds in `farm_protocol.errors`) with a sentence. A
coordinator that is away for a moment is waited for, `patience` seconds long, or until `gone` says that
waiting is in vain; `say` gets a sentence when that takes long. Plain http beyond this machine has to be
allowed with `insecure`; `ca_file` has the certificates a farm is checked by ('': the system's). A farm that
is its user's `own`, on this machine, is taken at its word; so is where its files are, where the user named
that with `objects`.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from farm_protocol.addresses import require_encrypted
from farm_protocol.errors import Conflict, FarmError
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import StoredFile
from farm_protocol.hashing import hash_file
from farm_protocol.ids import JobId, SceneId
from farm_protocol.links import Links, links, trusted_links
from farm_protocol.node_answers import NodeSelf
from farm_protocol.records import Blob, JobSpec, Manifest
from farm_protocol.transfer import LinkExpired
from frame_splitter.outputs import laid_out_name
from payments.messages.quotes import Quote
from payments.messages.statements import Payment, Statement
from render_farm.api_models import (
    FarmView,
    Frame,
    FrameList,
    Health,
    Job,
    JobList,
    MissingBlob,
    NewNode,
    NewOwner,
    NewToken,
    NodeList,
    NodeView,
    OwnerList,
    OwnerRemoved,
    OwnerView,
    SceneAnswer,
    SealAnswer,
    TaskList,
    TaskView,
    TermsAnswer,
    TokenList,
    TokenView,
)
from render_farm.client.connection import Connection, Gone, Lost, Stopped, Stream
from render_farm.client.events import FINAL_STATES, Event, parse
from render_farm.client.transfers import Transfers

if TYPE_CHECKING:
    from verification.audit.records import JobVerification, LogConsistency, SignedHead

UPLOADS_AT_ONCE = 4
VAIN_OFFERS = 8
"""How often links may all be refused, each time after a longer pause, before a file is given up: a store that
starts refuses all of them for a moment.
"""
STEADY_SECONDS = 5.0
"""An event stream that lasted so long was a good one, whether or not anything was told."""
SILENCE = 45.0
"""Seconds without any byte after which an event stream counts as broken."""

RECEIPT_TRIES = 6
"""How often a receipt is asked for that the farm cannot make yet, each time after twice as long."""

Progress = Callable[[int, int], None]


class FarmClient:
    """One coordinator, seen as one owner (or the operator). Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience: float = 60.0,
        gone: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda _: None,
        insecure: bool = False,
        ca_file: str = "",
        own: bool = False,
        objects: tuple[str, ...] = (),
    ) -> None:
        plain = insecure or own
        self._link = Connection(
            url, token, patience=patience, gone=gone, say=say, insecure=plain, ca_file=ca_file
        )
        self._own, self._objects = own, objects
        self._transfers = Transfers(self._link, self._links, ca_file)
        self.url = self._link.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all waiting, in every thread, and drop the connections."""
        self._link.close()
        self._transfers.close()

    def _links(self) -> Links:
        """Where the farm's links may lead; asked for once, and only where they do not lead to itself."""
        link = self._link
        named = self._objects or self.rules().objects
        for origin in named:
            require_encrypted(origin, "The farm's object store", link.insecure)
        if self._own or self._objects:
            return trusted_links(named, link.ca_file)
        return links(named, link.url, link.peer, link.ca_file)

    def health(self) -> Health:
        """Whether the coordinator, its store and its object store answer."""
        return self._link.get("/health", Health)

    # --- scenes ---------------------------------------------------------------------------------

    def upload_scene(self, manifest: Manifest, root: Path, progress: Progress | None = None) -> SceneId:
        """Upload what the farm lacks of a scene and seal it. `root` holds the manifest's files.

        `progress(bytes_done, bytes_total)` is called after each file, from any thread. Returns the
        scene's id. Uploading the same scene again sends nothing.
        """
        offer, pauses = self.offer_scene(manifest), self._pauses()
        while offer.missing and not offer.sealed:
            # Links run out during long uploads; a fresh offer has fresh ones for what is left.
            if self._upload_blobs(offer.missing, manifest, root, progress):
                pauses = self._pauses()
            elif next(pauses, None) is None:
                raise FarmError("The object store takes no uploads: its links are refused at once.")
            offer = self.offer_scene(manifest)
        if not offer.sealed:
            self._link.post(f"/scenes/{offer.scene}/seal", SealAnswer)
        return offer.scene

    def _pauses(self) -> Iterator[int]:
        """Waits between tries with fresh links, the first at once."""
        return islice(self._link.attempts(), VAIN_OFFERS)

    def offer_scene(self, manifest: Manifest) -> SceneAnswer:
        """Say what a scene consists of; the answer says which blobs the farm lacks."""
        return self._link.post("/scenes", SceneAnswer, manifest)

    def _upload_blobs(
        self, missing: tuple[MissingBlob, ...], manifest: Manifest, root: Path, progress: Progress | None
    ) -> int:
        """Upload several blobs at a time; returns how many went before their links ran out."""
        names = {blob.sha256: name for name, blob in manifest.files.items()}
        unknown = [blob.sha256 for blob in missing if blob.sha256 not in names]
        if unknown:
            raise FarmError("The coordinator asks for files that are not in the scene.")
        total, done, sent = sum(blob.size for blob in missing), 0, 0

        def send(blob: MissingBlob) -> MissingBlob | None:
            try:
                self._transfers.upload(root / laid_out_name(names[blob.sha256]), blob.url, blob.headers)
            except LinkExpired:
                return None
            return blob

        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
            for blob in pool.map(send, missing):
                if blob is not None:
                    sent, done = sent + 1, done + blob.size
                    if progress:
                        progress(done, total)
        return sent

    # --- jobs -----------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, facts: SceneFacts, payment: Payment | None = None) -> Job:
        """Start a job on a sealed scene; with a `payment` it waits for its deposit. Sent again after a broken
        connection, it is still one job.
        """
        body = {"spec": spec, "facts": facts, "payment": payment}
        return self._link.post("/jobs", Job, body, key=uuid.uuid4().hex)

    def jobs(self, *, fingerprint: str = "", unfinished: bool = False) -> tuple[Job, ...]:
        """The owner's jobs; `fingerprint` keeps those asked for with the same scene and spec."""
        query = {"fingerprint": fingerprint} if fingerprint else {}
        if unfinished:
            query["unfinished"] = "true"
        return self._link.get("/jobs", JobList, query).jobs

    def job(self, job: JobId) -> Job:
        """One job as it is now."""
        return self._link.get(f"/jobs/{_id(job)}", Job)

    def cancel(self, job: JobId) -> Job:
        """End a job. Frames that are done stay."""
        return self._link.post(f"/jobs/{_id(job)}/cancel", Job)

    def pause(self, job: JobId) -> Job:
        """Lease no more tasks of a job until it is resumed."""
        return self._link.post(f"/jobs/{_id(job)}/pause", Job)

    def resume(self, job: JobId) -> Job:
        """Go on with a paused job."""
        return self._link.post(f"/jobs/{_id(job)}/resume", Job)

    def frames(self, job: JobId) -> tuple[Frame, ...]:
        """All frames of a job, with fresh links to the files of those that are done."""
        frames, more = list[Frame](), True
        while more:
            page = self._link.get(f"/jobs/{_id(job)}/frames", FrameList, _after(frames))
            frames, more = [*frames, *page.frames], page.more and bool(page.frames)
        return tuple(frames)

    def tasks(self, job: JobId) -> tuple[TaskView, ...]:
        """All tasks of a job with their states and failures."""
        tasks, more = list[TaskView](), True
        while more:
            page = self._link.get(f"/jobs/{_id(job)}/tasks", TaskList, _after(tasks))
            tasks, more = [*tasks, *page.tasks], page.more and bool(page.tasks)
        return tuple(tasks)

    def events(self, job: JobId, *, last_id: str = "") -> Iterator[Event]:
        """What happens to a job, as it happens, until its last event.

        A broken stream is taken up again where it broke; `last_id` is the id of the last event
        already seen. Raises Unavailable when the coordinator stays away.

            for event in farm.events(job.job):
                if event.kind == "frame":
                    frame = decode(event.data, Frame)
        """
        patience = self._link.attempts()
        lost = Lost(f"The coordinator at {self.url} does not answer.")
        while next(patience, None) is not None:
            heard, began = False, time.monotonic()
            try:
                for event in parse(self._open_events(job, last_id).lines()):
                    heard, last_id = True, event.id or last_id
                    yield event
                    if event.is_last:
                        return
            except Lost as error:
                lost = error
            else:
                if not heard and self.job(job).state in FINAL_STATES:
                    return
            # What broke just now was there until now, however long ago its last event was.
            if heard or time.monotonic() - began > STEADY_SECONDS:
                patience = self._link.attempts()
        raise lost

    def _open_events(self, job: JobId, last_id: str) -> Stream:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        return self._link.stream(f"/jobs/{_id(job)}/events", headers, SILENCE)

    # --- money ----------------------------------------------------------------------------------

    def quote(self, spec: JobSpec, facts: SceneFacts) -> Quote:
        """Ask what a job on a sealed scene will take. The farm renders probes for it: ask `quoted` later."""
        return self._link.post("/quotes", Quote, {"spec": spec, "facts": facts}, key=uuid.uuid4().hex)

    def quoted(self, quote: JobId, *, wait: float = 0.0) -> Quote:
        """A quote as it is now; waits up to `wait` seconds while it is made."""
        return self._link.get(f"/quotes/{_id(quote)}", Quote, {"wait": str(wait)})

    def terms(self, job: JobId) -> TermsAnswer:
        """What a paid job is opened with on the chain, signed by the farm, and on which chain."""
        return self._link.get(f"/jobs/{_id(job)}/terms", TermsAnswer)

    def statement(self, job: JobId) -> Statement:
        """All of a paid job's money. Raises Conflict where the job is free, or its books are not open yet."""
        return self._link.get(f"/jobs/{_id(job)}/statement", Statement)

    # --- files ----------------------------------------------------------------------------------

    def download(self, file: StoredFile, target: Path, renew: Callable[[], StoredFile] | None = None) -> Path:
        """Fetch a file of a frame to `target`, complete and with the right sha256, or not at all.

        A file that is there already with the same content is left as it is. `renew` gives the same
        file with a fresh link, for when one is refused. Returns `target`.
        """
        if has(target, file):
            return target
        expired = LinkExpired(f"The link to {target.name} is no longer valid.")
        for tried in self._pauses():
            try:
                self._transfers.download(renew() if tried and renew else file, target)
                return target
            except LinkExpired as error:
                expired = error
                if renew is None:
                    break
        raise expired

    # --- verification ---------------------------------------------------------------------------

    def rules(self) -> FarmView:
        """The farm's address, which signs its receipts, the rules of its audits, and where it settles."""
        return self._link.get("/farm", FarmView)

    def verification(self, job: JobId) -> "JobVerification":
        """Every submission of a job with its audits and verdict: what `receipts.replay` repeats."""
        from verification.audit.records import JobVerification  # noqa: PLC0415 - signatures take long to load

        return self._link.get(f"/jobs/{_id(job)}/verification", JobVerification)

    def log_head(self) -> "SignedHead":
        """The newest head of the farm's log. Raises NotFound where it has none yet."""
        from verification.audit.records import SignedHead  # noqa: PLC0415 - signatures take long to load

        return self._link.get("/log/head", SignedHead)

    def log_consistency(self, first: int, second: int) -> "LogConsistency":
        """The farm's proof that its log of `second` leaves begins with that of `first`. Raises NotFound."""
        from verification.audit.records import LogConsistency  # noqa: PLC0415 - signatures take long to load

        query = {"from": str(first), "to": str(second)}
        return self._link.get("/log/consistency", LogConsistency, query)

    def receipt(self, job: JobId, frame: int) -> bytes:
        """The signed receipt of a frame that is done, byte for byte (`verification.receipts.receipt`).

        A farm that waits for a beacon round is asked again for some seconds. Raises Conflict when
        it still has none, NotFound for what there is not.
        """
        for attempt in range(RECEIPT_TRIES):
            try:
                return self._link.fetch(f"/jobs/{_id(job)}/frames/{frame}/receipt")
            except Conflict:
                if attempt == RECEIPT_TRIES - 1:
                    raise
            if self._link.stopped.wait(0.2 * 2**attempt):
                break
        raise Stopped("The waiting for a receipt was ended.")

    # --- nodes ----------------------------------------------------------------------------------

    def add_owner(self, name: str, *, expires: int = 0) -> NewOwner:
        """Issue a person's token (operator only): its jobs and nodes are kept apart from others'. It works
        for `expires` seconds; 0: without end.
        """
        body = {"name": name, **({"expires_seconds": expires} if expires else {})}
        return self._link.post("/owners", NewOwner, body, key=uuid.uuid4().hex)

    def remove_owner(self, owner: str) -> OwnerRemoved:
        """Take back the tokens of an owner and its nodes, for good (operator only)."""
        return self._link.delete(f"/owners/{quote(owner, safe='')}", OwnerRemoved)

    def tokens(self) -> tuple[TokenView, ...]:
        """The tokens that work: yours and your nodes', or for the operator everybody's."""
        return self._link.get("/tokens", TokenList).tokens

    def revoke_token(self, token: str) -> TokenView:
        """Take a token back by its id, for good."""
        return self._link.delete(f"/tokens/{quote(token, safe='')}", TokenView)

    def rotate_token(self, token: str, *, overlap: int = 0) -> NewToken:
        """Another token in place of one, named by its id, that works for `overlap` seconds more."""
        path = f"/tokens/{quote(token, safe='')}/rotate"
        return self._link.post(path, NewToken, {"overlap_seconds": overlap}, key=uuid.uuid4().hex)

    def owners(self) -> tuple[OwnerView, ...]:
        """All owners (operator only)."""
        return self._link.get("/owners", OwnerList).owners

    def add_node(
        self, name: str, *, own: bool = False, owner: str = "", key: str = "", expires: int = 0
    ) -> NewNode:
        """Issue the token a machine joins with. `own` nodes (operator only) also finish frames; `owner` is
        whose node it is where the operator adds it for somebody else. The token works for `expires` seconds;
        0: without end.
        """
        body: dict[str, object] = {"name": name, "own": own}
        body |= {"owner": owner} if owner else {}
        body |= {"expires_seconds": expires} if expires else {}
        return self._link.post("/nodes", NewNode, body, key=key or uuid.uuid4().hex)

    def remove_node(self, node: str) -> NodeSelf:
        """Take back a node's tokens and have it listed no longer; what it did stays valid."""
        return self._link.delete(f"/nodes/{quote(node, safe='')}", NodeSelf)

    def myself(self) -> NodeSelf:
        """The node whose token this client has, as the farm knows it."""
        return self._link.get("/nodes/self", NodeSelf)

    def nodes(self) -> tuple[NodeView, ...]:
        """The machines of the farm, with what each of their slots does."""
        return self._link.get("/nodes", NodeList).nodes


def has(target: Path, file: StoredFile) -> bool:
    """Whether `target` already is that file."""
    try:
        if not target.is_file() or target.stat().st_size != file.size:
            return False
        return hash_file(target) == Blob(file.sha256, file.size)
    except OSError:
        return False


def _after(found: Sequence[object]) -> dict[str, str]:
    """Asks for the page after what was found already."""
    return {"after": str(len(found))} if found else {}


def _id(job: str) -> str:
    """An id as a part of a path: whatever was typed stays one part."""
    return quote(job, safe="")


__all__ = ["FarmClient", "Gone", "Stopped", "has"]

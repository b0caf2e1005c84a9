# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking after the farm's log: that each result this node has a receipt for is in it before its round is
out, and that the log only ever grows.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import structlog

from farm_protocol.errors import FarmError, InvalidInput, NotFound
from farm_protocol.fields import decode
from farm_protocol.node_answers import SubmissionReceipt
from gpu_worker.farm.result_signer import Due
from verification.audit.records import LogConsistency, LogProof, SignedHead
from verification.protocol import merkle
from verification.protocol.attestation import digest
from verification.receipts.witness import SplitView, UnsignedHead, Witness

HEADS = "heads"
"""The folder in the node's state."""

IDLE_SECONDS = 30.0
"""How often the newest head is asked for where nothing is waited for."""

AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
"""How long after its round a head is waited for before the log says that it is missing."""

log = structlog.get_logger()


class LeftOut(FarmError):
    """The farm gave a receipt for a result that is not in its log."""

    code = "left_out_of_log"


FATAL = (SplitView, UnsignedHead, LeftOut)


class FarmLog(Protocol):
    """The coordinator, as far as it tells of its log."""

    def log_head(self, number: int | None = None) -> bytes:
        """The head of a round, or the newest. Raises NotFound."""

    def log_consistency(self, first: int, second: int) -> bytes:
        """The proof that one log begins with another. Raises NotFound."""

    def log_proof(self, leaf: int, size: int) -> bytes:
        """The proof that a leaf is in the log. Raises NotFound."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """A receipt whose leaf is to be in the head of its round."""

    due: Due
    receipt: SubmissionReceipt


class LogWatch:
    """Looks in a thread of its own; `fail` is called with SplitView or LeftOut, after which the node must do
    no more for this farm. `start` raises them for what shows at once.
    """

    def __init__(
        self, source: FarmLog, farm: str, state: Path, fail: Callable[[FarmError], None] = lambda _: None
    ) -> None:
        self._source, self._farm, self.fail = source, farm, fail
        self._folder = state / HEADS
        self._witness = Witness(self._folder, farm)
        self._expected: list[_Expected] = []
        self._lock, self._news = threading.Lock(), threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="log-watch", daemon=True)

    def start(self) -> None:
        """Compare the farm's newest head with those kept before, and watch from here on."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended = True
        self._news.set()

    def expect(self, receipt: SubmissionReceipt, due: Due) -> None:
        """See that a receipt's leaf is in the log that is closed for its round."""
        with self._lock:
            self._expected.append(_Expected(due, receipt))
        self._news.set()

    def _watch(self) -> None:
        while (pause := self._once()) is not None:
            self._news.wait(pause)
            self._news.clear()

    def _once(self) -> float | None:
        """Do what is due; returns for how many seconds there is nothing to do, None at the end."""
        now = time.monotonic()
        if self._ended:
            return None
        with self._lock:
            due = [one for one in self._expected if one.due.closed <= now]
            self._expected = [one for one in self._expected if one.due.closed > now]
            left = min((one.due.closed - now for one in self._expected), default=IDLE_SECONDS)
        try:
            again = [one for one in due if not self._is_there(one)]
            if not due:
                self._look()
        except FarmError as error:
            log.error("farm_log_is_wrong", reason=error.sentence)
            self.fail(error)
            return None
        with self._lock:
            self._expected += again
        return min(AGAIN_SECONDS, left) if again else left

    def _look(self) -> None:
        """Keep the newest head. Raises SplitView."""
        try:
            self._keep(self._source.log_head())
        except FarmError as error:
            if isinstance(error, FATAL):
                raise
            log.debug("farm_log_not_seen", reason=error.sentence)

    def _is_there(self, one: _Expected) -> bool:
        """Whether the leaf's head was seen and holds it; False where it is to be looked for again. Raises
        SplitView or LeftOut.
        """
        number = one.receipt.submission.round
        try:
            head = self._keep(self._source.log_head(number))
            proof = self._proof(one.receipt, head)
        except FarmError as error:
            if isinstance(error, FATAL):
                raise
            return self._given_up(one)
        late = time.monotonic() - one.due.out
        if late > 0:
            log.warning("log_head_late", round=number, seconds=round(late, 2))
        if proof is None or not self._holds(one.receipt, head, proof):
            self._accuse(one.receipt, head, proof)
        return True

    def _proof(self, receipt: SubmissionReceipt, head: SignedHead) -> LogProof | None:
        """What the farm shows of a leaf in a head of its own; None where it shows nothing."""
        try:
            return decode(self._source.log_proof(receipt.leaf, head.size), LogProof)
        except (NotFound, InvalidInput):
            return None

    def _given_up(self, one: _Expected) -> bool:
        if time.monotonic() - one.due.out < PATIENCE_SECONDS:
            return False
        log.warning("log_head_missing", round=one.receipt.submission.round)
        return True

    def _keep(self, told: bytes) -> SignedHead:
        head = decode(told, SignedHead)
        self._witness.keep(head, self._prove)
        return head

    def _prove(self, first: int, second: int) -> LogConsistency:
        return decode(self._source.log_consistency(first, second), LogConsistency)

    def _holds(self, receipt: SubmissionReceipt, head: SignedHead, proof: LogProof) -> bool:
        leaf = merkle.leaf_hash(digest(receipt.submission, self._farm))
        path = [bytes.fromhex(step) for step in proof.path]
        return merkle.verify(leaf, receipt.leaf, head.size, path, bytes.fromhex(head.root))

    def _accuse(self, receipt: SubmissionReceipt, head: SignedHead, proof: LogProof | None) -> None:
        said = {
            "farm": self._farm,
            "submission": asdict(receipt.submission),
            "receipt_signature": receipt.signature,
            "leaf": receipt.leaf,
            "head": asdict(head),
            "proof": asdict(proof) if proof else None,
        }
        path = self._folder / f"left-out-{receipt.submission.attestation[:16]}.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said, indent=1) + "\n")
        raise LeftOut(
            f"The farm {self._farm} signed a receipt for a result and left it out of the log that decides "
            f"about it (round {head.round}). The receipt and the head, both signed by it, are in {path}."
        )

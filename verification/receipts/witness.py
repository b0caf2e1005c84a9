# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the heads of a farm's log, so that it cannot show one log to one and another to others.

Whoever keeps a head before its round is out can show later what the log held then: nothing that was put
into it once the draw was known is in it.
"""

import json
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import msgspec

from farm_protocol.errors import FarmError, InvalidInput, NotFound
from farm_protocol.fields import decoder
from farm_protocol.files import replaced
from verification.audit.records import LogConsistency, SignedHead
from verification.receipts.heads import KIND, Evidence, continues, contradiction, is_signed
from verification.receipts.records import canonical

MOST_KEPT = 10_000
"""Heads of one farm; of more the newest are kept."""

Proof = Callable[[int, int], LogConsistency]


class SplitView(FarmError):
    """The farm signed two logs, or does not show that they are one."""

    code = "split_view"


class UnsignedHead(FarmError):
    """A head that the farm did not sign."""

    code = "unsigned_head"


class Witness:
    """The heads of one farm, kept in `folder` (made where it is not there). Safe to use from several
    threads; what another process keeps meanwhile is read at the next start. Raises SplitView where what was
    kept before contradicts itself, InvalidInput where it cannot be read.
    """

    def __init__(self, folder: Path, farm: str) -> None:
        self._farm, self._folder = farm, folder
        self._path = folder / f"{farm.lower()}.jsonl"
        self._lock = threading.Lock()
        self._heads: dict[int, SignedHead] = {}
        self._rounds: list[int] = []
        lines = self._read()
        for head in lines:
            self._place(head)
        if len(lines) > 2 * MOST_KEPT:
            self._shorten()

    @property
    def newest(self) -> SignedHead | None:
        """The kept head of the highest round."""
        return self._heads[self._rounds[-1]] if self._rounds else None

    def kept(self, number: int) -> SignedHead | None:
        """The kept head of a round."""
        return self._heads.get(number)

    def keep(self, head: SignedHead, prove: Proof | None, now: float | None = None) -> None:
        """Keep a head that follows from those before, and lies before those after it.

        `prove` asks the farm for a proof of consistency of two sizes; without it only what the heads
        themselves say is compared, and nothing is kept. Raises SplitView with the evidence written,
        UnsignedHead, and what `prove` raises where the farm does not answer.
        """
        known = self._heads.get(head.round)
        if known is not None and (known.size, known.root) == (head.size, head.root):
            return
        if not is_signed(head, self._farm):
            raise UnsignedHead(f"The farm {self._farm} did not sign the log's head of round {head.round}.")
        with self._lock:
            for first, second in self._beside(head):
                self._compare(first, second, prove)
            if prove is not None:
                self._place(head)
                self._append(head, time.time() if now is None else now)

    def accuse(self, first: SignedHead, second: SignedHead, why: str, proof: LogConsistency | None) -> None:
        """Write the evidence that the heads `first` and `second` are of two logs: `why` in a sentence, and
        the `proof` that does not hold, where one was asked for. Raises SplitView.
        """
        evidence = Evidence(KIND, self._farm, why, first, second, proof)
        path = self._folder / f"evidence-{self._farm.lower()}-{second.round}.json"
        document = canonical(evidence)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(document + b"\n")
        except OSError:  # whoever reads the sentence has the evidence all the same
            raise SplitView(f"The farm {self._farm} shows more than one log: {document.decode()}") from None
        raise SplitView(
            f"The farm {self._farm} shows more than one log of what it was handed: {why} Both heads, with "
            f"its signatures, are in {path}: keep that file, show it to others, and do not work with this "
            f"farm. If you started this farm over yourself and kept its key, remove {self._path}."
        )

    def _beside(self, head: SignedHead) -> list[tuple[SignedHead, SignedHead]]:
        """The pairs, in order, that the head makes with its neighbours among those kept."""
        same = self._heads.get(head.round)
        if same is not None:
            return [(same, head)]
        place = bisect_left(self._rounds, head.round)
        before, after = self._rounds[place - 1 : place] if place else [], self._rounds[place : place + 1]
        return [
            *((self._heads[one], head) for one in before),
            *((head, self._heads[one]) for one in after),
        ]

    def _compare(self, first: SignedHead, second: SignedHead, prove: Proof | None) -> None:
        if why := contradiction(first, second):
            self.accuse(first, second, why, None)
        if prove is None or first.size == second.size:
            return
        why = (
            f"It does not show that its log of round {second.round} begins with that of round {first.round}."
        )
        try:
            proof = prove(first.size, second.size)
        except NotFound:
            self.accuse(first, second, why, None)
        else:
            if not continues(first, second, proof):
                self.accuse(first, second, why, proof)

    def _place(self, head: SignedHead) -> None:
        known = self._heads.get(head.round)
        if known is None:
            self._heads[head.round] = head
            insort(self._rounds, head.round)
        elif why := contradiction(known, head):
            self.accuse(known, head, why, None)
        while len(self._rounds) > MOST_KEPT:
            del self._heads[self._rounds.pop(0)]

    def _append(self, head: SignedHead, seen: float) -> None:
        line = json.dumps({"farm": self._farm, "seen": seen, **asdict(head)})
        with suppress(OSError):  # on a full disk what is in memory still counts
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._path.open("a") as file:
                file.write(line + "\n")

    def _read(self) -> list[SignedHead]:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InvalidInput(f"{self._path} cannot be read: {error.strerror}.") from error
        found: list[SignedHead] = []
        for line in text.splitlines():
            try:
                found.append(decoder(SignedHead).decode(line))
            except (msgspec.DecodeError, ValueError):
                continue  # a line that a power cut left half done
        return found

    def _shorten(self) -> None:
        """Keep only the newest lines."""
        kept = self._path.read_bytes().splitlines(keepends=True)[-MOST_KEPT:]
        with replaced(self._path, durable=False) as file:
            file.write(b"".join(kept))

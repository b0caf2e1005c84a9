# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm tells of its verification, signed: a job's record, a frame's receipt, proofs of its log."""

import asyncio
from dataclasses import replace

from farm_protocol.errors import Conflict, NotFound
from farm_protocol.fields import Tile, decode, encode
from farm_protocol.records import OutputFile
from render_farm.answers import Job
from render_farm.results import Results
from render_farm.rules import Rules
from render_farm.store.jobs import Jobs, StoredFrame
from render_farm.store.rounds import Rounds
from render_farm.store.submissions import Progressed, Submissions
from verification import receipts, replay
from verification.receipts import FrameFiles
from verification.records import JobVerification, LogProof, SubmissionRecord


class Publication:
    """Reads what was kept and signs it."""

    def __init__(
        self, submissions: Submissions, rounds: Rounds, jobs: Jobs, results: Results, rules: Rules
    ) -> None:
        self._submissions = submissions
        self._rounds = rounds
        self._jobs = jobs
        self._results = results
        self._rules = rules

    async def verification(self, job: Job, frame: int | None = None) -> JobVerification:
        """All submissions of a job (or of one of its frames) with the rounds that decided about them."""
        found = [self._linked(one) async for one in self._submissions.of_job(job.job, frame)]
        numbers = await self._submissions.rounds_of(job.job)
        rounds = await self._rounds.some(numbers)
        rules = (await self._submissions.rules(job.job, self._rules)).public()
        return JobVerification(job.job, job.scene, job.settings, rules, tuple(found), tuple(rounds))

    def _linked(self, known: Progressed) -> SubmissionRecord:
        """The record with links to its evidence."""
        one, check = known.record, known.check
        if check is None:
            return one
        files = [OutputFile(file.name, file.sha256, file.size) for file in one.evidence]
        linked = (self._results.stored(one.job, check, known.check_token, file) for file in files)
        return replace(one, evidence=tuple(linked))

    async def signed(self, job: Job) -> JobVerification:
        """A job's record under the farm's signature."""
        told = await self.verification(job)
        return await asyncio.to_thread(replay.signed, told, self._rules.key)

    async def receipt(self, job: Job, number: int) -> bytes:
        """A finished frame's signed receipt. Raises NotFound, and Conflict for a frame that has none yet."""
        frame = await self._jobs.frame(job.job, number)
        if frame is None:
            raise NotFound(f"The job has no frame {number}.")
        if frame.state != "done":
            raise Conflict(f"Frame {number} is not done yet, so it has no receipt.")
        if frame.whole:
            raise NotFound(
                f"Frame {number} was rendered whole by the farm's own node, so a receipt could prove nothing "
                f"of it. {job.fallback}"
            )
        told = await self.verification(job, number)
        if not told.submissions:
            raise NotFound(
                f"Frame {number} was written whole by the farm's own node and has no tiles: there is nothing "
                f"that a receipt could prove."
            )
        proofs = {proof.leaf: proof for proof in [await self._proof(one, told) for one in told.submissions]}
        area = await self._jobs.area(job.job)
        return await asyncio.to_thread(self._sign, job, frame, area, told, proofs)

    async def _proof(self, one: SubmissionRecord, told: JobVerification) -> LogProof:
        sizes = {round_.round: round_.size for round_ in told.rounds}
        if one.receipt.round not in sizes:
            raise Conflict("A round that decided about this frame is not out yet: ask again in a moment.")
        return await self._rounds.proof(one.leaf, sizes[one.receipt.round])

    def _sign(
        self, job: Job, frame: StoredFrame, area: Tile, told: JobVerification, proofs: dict[int, LogProof]
    ) -> bytes:
        files = tuple(self._results.stored(job.job, frame.by, frame.by_token, file) for file in frame.files)
        plain = decode(encode(told), JobVerification)
        finished = FrameFiles(frame.frame, area, job.exactness, files)
        return receipts.sign(receipts.make(plain, finished, proofs), self._rules.key)

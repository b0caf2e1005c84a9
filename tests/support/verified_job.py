# SPDX-License-Identifier: GPL-3.0-or-later
"""A small job as an honest farm would have recorded it, with real signatures, draws and a log.

Frames of 64 x 48 pixels in 2 x 2 tiles. Work goes round among strangers' nodes; what the rounds say is
done. One node lies once, one submission came too late for its first round, one audit is repeated.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from farm_protocol import typed_data
from farm_protocol.appointments import Appointment
from farm_protocol.audits import AuditOrder, CheckReport, CropFinding
from farm_protocol.documents import Attestation, LogHead, Submission
from farm_protocol.fields import StoredFile, Tile
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import Exactness, RenderSettings, Task, TaskKind
from frame_splitter.tiles import grid
from verification.audit import sampling, selection
from verification.audit.rate import Rates, Standing, appointed_rate
from verification.audit.records import (
    AuditRecord,
    FarmRules,
    JobVerification,
    LogConsistency,
    LogProof,
    Round,
    SubmissionRecord,
)
from verification.audit.sampling import AuditPolicy, Draws
from verification.audit.second_look import second_look
from verification.audit.selection import Asked
from verification.audit.verdict import Case, Outcome, judge
from verification.protocol import attestation, log, merkle
from verification.protocol.beacon import LocalBeacon, open_round
from verification.receipts import receipt as receipts
from verification.receipts import replay

JOB = JobId("job-1")
SCENE = SceneId(hashlib.sha256(b"scene").hexdigest())
AREA = Tile(0, 0, 64, 48)
CLASS = DeviceClass("cpu:avx2:bpy-5.0.1-a1b2c3")
POLICY = AuditPolicy(repeat=300_000, own_first=200_000)
RATES = Rates()
SETTINGS = RenderSettings(samples=16, seed=7, resolution_percentage=100, format="PNG")
FARM_KEY = hashlib.sha256(b"farm").digest()
FARM = typed_data.address_of(FARM_KEY)
BEACON = LocalBeacon(b"secret", genesis=1000.0, period=0.5)
OLD = Standing(passed=200)


@dataclass(frozen=True)
class Machine:
    """A node of the tests, with its key."""

    node: NodeId
    operator: OwnerId
    own: bool = False

    @property
    def key(self) -> bytes:
        return hashlib.sha256(self.node.encode()).digest()

    @property
    def address(self) -> str:
        return typed_data.address_of(self.key)


STRANGERS = [Machine(NodeId(f"node-{one}"), OwnerId(f"operator-{one}")) for one in "abc"]
OWN = Machine(NodeId("node-own"), OwnerId("farm"), own=True)
NAMES = {machine.node: machine for machine in [*STRANGERS, OWN]}


@dataclass
class Farm:
    """Records submissions one after the other, a second apart; every round has a head of the log."""

    now: float = 2000.0
    samples: int = SETTINGS.samples
    submissions: list[SubmissionRecord] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    audits: int = 0
    frames: set[int] = field(default_factory=set)

    def frame(self, frame: int, standing: Standing = OLD) -> None:
        """All tiles of a frame, honestly rendered by strangers in turn."""
        for index, task in enumerate(tasks(frame)):
            self.submit(task, STRANGERS[index % len(STRANGERS)], standing=standing)

    def submit(
        self,
        task: Task,
        machine: Machine,
        standing: Standing = OLD,
        token: int = 1,
        lie: bool = False,
        attempt: int = 1,
        forced: str = "",
    ) -> SubmissionRecord:
        """One submission from its receipt to its verdict."""
        self.now += 1.0
        signed = attested(task.id, token, f"{task.id}:{'lie' if lie else 'pixels'}")
        number = open_round(BEACON, self.now)
        appointed = Appointment(
            attestation=attestation.digest(signed, FARM).hex(),
            salt=hashlib.sha256(f"salt of {task.id} {token} 0".encode()).hexdigest(),
            attempt=attempt,
            round=number,
            commitment=BEACON.commitment(number),
            rate=appointed_rate(standing, standing, machine.own, attempt, RATES),
        )
        receipt = received(appointed, self.now)
        self.leaves.append(merkle.leaf_hash(attestation.digest(receipt, FARM)))
        self._round(number)
        draws = Draws(BEACON._value(number), attestation.digest(appointed, FARM))
        record = SubmissionRecord(
            job=JOB,
            task=task,
            token=LeaseToken(token),
            node=machine.node,
            operator=machine.operator,
            address=machine.address,
            own=machine.own,
            device_class=CLASS,
            attestation=signed,
            signature=attestation.sign(signed, FARM, machine.key),
            appointment=appointed,
            appointment_signature=attestation.sign(appointed, FARM, machine.key),
            receipt=receipt,
            receipt_signature=attestation.sign(receipt, FARM, FARM_KEY),
            leaf=len(self.leaves) - 1,
            standing=standing,
            operator_standing=standing,
            croppable=True,
        )
        audited = sampling.is_audited(draws, appointed.rate) or bool(forced)
        record = self._decide(replace(record, audited=audited, forced=forced), draws, lie)
        self.submissions.append(record)
        return record

    def _round(self, number: int) -> None:
        """The round named, with the log as it is."""
        head = LogHead(number, len(self.leaves), merkle.root(self.leaves).hex())
        signature = attestation.sign(head, FARM, FARM_KEY)
        self.rounds.append(Round(number, BEACON._value(number).hex(), head.size, head.root, signature))

    def _decide(self, record: SubmissionRecord, draws: Draws, lie: bool) -> SubmissionRecord:
        audits: list[AuditRecord] = []
        if record.audited:
            others = [one for one in STRANGERS if one.operator != record.operator]
            asked = tuple(Asked(one.node, one.operator, one.own) for one in (*others, OWN))
            candidates = selection.order(draws, asked, 0, POLICY)
            record = replace(record, asked=asked, candidates=candidates)
            order = sampling.first_order(draws, record.task.tile, self.samples, POLICY)
            first = NAMES[candidates[0]]
            audits.append(self._audit(record, order, first))
            if not first.own and first.node not in selection.spared(draws, asked, 0, POLICY):
                audits.append(self._audit(record, order, OWN, repeat=True))
        if record.own and not audits:
            return record
        audits += self._second_look(record) if lie else []
        crops = [audit.order.crops for audit in audits if not audit.order.is_whole(record.task.tile)]
        found = tuple(CropFinding(crop, 5 if lie else 0) for some in crops for crop in some)
        report = CheckReport(channels=("View Layer/Combined.R",), noise=0.125, crops=found)
        record = replace(record, audits=tuple(audits), report=report)
        case = Case(record.task.frame, self.samples, len(audits), second=second_look(record, report))
        return replace(record, case=case, verdict=judge(report, case))

    def _second_look(self, record: SubmissionRecord) -> list[AuditRecord]:
        """The own node's renders of the whole tile."""
        order = sampling.whole_order(record.task.tile)
        return [self._audit(record, order, OWN, pixels=f"{record.task.id}:pixels") for _ in range(2)]

    def _audit(
        self,
        record: SubmissionRecord,
        order: AuditOrder,
        by: Machine,
        repeat: bool = False,
        pixels: str = "",
    ) -> AuditRecord:
        self.audits += 1
        task = TaskId(f"{record.task.id}.audit{self.audits}")
        signed = attested(task, 1, pixels or task)
        return AuditRecord(
            task=task,
            order=order,
            node=by.node,
            operator=by.operator,
            own=by.own,
            repeat=repeat,
            attestation=signed,
            signature=attestation.sign(signed, FARM, by.key),
            address=by.address,
        )

    def verification(self) -> JobVerification:
        """What the farm publishes of the job, signed."""
        return replay.signed(
            JobVerification(
                job=JOB,
                scene=SCENE,
                settings=replace(SETTINGS, samples=self.samples),
                farm=FarmRules(FARM, "local", BEACON.genesis, BEACON.period, POLICY, RATES),
                submissions=tuple(self.submissions),
                rounds=tuple(self.rounds),
            ),
            FARM_KEY,
        )

    def proofs(self) -> dict[int, LogProof]:
        """The place of every leaf in the log at its round."""
        sizes = {one.round: one.size for one in self.rounds}
        return {one.leaf: self._proof(one.leaf, sizes[one.receipt.round]) for one in self.submissions}

    def consistency(self, first: int, second: int) -> LogConsistency:
        """That the log of `second` leaves begins with that of `first`."""
        nodes: dict[log.Place, bytes] = {}
        for number, leaf in enumerate(self.leaves):
            nodes |= log.append(number, leaf, nodes)
        return LogConsistency(
            first, second, tuple(one.hex() for one in log.consistency(first, second, nodes))
        )

    def _proof(self, leaf: int, size: int) -> LogProof:
        leaves = self.leaves[:size]
        path = tuple(step.hex() for step in merkle.proof(leaves, leaf))
        return LogProof(leaf, size, path, merkle.root(leaves).hex())

    def receipt(self, frame: int) -> bytes:
        """The signed receipt of a frame."""
        made = receipts.make(self.verification(), frame_files(frame), self.proofs())
        return receipts.sign(made, FARM_KEY)


def received(appointed: Appointment, now: float) -> Submission:
    """The farm's receipt of what was appointed; `now` in seconds."""
    said = appointed.attestation, round(now * 1000), appointed.round, appointed.commitment, appointed.rate
    return Submission(*said)


def attested(task: TaskId, token: int, pixels: str) -> Attestation:
    """An attestation of made-up pixels."""
    return Attestation(
        task=task,
        token=token,
        pixelRoot=hashlib.sha256(pixels.encode()).hexdigest(),
        object=hashlib.sha256(f"file of {pixels}".encode()).hexdigest(),
        deviceClass=CLASS,
        build=CLASS.rpartition(":")[2],
        renderMilliseconds=1500,
    )


def tasks(frame: int) -> Sequence[Task]:
    """The render tasks of a frame."""
    return [
        Task(TaskId(f"{JOB}.f{frame}.t{index}"), JOB, TaskKind.RENDER, frame, tile)
        for index, tile in enumerate(grid(AREA, 2, 2))
    ]


def frame_files(frame: int) -> receipts.FrameFiles:
    """A frame's files as the coordinator knows them."""
    file = StoredFile(
        f"frame-{frame:04d}.png", hashlib.sha256(b"%d" % frame).hexdigest(), 12_345, "https://x"
    )
    return receipts.FrameFiles(frame, AREA, Exactness.BIT_EXACT, (file,))


def honest_farm() -> Farm:
    """Three frames with all that happens at a farm."""
    farm = Farm()
    farm.frame(1, standing=Standing())
    farm.frame(2)
    first, second, third, fourth = tasks(3)
    lied = farm.submit(first, STRANGERS[0], standing=Standing(), lie=True)
    assert lied.verdict is not None
    assert lied.verdict.outcome is Outcome.REJECTED
    farm.submit(first, STRANGERS[1], token=2)
    farm.submit(second, OWN)
    farm.submit(third, STRANGERS[2], attempt=2)
    farm.submit(fourth, STRANGERS[1], forced="The tile is one colour all over, so it is audited.")
    return farm

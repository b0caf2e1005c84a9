# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of whole frames that the farm's own node rendered and nobody audited, truly signed."""

import asyncio
import hashlib

from farm_protocol import typed_data
from farm_protocol.appointments import Appointment
from farm_protocol.documents import Attestation, LogHead, Submission
from farm_protocol.fields import StoredFile, Tile
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import Exactness, RenderSettings, Task, TaskKind
from verification.audit.rate import Rates, Standing
from verification.audit.records import FarmRules, JobVerification, LogProof, Round, SubmissionRecord
from verification.audit.sampling import AuditPolicy
from verification.protocol import attestation, merkle
from verification.protocol.beacon import LocalBeacon
from verification.receipts.receipt import FrameFiles, make, sign

FARM_KEY, NODE_KEY = b"\x11" * 32, b"\x22" * 32
FARM = typed_data.address_of(FARM_KEY)
JOB, SCENE = JobId("j1"), SceneId("0" * 64)
DEVICE = DeviceClass("CPU:x86_64:5.0.1")
SETTINGS = RenderSettings(samples=1, seed=0, resolution_percentage=100, format="PNG")
WHOLE = Tile(0, 0, 32, 32)
RULES = FarmRules(FARM, "local", 0.0, 0.5, AuditPolicy(), Rates(own=0))
BEACON = LocalBeacon(b"secret")
ROUND = 1000


def own_work(frames: int = 2) -> JobVerification:
    """The job's record."""
    rounds = (_round([_submission(number).receipt for number in range(1, frames + 1)]),)
    submissions = tuple(_submission(number) for number in range(1, frames + 1))
    return JobVerification(JOB, SCENE, SETTINGS, RULES, submissions, rounds)


def receipt_of(frame: int, file: bytes, frames: int = 2, key: bytes = FARM_KEY) -> bytes:
    """The signed receipt of one of its frames, whose file holds these bytes."""
    work = own_work(frames)
    leaves = _leaves([one.receipt for one in work.submissions])
    proofs = {
        index: LogProof(
            index,
            frames,
            tuple(step.hex() for step in merkle.proof(leaves, index)),
            merkle.root(leaves).hex(),
        )
        for index in range(frames)
    }
    stored = StoredFile(f"{frame:04}.png", hashlib.sha256(file).hexdigest(), len(file))
    return sign(make(work, FrameFiles(frame, WHOLE, Exactness.BIT_EXACT, (stored,)), proofs), key)


def _submission(frame: int) -> SubmissionRecord:
    task = Task(TaskId(f"{JOB}.f{frame}.t0"), JOB, TaskKind.RENDER, frame, WHOLE)
    signed = Attestation(task.id, frame, "ab" * 32, "cd" * 32, DEVICE, DEVICE.rpartition(":")[2], 1500)
    digest, commitment = attestation.digest(signed, FARM).hex(), BEACON.commitment(ROUND)
    appointed = Appointment(digest, "ef" * 32, 1, ROUND, commitment, 0)
    receipt = Submission(digest, 498_000 + frame, ROUND, commitment, 0)
    return SubmissionRecord(
        job=JOB,
        task=task,
        token=LeaseToken(frame),
        node=NodeId("n1"),
        operator=OwnerId("o1"),
        address=typed_data.address_of(NODE_KEY),
        own=True,
        device_class=DEVICE,
        attestation=signed,
        signature=attestation.sign(signed, FARM, NODE_KEY),
        appointment=appointed,
        appointment_signature=attestation.sign(appointed, FARM, NODE_KEY),
        receipt=receipt,
        receipt_signature=attestation.sign(receipt, FARM, FARM_KEY),
        leaf=frame - 1,
        standing=Standing(),
        operator_standing=Standing(),
        croppable=True,
        audited=False,
    )


def _leaves(receipts: list[Submission]) -> list[bytes]:
    return [merkle.leaf_hash(attestation.digest(receipt, FARM)) for receipt in receipts]


def _round(receipts: list[Submission]) -> Round:
    value = asyncio.run(BEACON.value(ROUND))
    assert value is not None
    head = LogHead(ROUND, len(receipts), merkle.root(_leaves(receipts)).hex())
    return Round(ROUND, value.hex(), head.size, head.root, attestation.sign(head, FARM, FARM_KEY))

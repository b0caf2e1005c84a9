# SPDX-License-Identifier: GPL-3.0-or-later
"""A farm that wants a tile not to be audited: whatever it varies after the node signed, the draw stays, or
whoever checks sees it; and a node that lets rounds pass gains nothing either.
"""

import contextlib
import io
import json
import runpy
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import pytest

from farm_protocol import documents, typed_data
from farm_protocol.appointments import AuditTerms
from farm_protocol.documents import LogHead
from farm_protocol.errors import InvalidInput, RoundClosed
from farm_protocol.node_answers import SubmitAnswer
from gpu_worker.farm.delivery import Delivery
from gpu_worker.farm.identity import load_identity
from gpu_worker.farm.result_signer import Notary
from tests.integration.test_coordinator_rounds import KEY, NODE, SELDOM, World, run, until_idle
from tests.support import verified_job
from tests.support.verified_job import BEACON, FARM, FARM_KEY, STRANGERS, Farm, received
from tests.unit.test_worker_identity import LEASE, RESULT
from verification.audit import sampling
from verification.audit.rate import MILLION, Standing
from verification.audit.records import SubmissionRecord
from verification.protocol import attestation, merkle
from verification.protocol.beacon import GRACE, LocalBeacon, closing_time, open_round
from verification.receipts import receipt as receipts
from verification.receipts.records import SignedReceipt, canonical, read
from verification.receipts.replay import facts_of, replay, signed
from verification.receipts.submission_checks import draws_of

PROGRAM = Path(__file__).parents[2] / "docs" / "verify_receipt.py"
PROVEN = Standing(passed=1000)
TRIES = 40


@pytest.fixture(scope="module")
def farm() -> Farm:
    """A frame of a proven node's tiles, some of them audited by the draw."""
    for frame in range(1, 60):
        found = Farm()
        for index, task in enumerate(verified_job.tasks(frame)):
            found.submit(task, STRANGERS[index % 2], standing=PROVEN)
        if any(one.audited for one in found.submissions) and not all(
            one.audited for one in found.submissions
        ):
            return found
    raise AssertionError("no frame with audits and without")


def victim(farm: Farm) -> SubmissionRecord:
    return next(one for one in farm.submissions if one.audited)


def draw(farm: Farm, one: SubmissionRecord) -> int:
    found = draws_of(one, facts_of(farm.verification()))
    assert found is not None
    return found.number("audit", MILLION)


def by_time(one: SubmissionRecord, number: int) -> SubmissionRecord:
    """As the audit did it: the farm's receipt dated by other milliseconds, signed anew."""
    receipt = replace(one.receipt, time=one.receipt.time - number)
    return resigned(one, receipt)


def resigned(one: SubmissionRecord, receipt: documents.Submission) -> SubmissionRecord:
    return replace(one, receipt=receipt, receipt_signature=attestation.sign(receipt, FARM, FARM_KEY))


def test_other_times_on_the_farms_receipt_change_no_draw(farm: Farm) -> None:
    one = victim(farm)
    told = {draw(farm, by_time(one, number)) for number in range(TRIES)}
    assert told == {draw(farm, one)}


def test_another_signature_of_the_node_changes_no_draw(farm: Farm) -> None:
    """A signature can be made in many ways: it is not what is drawn from."""
    one = victim(farm)
    other = replace(one, appointment_signature=attestation.sign(one.appointment, FARM, b"\x05" * 32))
    assert draw(farm, other) == draw(farm, one)


# --- what the farm can sign otherwise: seen by replay, by the receipt's check and by the short program -----


def other_round(one: SubmissionRecord) -> SubmissionRecord:
    number = one.receipt.round + 1
    return resigned(one, replace(one.receipt, round=number, commitment=BEACON.commitment(number)))


def other_rate(one: SubmissionRecord) -> SubmissionRecord:
    return resigned(one, replace(one.receipt, rate=1))


def better_standing(one: SubmissionRecord) -> SubmissionRecord:
    """A rate that the node never agreed to, with a standing that explains it."""
    best = Standing(passed=10**9)
    return replace(other_rate(one), standing=best, operator_standing=best)


def other_salt(one: SubmissionRecord) -> SubmissionRecord:
    """The farm makes the node's appointment up anew until the draw suits it; the node's key it has not."""
    return appointed(one, lambda number: replace(one.appointment, salt=f"{number:064x}"))


def appointed(
    one: SubmissionRecord, other: Callable[[int], attestation.Appointment], key: bytes = FARM_KEY
) -> SubmissionRecord:
    """The first appointment that is not audited; `key` signs it."""
    value = BEACON._value(one.receipt.round)
    found = next(
        made
        for made in map(other, range(1000))
        if not sampling.is_audited(sampling.Draws(value, attestation.digest(made, FARM)), made.rate)
    )
    changed = replace(one, appointment=found, appointment_signature=attestation.sign(found, FARM, key))
    return resigned(changed, received(found, one.receipt.time / 1000))


def no_commitment(one: SubmissionRecord) -> SubmissionRecord:
    return resigned(one, replace(one.receipt, commitment="00" * 32))


def other_attestation(one: SubmissionRecord) -> SubmissionRecord:
    return resigned(one, replace(one.receipt, attestation="ab" * 32))


LIES = [other_round, other_rate, better_standing, other_salt, no_commitment, other_attestation]


def told_anew(farm: Farm, change: Callable[[SubmissionRecord], SubmissionRecord]) -> Farm:
    """The farm as it would tell the victim's tile: changed, not audited, with a log and heads to match."""
    one = victim(farm)
    changed = replace(change(one), audited=False, audits=())
    other = Farm(now=farm.now)
    other.submissions = [changed if kept is one else kept for kept in farm.submissions]
    leaves = [merkle.leaf_hash(attestation.digest(kept.receipt, FARM)) for kept in other.submissions]
    other.leaves = leaves
    for number in sorted({kept.receipt.round for kept in other.submissions}):
        size = 1 + max(kept.leaf for kept in other.submissions if kept.receipt.round <= number)
        head = LogHead(number, size, merkle.root(leaves[:size]).hex())
        known = next((kept for kept in farm.rounds if kept.round == number), farm.rounds[0])
        signature = attestation.sign(head, FARM, FARM_KEY)
        value = BEACON._value(number).hex()
        other.rounds.append(
            replace(known, round=number, value=value, size=size, root=head.root, signature=signature)
        )
    return other


def short_program(document: bytes, folder: Path) -> bool:
    """Whether the program that knows nothing of ours finds that the receipt holds."""
    path = folder / "receipt.json"
    path.write_bytes(document)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", [str(PROGRAM), str(path)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(PROGRAM), run_name="__main__")
    return ended.value.code is None


def all_told(farm: Farm, folder: Path) -> tuple[bool, bool, bool]:
    """Whether replay, the farm's own check and the short program are content."""
    frame = farm.submissions[0].task.frame
    document = farm.receipt(frame)
    return (
        not replay(farm.verification()),
        not receipts.verify(document, FARM),
        short_program(document, folder),
    )


def test_the_honest_farm_is_believed(farm: Farm, tmp_path: Path) -> None:
    assert all_told(farm, tmp_path) == (True, True, True)


@pytest.mark.parametrize("lie", LIES)
def test_what_the_farm_varies_is_seen(
    farm: Farm, lie: Callable[[SubmissionRecord], SubmissionRecord], tmp_path: Path
) -> None:
    assert all_told(told_anew(farm, lie), tmp_path) == (False, False, False)


def test_a_beacon_value_chosen_afterwards_breaks_what_the_node_signed(farm: Farm, tmp_path: Path) -> None:
    """The farm's own beacon: another secret, found so that the tile is not audited."""
    one = victim(farm)
    digest = attestation.digest(one.appointment, FARM)
    secrets = (LocalBeacon(b"%d" % number)._value(one.receipt.round) for number in range(1000))
    value = next(v for v in secrets if not sampling.is_audited(sampling.Draws(v, digest), one.receipt.rate))
    other = told_anew(farm, lambda one: one)
    other.rounds = [
        replace(kept, value=value.hex()) if kept.round == one.receipt.round else kept for kept in other.rounds
    ]
    assert all_told(other, tmp_path) == (False, False, False)


def test_a_round_that_passed_is_an_audit_for_certain(farm: Farm, tmp_path: Path) -> None:
    """Farm and node cannot say that a second appointment was by the usual chance."""

    def second(one: SubmissionRecord) -> SubmissionRecord:
        key = next(machine.key for machine in STRANGERS if machine.node == one.node)
        return appointed(one, lambda number: replace(one.appointment, salt=f"{number:064x}", attempt=2), key)

    assert all_told(told_anew(farm, second), tmp_path) == (False, False, False)


def test_a_missing_round_hands_nothing_to_the_next(farm: Farm) -> None:
    """No record may say that a round never came, so that a later one decides."""
    document = read(farm.receipt(farm.submissions[0].task.frame))
    rounds = (replace(document.receipt.rounds[0], value=""), *document.receipt.rounds[1:])
    changed = replace(document.receipt, rounds=rounds)
    lie = canonical(SignedReceipt(changed, attestation.sign_document(canonical(changed), FARM_KEY)))
    assert receipts.verify(lie)
    with pytest.raises(InvalidInput):
        signed(replace(farm.verification(), rounds=rounds), FARM_KEY)


# --- at the counter of a real coordinator ------------------------------------------------------------------


def test_the_round_is_ahead_of_whoever_signs() -> None:
    for now in (0.0, 10.0, 10.2, 1234.5):
        number = open_round(BEACON, BEACON.genesis + now)
        assert closing_time(BEACON, number) >= BEACON.genesis + now + GRACE


def test_the_counter_takes_only_its_own_terms(valkey_server):
    """A node cannot choose its rate, its round far away, a passed one, or another's appointment."""

    async def work(world: World) -> None:
        await world.is_trusted()
        taken = await world.lease()
        result = world.result(taken)
        signer = await world.counter.signer(NODE, taken.task.id, taken.token, result)
        held = signer.known.submitting(result)
        with pytest.raises(InvalidInput, match="by appointment"):
            await world.counter.take(NODE, held, result, signer)
        terms = await world.counter.terms(NODE, held.task, held.token, 1)
        signer = await world.counter.signer(NODE, taken.task.id, taken.token, result)
        message = attestation.attest(taken.task.id, taken.token, result)
        farm = world.rules.address
        good = attestation.appoint(message, terms, 1, farm)

        def hand_in(one: attestation.Appointment, key: bytes = KEY):
            signature = attestation.sign(one, farm, key)
            offered = replace(result, appointment=one, appointment_signature=signature)
            return world.counter.take(NODE, held, offered, signer)

        wrong = (
            replace(good, rate=0),
            replace(good, attempt=2),
            replace(good, commitment="11" * 32),
            replace(good, attestation="11" * 32),
            replace(good, round=good.round + 10_000),
        )
        for one in wrong:
            with pytest.raises(InvalidInput, match="terms"):
                await hand_in(one)
        with pytest.raises(RoundClosed):
            await hand_in(replace(good, round=1001))
        with pytest.raises(typed_data.BadSignature):
            await hand_in(good, b"\x09" * 32)
        assert (await hand_in(good))[0] == "submitted"

    run(valkey_server.url, work, rates=SELDOM)


def test_waiting_for_the_round_to_pass_makes_the_audit_certain(valkey_server):
    """Of a node whose chance is one in a million."""

    async def work(world: World) -> None:
        await world.is_trusted()
        first, late = await world.lease(), await world.lease()
        await world.submit(first)
        result = world.result(late)
        signer = await world.counter.signer(NODE, late.task.id, late.token, result)
        held = signer.known.submitting(result)
        message = attestation.attest(late.task.id, late.token, result)

        async def hand_in(attempt: int) -> attestation.Appointment:
            terms = await world.counter.terms(NODE, held.task, held.token, attempt)
            one = attestation.appoint(message, terms, attempt, world.rules.address)
            world.now += 3.0 if attempt == 1 else 0.0
            await until_idle(world.ticker)
            signature = attestation.sign(one, world.rules.address, KEY)
            offered = replace(result, appointment=one, appointment_signature=signature)
            signer = await world.counter.signer(NODE, late.task.id, late.token, offered)
            await world.counter.take(NODE, held, offered, signer)
            return one

        with pytest.raises(RoundClosed):
            await hand_in(1)
        assert (await hand_in(2)).rate == MILLION
        world.now += 5.0
        await until_idle(world.ticker)
        found = [(await world.submissions.progressed(f"j.f{n}.t0", 1)).record for n in range(2)]
        assert [one.audited for one in found] == [False, True]

    run(valkey_server.url, work, rates=SELDOM)


def test_what_came_late_for_a_public_beacon_is_audited(valkey_server):
    """A coordinator that closed its log after the round was out could have looked first."""

    async def work(world: World) -> None:
        await world.is_trusted()
        world.rules = replace(world.rules, name="52db")
        world.ticker = world.another()
        await world.submit(await world.lease())
        world.now += 30.0
        await until_idle(world.ticker)
        one = (await world.submissions.progressed("j.f0.t0", 1)).record
        assert one.audited
        assert "out already" in one.forced

    run(valkey_server.url, work, rates=SELDOM)


def test_standing_that_changes_after_the_terms_changes_nothing(valkey_server):
    """Neither may the farm find a better standing once it has seen what was signed."""

    async def work(world: World) -> None:
        taken = await world.lease()
        result = world.result(taken)
        signer = await world.counter.signer(NODE, taken.task.id, taken.token, result)
        held = signer.known.submitting(result)
        before = await world.counter.terms(NODE, held.task, held.token, 1)
        await world.is_trusted()
        assert (await world.counter.terms(NODE, held.task, held.token, 1)).rate == before.rate == MILLION

    run(valkey_server.url, work)


class Closing:
    """A coordinator that lets the first rounds of every result pass."""

    def __init__(self, times: int) -> None:
        self.left, self.attempts = times, list[int]()

    def uploads(self, lease, files):
        return ()

    def terms(self, lease, attempt):
        self.attempts.append(attempt)
        return AuditTerms(10 + attempt, "00" * 32, MILLION if attempt > 1 else 1, 1.0, 2.0)

    def submit(self, lease, result):
        if self.left:
            self.left -= 1
            raise RoundClosed("The log is closed.")
        message = attestation.attest(lease.task.id, lease.token, result)
        one = result.appointment
        assert one.attestation == attestation.digest(message, FARM).hex()
        said = received(one, 1.0)
        signed_by_farm = attestation.sign(said, FARM, FARM_KEY)
        receipt = {"submission": asdict(said), "signature": signed_by_farm, "leaf": 0}
        return SubmitAnswer("submitted", msgspec.Raw(msgspec.json.encode(receipt)))


class Placed:
    def deliver(self, lease, uploads):
        """Nothing is left to do."""


def test_a_node_signs_again_where_the_farm_lets_rounds_pass_and_keeps_proof(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("gpu_worker.farm.delivery.backoff", lambda attempt, longest: 0.0)
    farm = Closing(7)
    notary = Notary(load_identity(tmp_path), FARM, tmp_path)
    delivery = Delivery(farm, Placed(), notary, threading.Event(), 60.0, 60.0)
    assert delivery.deliver(LEASE, RESULT, threading.Event()) is None
    assert farm.attempts == [1, 2, 3, 4, 5, 6, 7, 8]
    kept = [json.loads(line) for line in (tmp_path / "appointments.jsonl").read_text().splitlines()]
    assert [one["appointment"]["attempt"] for one in kept] == [1, 2, 3, 4, 5, 6, 7]
    (receipt,) = map(json.loads, (tmp_path / "receipts.jsonl").read_text().splitlines())
    assert receipt["appointment"]["attempt"] == 8

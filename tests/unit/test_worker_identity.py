# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's key, how it enrols, and the receipts it keeps."""

import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from farm_protocol.appointments import Appointment, AuditTerms
from farm_protocol.documents import Enrolment
from farm_protocol.errors import Conflict, InvalidInput, Unavailable
from farm_protocol.fields import Tile
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.node_answers import NodeSelf, SubmitAnswer
from farm_protocol.records import Lease, OutputFile, RenderSettings, Task, TaskKind, TaskResult
from farm_protocol.typed_data import BadSignature, address_of
from gpu_worker.farm import identity as identities
from gpu_worker.farm.double_sign_guard import Contradiction
from gpu_worker.farm.identity import enrol, load_identity
from gpu_worker.farm.result_signer import Notary, WrongReceipt
from verification.protocol.attestation import attest, require_signer

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from fake_coordinator import FARM, TERMS, receipt_of

URL = "https://farm.example"
TILE = Tile(0, 0, 8, 8)
TASK = Task(TaskId("t"), JobId("j"), TaskKind.RENDER, 1, TILE)
SETTINGS = RenderSettings(1, 0, 100, "PNG")
LEASE = Lease(TASK, LeaseToken(7), "cpu-0", 30.0, SceneId("s"), OwnerId("o"), SETTINGS, 8, 8, TILE, TILE)
RESULT = TaskResult(
    (OutputFile("tile.exr", "aa" * 32, 9),), 1.0, 0.5, DeviceClass("cpu:x:b"), pixel_root="bb" * 32
)


# --- the key ------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    made = load_identity(tmp_path)
    assert load_identity(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    assert address_of(made.key) == made.address
    assert made.key.hex() not in repr(made), "a key must not come into a log by accident"
    assert load_identity_in(tmp_path / "other") != made


def load_identity_in(folder):
    folder.mkdir()
    return load_identity(folder)


def test_a_key_that_was_cut_off_while_it_was_made_is_made_again(tmp_path):
    (tmp_path / "node.key.new").write_text("ab")
    load_identity(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_may_read_or_change_is_refused(tmp_path, mode):
    load_identity(tmp_path)
    (tmp_path / "node.key").chmod(mode)
    with pytest.raises(InvalidInput, match="others may read or change it"):
        load_identity(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"ab" * 31,
        b"ab" * 33,
        b"00" * 32,
        b"ff" * 32,  # beyond the curve's order
        b"zz" * 32,
        b"\xff\xfe" * 32,
        b"ab" * 32 + b" " * 500,
    ],
)
def test_a_file_that_holds_no_key_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "node.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match="private key"):
        load_identity(tmp_path)
    assert path.read_bytes() == text


def test_a_key_that_is_a_link_a_folder_or_a_pipe_is_refused(tmp_path):
    elsewhere = load_identity_in(tmp_path / "elsewhere")
    for name, make in (
        ("link", lambda path: path.symlink_to(tmp_path / "elsewhere" / "node.key")),
        ("dangling", lambda path: path.symlink_to(tmp_path / "nowhere")),
        ("folder", lambda path: path.mkdir(0o700)),
        ("pipe", lambda path: os.mkfifo(path, 0o600)),
    ):
        (tmp_path / name).mkdir()
        make(tmp_path / name / "node.key")
        with pytest.raises(InvalidInput):
            load_identity(tmp_path / name)
    assert load_identity(tmp_path / "elsewhere") == elsewhere


# --- enrolling ----------------------------------------------------------------------------------------


class Farm:
    """Knows one node; away as often as `away` says."""

    def __init__(self, away=0, address=FARM):
        self.away, self.address, self.shown = away, address, []

    def myself(self):
        self.away -= 1
        if self.away >= 0:
            raise Unavailable("Away.")
        return NodeSelf("node-1", "n", False, self.address)

    def enrol(self, address, signature):
        self.shown.append((address, signature))
        return NodeSelf("node-1", "n", False, self.address, address)


def test_enrolling_shows_a_signature_over_the_nodes_own_id(tmp_path):
    farm, me = Farm(), load_identity(tmp_path)
    assert enrol(farm, URL, me, tmp_path).farm == FARM
    ((address, signature),) = farm.shown
    require_signer(Enrolment("node-1", me.address), FARM, signature, address)


def test_a_farm_that_is_away_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(identities, "backoff", lambda attempt, longest: 0)
    farm = Farm(away=3)
    enrol(farm, URL, load_identity(tmp_path), tmp_path)
    assert farm.away == -1


def test_a_farm_that_changed_its_key_is_refused_until_the_owner_agrees(tmp_path):
    me = load_identity(tmp_path)
    enrol(Farm(), URL, me, tmp_path)
    impostor = Farm(address=address_of(b"\x22" * 32))
    with pytest.raises(Conflict, match=r"farms\.json"):
        enrol(impostor, URL, me, tmp_path)
    assert impostor.shown == [], "nothing is signed for it"
    enrol(impostor, "https://other.example", me, tmp_path)
    (tmp_path / "farms.json").unlink()
    enrol(impostor, URL, me, tmp_path)


def test_a_damaged_list_of_farms_is_named(tmp_path):
    (tmp_path / "farms.json").write_text('{"https://farm.example": "me"}')
    with pytest.raises(InvalidInput, match=r"farms\.json"):
        enrol(Farm(), URL, load_identity(tmp_path), tmp_path)


def test_a_farm_that_enrols_somebody_else_is_not_worked_for(tmp_path):
    farm = Farm()
    farm.enrol = lambda address, signature: NodeSelf("node-1", "n", False, FARM, "0x" + "12" * 20)
    with pytest.raises(BadSignature):
        enrol(farm, URL, load_identity(tmp_path), tmp_path)


# --- receipts -----------------------------------------------------------------------------------------


@pytest.fixture
def notary(tmp_path):
    return Notary(load_identity(tmp_path), FARM, tmp_path)


def answer_of(receipt, state="submitted"):
    return msgspec.json.decode(json.dumps({"state": state, "receipt": receipt}), type=SubmitAnswer)


def lines_of(folder):
    path = folder / "receipts.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_the_signature_is_over_exactly_what_the_farm_will_read(notary, tmp_path):
    signed = notary.sign(LEASE, RESULT)
    message = attest(TASK.id, LEASE.token, RESULT)
    require_signer(message, FARM, signed.signature, load_identity(tmp_path).address)
    assert (message.build, message.renderMilliseconds, message.object) == ("b", 500, "aa" * 32)
    assert replace(signed, signature=None) == RESULT


def test_nothing_is_signed_that_contradicts_what_was_signed_before(notary, tmp_path):
    """A farm that hands a lease out twice, the second time with another scene, gets no proof of cheating."""
    first = notary.sign(LEASE, RESULT)
    assert notary.sign(LEASE, replace(RESULT, seconds=9.0)) == replace(first, seconds=9.0)
    again = Notary(load_identity(tmp_path), FARM, tmp_path)
    for signer in (notary, again):
        for other in (
            replace(RESULT, pixel_root="cc" * 32),
            replace(RESULT, files=(OutputFile("tile.exr", "dd" * 32, 9),)),
        ):
            with pytest.raises(Contradiction):
                signer.sign(LEASE, other)
    other_farm = Notary(load_identity(tmp_path), address_of(b"\x22" * 32), tmp_path)
    other_farm.sign(LEASE, replace(RESULT, pixel_root="cc" * 32))
    again.sign(replace(LEASE, token=LeaseToken(8)), replace(RESULT, pixel_root="cc" * 32))
    for number in range(40):
        again.sign(replace(LEASE, token=LeaseToken(100 + number)), RESULT)
    with pytest.raises(Contradiction):
        Notary(load_identity(tmp_path), FARM, tmp_path).sign(LEASE, replace(RESULT, pixel_root="ee" * 32))


def test_what_was_signed_survives_a_power_cut(notary, tmp_path):
    notary.sign(LEASE, RESULT)
    path = tmp_path / "signed"
    path.write_bytes(path.read_bytes() + b"torn")
    later = Notary(load_identity(tmp_path), FARM, tmp_path)
    later.sign(replace(LEASE, token=LeaseToken(8)), RESULT)
    assert path.stat().st_size == 64
    for token in (7, 8):
        with pytest.raises(Contradiction):
            Notary(load_identity(tmp_path), FARM, tmp_path).sign(
                replace(LEASE, token=LeaseToken(token)), replace(RESULT, pixel_root="cc" * 32)
            )


def test_a_node_that_cannot_remember_does_not_sign(notary, tmp_path):
    (tmp_path / "signed").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        notary.sign(LEASE, RESULT)


def appointed(notary):
    """The result as it is handed in."""
    return notary.appoint(LEASE, notary.sign(LEASE, RESULT), AuditTerms(**TERMS), 1)


def test_a_good_receipt_is_kept_as_a_line(notary, tmp_path):
    signed = appointed(notary)
    for number in range(2):
        notary.keep(LEASE, signed, answer_of(receipt_of(attest(TASK.id, LEASE.token, RESULT), number)))
    assert [json.loads(line)["leaf"] for line in lines_of(tmp_path)] == [0, 1]
    assert stat.S_IMODE((tmp_path / "receipts.jsonl").stat().st_mode) == 0o600


def test_a_line_that_a_power_cut_left_half_done_does_not_spoil_the_next(notary, tmp_path):
    (tmp_path / "receipts.jsonl").write_text('{"leaf": 7}\n{"le')
    message = attest(TASK.id, LEASE.token, RESULT)
    notary.keep(LEASE, appointed(notary), answer_of(receipt_of(message, 8)))
    lines = lines_of(tmp_path)
    assert [lines[0], lines[1]] == ['{"leaf": 7}', '{"le']
    assert json.loads(lines[2])["leaf"] == 8


GOOD = receipt_of(attest(TASK.id, LEASE.token, RESULT))


@pytest.mark.parametrize(
    "receipt",
    [
        None,
        [],
        "yes",
        {},
        GOOD | {"signature": ""},
        GOOD | {"signature": "0x" + "00" * 65},
        GOOD | {"signature": GOOD["signature"][:-2] + "1d"},
        GOOD | {"leaf": -1},
        GOOD | {"submission": GOOD["submission"] | {"round": 13}},
        GOOD | {"submission": GOOD["submission"] | {"rate": 1 << 40}},
        GOOD | {"submission": GOOD["submission"] | {"commitment": "xyz"}},
        GOOD | {"submission": GOOD["submission"] | {"attestation": "ab" * 32}},
        receipt_of(attest(TASK.id, LEASE.token, RESULT), round=13),
        receipt_of(attest(TASK.id, LEASE.token, RESULT), rate=180_000),
        receipt_of(attest(TASK.id, LEASE.token, RESULT), commitment="cd" * 32),
        receipt_of(attest(TASK.id, LeaseToken(8), RESULT)),
        receipt_of(attest(TaskId("other"), LEASE.token, RESULT)),
        receipt_of(attest(TASK.id, LEASE.token, replace(RESULT, pixel_root="cc" * 32))),
        receipt_of(attest(TASK.id, LEASE.token, RESULT), farm=address_of(b"\x22" * 32)),
        receipt_of(attest(TASK.id, LEASE.token, RESULT), key=b"\x22" * 32),
    ],
)
def test_a_receipt_that_proves_nothing_is_refused(notary, tmp_path, receipt):
    with pytest.raises(WrongReceipt):
        notary.keep(LEASE, appointed(notary), answer_of(receipt))
    assert lines_of(tmp_path) == []


def test_terms_that_came_to_nothing_are_kept_as_evidence(notary, tmp_path):
    signed = notary.sign(LEASE, RESULT)
    first, second = (notary.appoint(LEASE, signed, AuditTerms(**TERMS), attempt) for attempt in (1, 2))
    assert first.appointment.salt != second.appointment.salt
    notary.refused(LEASE, first)
    (line,) = map(json.loads, (tmp_path / "appointments.jsonl").read_text().splitlines())
    kept = Appointment(**line["appointment"])
    assert (line["task"], kept) == (TASK.id, first.appointment)
    require_signer(kept, FARM, line["appointment_signature"], load_identity(tmp_path).address)


def test_a_receipt_that_comes_after_the_round_is_said_and_marked(notary, tmp_path, capsys):
    late = notary.appoint(LEASE, notary.sign(LEASE, RESULT), AuditTerms(**TERMS | {"out_in": 0.0}), 1)
    notary.keep(LEASE, late, answer_of(GOOD))
    assert json.loads(lines_of(tmp_path)[0])["in_time"] is False
    assert "receipt_late" in "".join(capsys.readouterr())


def test_what_is_accepted_at_once_needs_no_receipt(notary, tmp_path):
    notary.keep(LEASE, appointed(notary), answer_of(None, state="accepted"))
    assert lines_of(tmp_path) == []


def test_a_full_disk_does_not_lose_the_receipt_silently(notary, tmp_path, capsys):
    (tmp_path / "receipts.jsonl").mkdir()
    notary.keep(LEASE, appointed(notary), answer_of(GOOD))
    assert GOOD["signature"] in "".join(capsys.readouterr())


def test_a_list_of_what_was_signed_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "signed").mkdir()
    with pytest.raises(InvalidInput, match=r"signed.*cannot be read"):
        Notary(load_identity(tmp_path), FARM, tmp_path)

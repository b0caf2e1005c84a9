# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node may not say: attestations that are not its own, not of this task, or not of these bytes."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_keys.constants import SECPK1_N

from farm_protocol.documents import Enrolment, Submission
from farm_protocol.fields import decode, encode
from farm_protocol.records import OutputFile, TaskResult
from farm_protocol.typed_data import address_of
from tests.cheats.raw_node import RawNode, keyless_node, raw_node
from tests.support import servers
from tests.support.coordinator_api import Api, under
from verification.protocol.attestation import attest, digest, require_signer, sign

DEVICE = "cpu:test:bpy-5.0.1-test"
ROOT = hashlib.sha256(b"pixels").hexdigest()
OTHER_ROOT = hashlib.sha256(b"other pixels").hexdigest()


@pytest.fixture(scope="module")
def operator(coordinator_server: servers.Coordinator) -> Api:
    return Api(coordinator_server.url, coordinator_server.admin_token)


@pytest.fixture
def artist(operator: Api) -> Api:
    return operator.owner()


@pytest.fixture
def node(artist: Api) -> RawNode:
    return raw_node(artist, "stranger", DEVICE)


@pytest.fixture
def lease(artist: Api, node: RawNode) -> dict[str, Any]:
    """A lease on one of two frames."""
    artist.job()
    return leases(node)[0]


def result_of(node: RawNode, lease: dict[str, Any], root: str = ROOT) -> TaskResult:
    """An uploaded result, not yet signed."""
    return replace(node.upload(lease, b"tile " + root.encode()), pixel_root=root, signature=None)


def leases(node: RawNode, **wish: Any) -> list[dict[str, Any]]:
    """Of jobs of the node's own owner only: others share the coordinator."""
    return node.lease(sandboxed=False, **wish)


def refused(node: RawNode, lease: dict[str, Any], result: TaskResult, code: str, status: int = 403) -> str:
    return node.refused(status, code, "POST", f"{under(lease)}/result?token={lease['token']}", result)


def accepted(node: RawNode, lease: dict[str, Any], result: TaskResult) -> dict[str, Any]:
    answer = node.submit(lease, result)
    assert answer.status == 200, answer
    return answer.body


# --- what is right --------------------------------------------------------------------------------------


def test_an_honest_submission_gets_the_farms_signature_and_a_round_that_is_not_out(
    node: RawNode, lease: dict[str, Any]
) -> None:
    result = node.signed(lease, result_of(node, lease))
    body = accepted(node, lease, result)
    rules = node.ok("GET", "/farm")
    receipt = decode(encode(body["receipt"]["submission"]), Submission)
    attestation = attest(lease["task"]["id"], lease["token"], result)
    assert body["state"] == "submitted"
    assert receipt.attestation == digest(attestation, node.farm).hex()
    require_signer(receipt, node.farm, body["receipt"]["signature"], rules["address"])
    out = rules["genesis"] + (receipt.round - 1) * rules["period"]
    assert out > receipt.time / 1000
    assert abs(receipt.time / 1000 - time.time()) < 60
    assert receipt.rate == 1_000_000


# --- whose signature ------------------------------------------------------------------------------------


def test_nothing_unsigned_is_taken(node: RawNode, lease: dict[str, Any]) -> None:
    result = result_of(node, lease)
    assert "signature" in refused(node, lease, result, "bad_signature")
    refused(node, lease, replace(result, pixel_root=None), "bad_signature")
    accepted(node, lease, node.signed(lease, result))


def test_nobody_signs_for_anothers_key(artist: Api, node: RawNode, lease: dict[str, Any]) -> None:
    other = raw_node(artist, "other", DEVICE)
    forged = other.signed(lease, result_of(node, lease))
    assert node.address in refused(node, lease, forged, "bad_signature")


def test_a_node_without_a_key_is_not_listened_to(artist: Api) -> None:
    artist.job()
    keyless = keyless_node(artist, "keyless", DEVICE)
    keyless.farm = keyless.ok("GET", "/nodes/self")["farm"]
    answer = keyless.call("POST", "/leases", _wish(keyless))
    if answer.status == 200 and answer.body["leases"]:
        lease = answer.body["leases"][0]
        refused(keyless, lease, keyless.signed(lease, result_of(keyless, lease)), "bad_signature")
    else:
        assert answer.status in (403, 409), answer


def test_a_key_once_shown_stays(node: RawNode) -> None:
    new = RawNode(node.url, node.token, id=node.id, farm=node.farm)
    enrolment = Enrolment(node.id, new.address)
    body = {"address": new.address, "signature": sign(enrolment, node.farm, new.key)}
    node.refused(409, "conflict", "POST", "/nodes/self", body)
    assert node.ok("GET", "/nodes/self")["address"] == node.address


def test_an_address_must_be_shown_to_be_ones_own(artist: Api, node: RawNode) -> None:
    thief = keyless_node(artist, "thief")
    shown = sign(Enrolment(node.id, node.address), node.farm, node.key)
    for signature in (shown, sign(Enrolment(thief.id, node.address), node.farm, b"\x07" * 32)):
        body = {"address": node.address, "signature": signature}
        thief.refused(403, "bad_signature", "POST", "/nodes/self", body)
    assert thief.ok("GET", "/nodes/self")["address"] is None


# --- of what --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"pixel_root": OTHER_ROOT},
        {"render_seconds": 9.0},
        {"pixel_root": None},
    ],
)
def test_what_is_signed_cannot_be_changed_afterwards(
    node: RawNode, lease: dict[str, Any], changed: dict[str, Any]
) -> None:
    signed = node.signed(lease, result_of(node, lease))
    refused(node, lease, replace(signed, **changed), "bad_signature")
    accepted(node, lease, signed)


def test_an_attestation_cannot_be_replayed_for_another_task(artist: Api, node: RawNode) -> None:
    artist.job()
    first, second = leases(node, slots=2)
    signed = node.signed(first, result_of(node, first))
    accepted(node, first, signed)
    again = replace(result_of(node, second), signature=signed.signature)
    refused(node, second, again, "bad_signature")


def test_the_first_result_of_a_task_cannot_be_copied_with_its_signature(artist: Api, node: RawNode) -> None:
    artist.job()
    first, second = leases(node, slots=2)
    signed = node.signed(first, result_of(node, first))
    accepted(node, first, signed)
    copier = raw_node(artist, "copier", DEVICE)
    for lease in (first, second):
        refused(copier, lease, signed, "bad_signature")
        refused(copier, lease, copier.signed(lease, signed), "stale_lease", 409)


def test_what_is_signed_for_another_farm_is_refused(node: RawNode, lease: dict[str, Any]) -> None:
    elsewhere = replace_farm(node, address_of(b"\x05" * 32))
    refused(node, lease, elsewhere.signed(lease, result_of(node, lease)), "bad_signature")


def replace_farm(node: RawNode, farm: str) -> RawNode:
    return RawNode(node.url, node.token, id=node.id, device=node.device, key=node.key, farm=farm)


@pytest.mark.parametrize("spoil", ["mirrored", "short", "zeros", "v"])
def test_a_signature_has_one_form(node: RawNode, lease: dict[str, Any], spoil: str) -> None:
    signed = node.signed(lease, result_of(node, lease))
    raw = bytes.fromhex(str(signed.signature)[2:])
    forms = {
        "mirrored": raw[:32]
        + (SECPK1_N - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
        + bytes([55 - raw[64]]),
        "zeros": bytes(65),
        "v": raw[:64] + bytes([raw[64] - 27]),
        "short": raw[:64],
    }
    spoilt = replace(signed, signature="0x" + forms[spoil].hex())
    status, code = (422, "invalid_input") if spoil == "short" else (403, "bad_signature")
    refused(node, lease, spoilt, code, status)
    accepted(node, lease, signed)


# --- of these bytes, on this device, in time ---------------------------------------------------------------


def test_bytes_must_be_in_the_store(node: RawNode, lease: dict[str, Any]) -> None:
    file = OutputFile("tile.exr", hashlib.sha256(b"never uploaded").hexdigest(), 14)
    result = node.signed(lease, TaskResult((file,), 1.0, 0.5, DEVICE, pixel_root=ROOT))
    assert "was not uploaded" in refused(node, lease, result, "conflict", 409)
    there = result_of(node, lease)
    other = node.signed(lease, replace(there, files=(replace(there.files[0], sha256=file.sha256),)))
    assert "was not uploaded" in refused(node, lease, other, "conflict", 409)


def test_another_device_class_than_the_leases_is_refused(node: RawNode, lease: dict[str, Any]) -> None:
    result = replace(result_of(node, lease), device_class="optix:NVIDIA_L4:driver-1:bpy-5.0.1-test")
    assert "another device class" in refused(node, lease, node.signed(lease, result), "invalid_input", 422)


def test_submitting_twice_is_one_submission(artist: Api, node: RawNode, lease: dict[str, Any]) -> None:
    signed = node.signed(lease, result_of(node, lease))
    first, second = (accepted(node, lease, signed) for _ in range(2))
    assert first["receipt"] == second["receipt"]
    record = artist.ok("GET", f"/jobs/{lease['task']['job']}/verification")
    assert len([one for one in record["submissions"] if one["task"]["id"] == lease["task"]["id"]]) == 1


def test_two_attestations_under_one_lease_contradict_each_other(
    artist: Api, node: RawNode, lease: dict[str, Any]
) -> None:
    first = node.signed(lease, result_of(node, lease))
    accepted(node, lease, first)
    second = node.signed(lease, replace(first, pixel_root=OTHER_ROOT))
    assert "both are kept" in refused(node, lease, second, "equivocation", 409)
    record = artist.ok("GET", f"/jobs/{lease['task']['job']}/verification")
    roots = [one["attestation"]["pixelRoot"] for one in record["submissions"]]
    assert roots == [ROOT]


@pytest.fixture
def hasty(tmp_path: Path, seaweed_server: servers.ObjectStore) -> Iterator[Api]:
    """A coordinator whose leases end after three seconds without a heartbeat."""
    with (
        servers.valkey(tmp_path / "valkey") as store,
        servers.coordinator(
            tmp_path / "process", store.url, seaweed_server, "--lease-seconds", "3"
        ) as running,
    ):
        yield Api(running.url, running.admin_token)


def test_an_attestation_of_an_ended_lease_is_worth_nothing_under_the_next(hasty: Api) -> None:
    artist = hasty.owner()
    node = raw_node(artist, "alone", DEVICE)
    artist.job(frames=(1,))
    (lease,) = leases(node)
    signed = node.signed(lease, result_of(node, lease))
    failure = {"code": "crashed", "message": "Blender fell over.", "bad_inputs": []}
    node.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
    (again,) = leases(node, wait=10)
    assert (again["task"], again["token"] > lease["token"]) == (lease["task"], True)
    result_of(node, again)
    refused(node, again, signed, "bad_signature")
    refused(node, lease, signed, "stale_lease", 409)


def test_submitting_late_is_refused_and_the_next_one_is_not_disturbed(hasty: Api) -> None:
    artist = hasty.owner()
    late, prompt = (raw_node(artist, name, DEVICE) for name in ("late", "prompt"))
    artist.job(frames=(1,))
    (lost,) = leases(late)
    result = late.signed(lost, result_of(late, lost))
    (lease,) = leases(prompt, wait=20)
    assert lease["task"]["id"] == lost["task"]["id"]
    sentence = refused(late, lost, result, "stale_lease", 409)
    assert "lease" in sentence.lower()
    accepted(prompt, lease, prompt.signed(lease, result_of(prompt, lease)))


def _wish(node: RawNode) -> dict[str, Any]:
    offer = {"slot": "slot 0", "kinds": ["render"], "device_class": node.device}
    return {"offers": [offer], "wait": 0, "sandboxed": False}

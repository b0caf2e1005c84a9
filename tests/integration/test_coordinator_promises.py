# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job promises follows the device that renders it, and `--exactness bit` keeps it on CPUs."""

from dataclasses import replace

import pytest

from farm_protocol.fields import decode, encode
from farm_protocol.records import Demand, FailureCode, TaskFailure
from tests.api_calls import FACTS, Api, under
from verification.receipt_records import SignedReceipt

CPU = "cpu:avx2:bpy-5.0.1-a3"
GPU = "optix:NVIDIA L4:driver-550.54:bpy-5.0.1-a3"
UPDATED = "optix:NVIDIA L4:driver-560.28:bpy-5.0.1-a3"
EITHER = ("float-exact", "bit-exact on CPUs, float-exact on GPUs")


@pytest.fixture
def admin(coordinator_server):
    return Api(coordinator_server.url, coordinator_server.admin_token)


@pytest.fixture
def ann(admin):
    """An owner. What anybody left unfinished is cancelled: its node shall get this test's tasks only."""
    for job in admin.ok("GET", "/jobs?unfinished=true")["jobs"]:
        admin.ok("POST", f"/jobs/{job['job']}/cancel")
    return admin.owner()


@pytest.fixture
def own(admin):
    return admin.node("own", own=True)


def promise(ann, job):
    shown = ann.ok("GET", f"/jobs/{job}")
    return shown["exactness"], shown["promise"]


def receipt_of(ann, node, job):
    """The first frame's receipt, once the round that its tiles name is out. The node is there meanwhile."""
    for _ in range(60):
        answer = ann.call("GET", f"/jobs/{job}/frames/1/receipt")
        if answer.status == 200:
            return decode(encode(answer.body), SignedReceipt).receipt
        assert (answer.status, answer.body["code"]) == (409, "conflict")
        assert node.lease(wait=0.5, kinds=("finish",)) == []
    raise AssertionError("there was no receipt")


@pytest.mark.parametrize(("device", "exactness"), [(CPU, "bit-exact"), (GPU, "float-exact")])
def test_a_job_promises_what_its_device_class_keeps(ann, own, device, exactness):
    job = ann.job(tiles="2x1")
    assert promise(ann, job) == EITHER
    own.device = device
    lease = own.lease()[0]
    assert promise(ann, job) == EITHER, "another class may still follow"
    own.do(lease)
    assert promise(ann, job) == (exactness, exactness)
    own.work()
    assert promise(ann, job) == (exactness, exactness)
    said = ann.ok("GET", f"/jobs/{job}")["reason"]
    assert ("GPUs add samples in any order" in said) == (device == GPU)
    assert ("Every pixel equals" in said) == (device == CPU)
    receipt = receipt_of(ann, own, job)
    assert (receipt.exactness, receipt.device_class) == (exactness, device)


def test_nothing_was_promised_that_a_pin_that_moves_takes_back(ann, own, admin):
    job = ann.job(frames=(1,))
    lease = own.lease(device_class=CPU)[0]
    assert promise(ann, job) == EITHER
    failure = TaskFailure(FailureCode.NODE, "gone")
    own.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)
    other = admin.node("other", own=True)
    other.device = GPU
    other.do(other.lease()[0])
    assert promise(ann, job)[0] == "float-exact"


def test_approximate_stays_approximate_on_every_device(ann, own):
    job = ann.job(facts=replace(FACTS, approximate=("Path guiding learns.",)), frames=(1,))
    assert promise(ann, job) == ("approximate", "approximate")
    own.device = CPU
    own.work()
    assert promise(ann, job) == ("approximate", "approximate")


def test_bit_exact_on_demand_waits_for_a_cpu(ann, own, admin):
    job = ann.job(exactness=Demand.BIT, frames=(1, 2), tiles="2x1")
    assert promise(ann, job) == ("bit-exact", "bit-exact")
    own.device = GPU
    assert own.lease(slots=4) == []
    cpu = admin.node("cpu", own=True)
    cpu.device = CPU
    cpu.do(cpu.lease()[0])
    assert own.lease(slots=4) == []
    cpu.work()
    shown = ann.ok("GET", f"/jobs/{job}")
    assert (shown["state"], shown["exactness"], shown["device_class"]) == ("complete", "bit-exact", CPU)


def test_bit_exact_on_demand_is_refused_where_the_scene_cannot_be(ann):
    facts = replace(FACTS, approximate=("Path guiding learns while it renders.",))
    body = {"spec": {"scene": ann.scene(), "frames": [1], "exactness": "bit"}, "facts": facts}
    for place in ("/jobs", "/quotes"):
        said = ann.refused(422, "invalid_input", "POST", place, body)
        assert "cannot be bit-exact" in said
        assert "Path guiding" in said
    body["spec"]["exactness"] = "float"
    ann.refused(422, "invalid_input", "POST", "/jobs", body)


def test_the_probe_of_a_bit_exact_quote_goes_to_a_cpu(ann, own):
    body = {"spec": {"scene": ann.scene(), "frames": [1], "exactness": "bit"}, "facts": FACTS}
    ann.ok("POST", "/quotes", body)
    own.device = GPU
    assert own.lease(kinds=("probe",)) == []
    assert [one["task"]["kind"] for one in own.lease(kinds=("probe",), device_class=CPU)] == ["probe"]


def test_a_driver_that_is_updated_in_mid_job_is_another_class(ann, own, admin):
    """The frame is not mixed: its other tile waits for the class that it was begun on."""
    job = ann.job(frames=(1,), tiles="2x1")
    own.device = GPU
    own.do(own.lease()[0])
    own.device = UPDATED
    assert own.lease(slots=4) == []
    assert ann.ok("GET", f"/jobs/{job}")["device_class"] == GPU
    other = admin.node("other", own=True)
    other.device = GPU
    other.do(other.lease()[0])
    (finish,) = own.lease()
    assert finish["task"]["kind"] == "finish"
    told = ann.ok("GET", f"/jobs/{job}/verification")["submissions"]
    assert {one["device_class"] for one in told} == {GPU}

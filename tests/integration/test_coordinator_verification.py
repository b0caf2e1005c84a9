# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a submission through the real coordinator: receipts, rounds, audits, checks and verdicts.

Nodes here speak HTTP; pictures are a few bytes, and a check finds what the test says.
"""

import hashlib
from contextlib import contextmanager
from dataclasses import replace

import pytest

from farm_protocol import documents
from farm_protocol.audits import CheckReport, Fault
from farm_protocol.fields import Tile, decode, encode
from farm_protocol.records import FailureCode, OutputFile, TaskFailure, TaskKind
from tests.support import servers
from tests.support.coordinator_api import FACTS, STRANGERS_ONLY, Api, events, fine, under
from verification.audit.records import JobVerification, LogProof, Round
from verification.audit.verdict import FAULTS_OF_PIXELS
from verification.protocol import attestation, merkle
from verification.receipts import receipt as receipts
from verification.receipts import replay

LOOKS = (TaskKind.AUDIT, TaskKind.CHECK)
BLOCK = Tile(0, 0, 8, 8)


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory, seaweed_server):
    with strict(tmp_path_factory.mktemp("strict"), seaweed_server) as running:
        yield running


@pytest.fixture
def empty_server(tmp_path, seaweed_server):
    """One without the nodes of other tests, for which audits would be kept while they are online."""
    with strict(tmp_path, seaweed_server) as running:
        yield running


@contextmanager
def strict(folder, seaweed_server):
    """A coordinator that audits everything, its own nodes' work too, and never repeats an audit."""
    options = (
        "--audit-own",
        "1",
        "--audit-floor",
        "1",
        *STRANGERS_ONLY,
        "--beacon-period",
        "0.05",
    )
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(folder / "process", store.url, seaweed_server, *options) as running,
    ):
        yield running


@pytest.fixture
def admin(strict_server):
    return Api(strict_server.url, strict_server.admin_token)


@pytest.fixture
def ann(admin):
    """An artist, whose jobs end with the test."""
    owner = admin.owner()
    yield owner
    for job in owner.ok("GET", "/jobs")["jobs"]:
        owner.ok("POST", f"/jobs/{job['job']}/cancel")


@pytest.fixture
def device(request):
    """A device class that no other test's nodes have."""
    return f"cpu:{request.node.name}:bpy-5.0.1"


@pytest.fixture
def node(admin, device):
    """Makes a stranger's node, of an operator of its own unless one is given."""

    def made(name, operator=None):
        found = (operator or admin.owner(name)).node(name)
        found.device = device
        return found

    return made


@pytest.fixture
def liar(node):
    return node("liar")


@pytest.fixture
def own(admin, device):
    found = admin.node("own", own=True)
    found.device = device
    return found


def next_of(node, kind):
    """The node's next lease of a kind; the round may still have to come, and what is kept for another device
    class is kept for 20 seconds, as what another auditor was asked for is, for each that did not come.
    """
    for _ in range(150):
        if leases := node.lease(wait=1.0, kinds=(TaskKind(kind),)):
            return leases[0]
    raise AssertionError(f"there was no {kind}")


def is_there(node):
    """The node says that it audits, without getting anything else to do."""
    assert node.lease(kinds=(TaskKind.AUDIT,)) == []


def asked(owner, job):
    """Who is asked to audit the job's first submission, in order; waits for its round."""
    with events(owner, job) as stream:
        next(one for one in stream if one["event"] == "audit")
    return verification(owner, job).submissions[0].candidates


def differs(lease):
    """A check's report where the first crop is another picture."""
    honest = fine(lease)
    first = replace(honest.crops[0], different=64, rmse=0.5, relative=1.0, cluster=64)
    return replace(honest, crops=(first, *honest.crops[1:]))


def verification(owner, job):
    return decode(encode(owner.ok("GET", f"/jobs/{job}/verification")), JobVerification)


def task_of(owner, job, number=0):
    return owner.ok("GET", f"/jobs/{job}/tasks")["tasks"][number]


def standing(admin, node):
    view = next(one for one in admin.ok("GET", "/nodes")["nodes"] if one["node"] == node.id)
    return view["standing"], view["audit_rate"]


def told(owner, job, name):
    """All events of a name so far; the job must have ended."""
    with events(owner, job) as stream:
        return [one["data"] for one in stream if one["event"] == name]


def reject(liar, own, owner):
    """The liar's next tile is audited by the own node and found false. Returns its lease."""
    lease = liar.lease()[0]
    liar.do(lease, b"lies")
    own.do(next_of(own, "audit"), b"crops")
    check = next_of(own, "check")
    own.do(check, report=differs(check))
    looked_at_again(own, b"honest pixels")
    return lease


def looked_at_again(own, *renders):
    """The own node renders the tile as its node was asked to, twice, and checks once more."""
    for pixels in (renders[0], renders[-1]):
        audit = next_of(own, "audit")
        assert audit["audit"] == {"crops": [audit["task"]["tile"]], "sparse": None}
        own.do(audit, pixels)
    check = next_of(own, "check")
    own.do(check, report=differs(check))


# --- the good way -----------------------------------------------------------------------------------


def test_audited_and_accepted(admin, ann, liar, own):
    job = ann.job(frames=(1,))
    lease = liar.lease()[0]
    assert liar.do(lease)["state"] == "submitted"
    audit = next_of(own, "audit")
    assert audit["audit"]["crops"]
    own.do(audit, b"crops")
    check = next_of(own, "check")
    assert check["inputs"][0]["task"] == lease["task"]["id"]
    assert [one["task"] for one in check["check"]["audits"]] == [audit["task"]["id"]]
    assert task_of(ann, job)["state"] == "auditing"
    own.do(check)
    assert task_of(ann, job)["state"] == "accepted"
    own.do(next_of(own, "finish"))
    shown = ann.ok("GET", f"/jobs/{job}")
    assert (shown["state"], shown["tasks"]["total"]) == ("complete", 2)
    assert shown["audits"] == {"audited": 1, "passed": 1, "rejected": 0, "unresolved": 0}
    assert standing(admin, liar) == ({"passed": 1, "failed": 0}, 1_000_000)
    assert replay.replay(verification(ann, job)) == []
    steps = [(one["state"], one["auditor"]) for one in told(ann, job, "audit")]
    assert steps == [("ordered", None), ("done", own.id)]
    assert [one["outcome"] for one in told(ann, job, "verdict")] == ["accepted"]


def test_frames_receipt_holds_without_the_farm(ann, liar, own):
    job = ann.job(frames=(1,), tiles="2x1")
    for _ in range(2):
        liar.do(liar.lease()[0])
        own.do(next_of(own, "audit"))
        own.do(next_of(own, "check"))
    ann.refused(409, "conflict", "GET", f"/jobs/{job}/frames/1/receipt")
    own.do(next_of(own, "finish"))
    url = f"{ann.url}/api/v1/jobs/{job}/frames/1/receipt"
    document = ann.http.request("GET", url, headers={"Authorization": f"Bearer {ann.token}"}).data
    assert receipts.verify(document, ann.ok("GET", "/farm")["address"]) == []
    ann.refused(404, "not_found", "GET", f"/jobs/{job}/frames/7/receipt")


def test_log_proves_each_submission(ann, liar, own):
    job = ann.job(frames=(1, 2, 3))
    answers = [liar.do(liar.lease()[0]) for _ in range(3)]
    with events(ann, job) as stream:  # each has a round of its own, and all must be out
        audits = (one for one in stream if one["event"] == "audit")
        assert len({next(audits)["data"]["task"] for _ in answers}) == 3
    anyone = Api(ann.url, "")
    for one in (answer["receipt"] for answer in answers):
        found = decode(encode(anyone.ok("GET", f"/log/rounds/{one['submission']['round']}")), Round)
        head = documents.LogHead(found.round, found.size, found.root)
        attestation.require_signer(head, liar.farm, found.signature, liar.farm)
        proof = decode(encode(anyone.ok("GET", f"/log/proof?leaf={one['leaf']}&size={found.size}")), LogProof)
        assert proof.root == found.root
        receipt = decode(encode(one["submission"]), documents.Submission)
        leaf = merkle.leaf_hash(attestation.digest(receipt, liar.farm))
        path = [bytes.fromhex(step) for step in proof.path]
        assert merkle.verify(leaf, proof.leaf, proof.size, path, bytes.fromhex(found.root))
    for leaf, size in ((-1, 1), (1, 1), (0, 1 << 60)):
        anyone.refused(404, "not_found", "GET", f"/log/proof?leaf={leaf}&size={size}")
    anyone.refused(404, "not_found", "GET", "/log/rounds/1")
    anyone.refused(404, "not_found", "GET", f"/log/rounds/{1 << 70}")


# --- rejected ---------------------------------------------------------------------------------------


def test_a_false_tile_is_rendered_again_by_somebody_else(admin, ann, liar, node, own):
    job = ann.job(frames=(1,))
    lease = reject(liar, own, ann)
    again = task_of(ann, job)
    assert (again["state"], again["node"]) == ("ready", None)
    assert [one["node"] for one in again["failures"]] == [liar.id]
    assert "crop" in again["failures"][0]["message"]
    assert liar.lease() == [], "a node whose tile was rejected never gets it again"
    assert standing(admin, liar) == ({"passed": 0, "failed": 1}, 1_000_000)
    honest = node("honest")
    second = next_of(honest, "render")
    assert second["task"]["id"] == lease["task"]["id"]
    honest.do(second)
    is_there(liar)
    own.do(next_of(own, "audit"))
    own.do(next_of(own, "check"))
    own.do(next_of(own, "finish"))
    assert ann.ok("GET", f"/jobs/{job}")["audits"] == {
        "audited": 2,
        "passed": 1,
        "rejected": 1,
        "unresolved": 0,
    }
    said = told(ann, job, "verdict")
    assert [one["outcome"] for one in said] == ["rejected", "accepted"]
    assert said[0]["node"] == liar.id
    assert [file["name"] for file in said[0]["evidence"]] == []
    assert replay.replay(verification(ann, job)) == []


def test_a_node_that_lied_gets_nothing_more_of_the_job(ann, liar, node, own):
    job = ann.job(frames=(1, 2, 3))
    reject(liar, own, ann)
    assert liar.lease(kinds=(TaskKind.RENDER, TaskKind.AUDIT)) == []
    honest = node("honest")
    honest.do(next_of(honest, "render"))
    next_of(own, "audit")
    assert verification(ann, job).submissions[1].candidates == (own.id,)
    other = ann.job(frames=(4,))
    assert liar.lease()[0]["task"]["job"] == other


@pytest.mark.parametrize("fault", sorted(set(Fault) - FAULTS_OF_PIXELS))
def test_a_file_that_is_no_picture_is_rejected_whatever_was_audited(ann, liar, own, fault):
    ann.job(frames=(1,))
    liar.do(liar.lease()[0])
    own.do(next_of(own, "audit"))
    own.do(next_of(own, "check"), report=CheckReport(fault=fault, detail="It is not."))
    assert own.lease()[0]["task"]["kind"] == "render"


def test_an_honest_tile_of_a_scene_that_cannot_be_audited_in_crops(admin, ann, liar, own):
    """Its crops differ, the tile itself is what the own node renders: frames are rendered whole instead."""
    job = ann.job(frames=(1, 2, 3), tiles="2x1")
    first = liar.lease(slots=2)
    for lease in first:
        liar.do(lease)
        own.do(next_of(own, "audit"))
        own.do(next_of(own, "check"))
    own.do(next_of(own, "finish"))
    held, lost = liar.lease(slots=2)
    liar.do(held)
    own.do(next_of(own, "audit"), b"crops")
    check = next_of(own, "check")
    own.do(check, report=differs(check))
    before = standing(admin, liar)
    looked_at_again(own, b"pixels")
    assert standing(admin, liar)[0]["failed"] == before[0]["failed"] == 0
    shown = ann.ok("GET", f"/jobs/{job}")
    assert (shown["exactness"], shown["audits"]["rejected"]) == ("bit-exact", 0)
    assert "Crops of this scene's tiles do not equal the tiles (frame 2)" in shown["fallback"]
    assert shown["reason"].endswith(shown["fallback"])
    assert shown["frames"]["done"] == 0, "what was stitched of such tiles is rendered again"
    url = f"/leases/{lost['task']['id']}/uploads?token={lost['token']}"
    liar.refused(409, "stale_lease", "POST", url, {"files": [OutputFile("tile.exr", "0" * 64, 1)]})
    assert liar.lease() == []
    wholes = own.lease(slots=4, kinds=(TaskKind.RENDER,))
    assert [one["task"]["id"] for one in wholes] == [f"{job}.f{frame}.whole" for frame in (1, 2, 3)]
    assert {one["task"]["output"] for one in wholes} == {"final"}
    assert {str(one["task"]["tile"]) for one in wholes} == {str(held["area"])}
    for one in wholes:
        own.do(one, b"whole")
    shown = ann.ok("GET", f"/jobs/{job}")
    assert (shown["state"], shown["frames"]) == ("complete", {"total": 3, "done": 3, "failed": 0})
    notices = told(ann, job, "notice")
    assert [one["detail"] for one in notices] == [shown["fallback"]]
    states = [(one["frame"], one["state"]) for one in told(ann, job, "frame")]
    assert states == [(1, "done"), (1, "rendering"), (1, "done"), (2, "done"), (3, "done")]
    assert [one["outcome"] for one in told(ann, job, "verdict")] == ["accepted"] * 3
    assert replay.replay(verification(ann, job)) == []
    ann.refused(404, "not_found", "GET", f"/jobs/{job}/frames/1/receipt")


def test_a_large_job_has_a_strip_of_one_tile_rendered_with_more_around_it(ann, liar, own):
    large = replace(FACTS, resolution_x=320, resolution_y=320)
    job = ann.job(facts=large, frames=(1,), tiles="11x10", samples=1 << 20)
    for lease in liar.lease(slots=2):
        liar.do(lease)
    audits = [next_of(own, "audit") for _ in range(3)]
    around = [audit for audit in audits if audit["task"]["overscan"] == 64]
    (strip,) = around
    (crop,) = strip["audit"]["crops"]
    tile = strip["task"]["tile"]
    assert min(crop["x1"] - crop["x0"], crop["y1"] - crop["y0"]) <= 8
    assert crop != tile
    for audit in audits:
        own.do(audit, b"crops")
    for _ in range(2):
        own.do(next_of(own, "check"))
    record = verification(ann, job)
    assert sorted(len(one.audits) for one in record.submissions) == [1, 2]
    assert replay.replay(record) == []


def test_a_scene_that_is_never_rendered_alike_blames_nobody(admin, ann, liar, own):
    job = ann.job(frames=(1,))
    liar.do(liar.lease()[0])
    own.do(next_of(own, "audit"), b"crops")
    check = next_of(own, "check")
    own.do(check, report=differs(check))
    looked_at_again(own, b"one", b"another")
    shown = ann.ok("GET", f"/jobs/{job}")
    assert (shown["exactness"], shown["audits"]["unresolved"]) == ("approximate", 1)
    assert "not rendered alike twice" in shown["fallback"]
    assert standing(admin, liar)[0]["failed"] == 0
    assert next_of(own, "render")["task"]["output"] == "final"
    assert replay.replay(verification(ann, job)) == []


def test_other_passes_than_the_jobs_are_looked_at_again(ann, liar, own):
    ann.job(frames=(1,))
    liar.do(liar.lease()[0])
    own.do(next_of(own, "audit"))
    fault = CheckReport(fault=Fault.WRONG_PASSES)
    own.do(next_of(own, "check"), report=fault)
    for _ in range(2):
        own.do(next_of(own, "audit"), b"honest pixels")
    own.do(next_of(own, "check"), report=fault)
    assert own.lease()[0]["task"]["kind"] == "render"


def test_a_file_that_kills_the_decoder_twice_is_rejected(admin, ann, liar, own):
    job = ann.job(frames=(1,))
    liar.do(liar.lease()[0])
    own.do(next_of(own, "audit"))
    failure = TaskFailure(FailureCode.OUT_OF_MEMORY, "decoding takes too much memory")
    other = admin.node("other", own=True)
    states = []
    for checker in (own, other):
        check = next_of(checker, "check")
        answer = checker.ok("POST", f"{under(check)}/failure?token={check['token']}", failure)
        states.append(answer["state"])
    assert states == ["ready", "cancelled"]
    assert "cannot be decoded" in task_of(ann, job)["failures"][0]["message"]
    assert ann.ok("GET", f"/jobs/{job}")["audits"]["rejected"] == 1


def test_a_check_needs_its_report(ann, liar, own):
    ann.job(frames=(1,))
    liar.do(liar.lease()[0])
    own.do(next_of(own, "audit"))
    check = next_of(own, "check")
    result = own.sign(check, own.upload(check, b"{}", "report.json"))
    own.refused(422, "invalid_input", "POST", f"{under(check)}/result?token={check['token']}", result)


def test_two_pictures_under_one_lease(admin, ann, liar, own):
    job = ann.job(frames=(1,))
    lease = liar.lease()[0]
    first = liar.upload(lease, b"one")
    receipt = liar.submit(lease, first).body["receipt"]
    other = liar.sign(lease, replace(first, pixel_root="ab" * 32))
    path = f"{under(lease)}/result?token={lease['token']}"
    liar.refused(409, "equivocation", "POST", path, other)
    liar.refused(409, "equivocation", "POST", path, other)
    assert standing(admin, liar)[0] == {"passed": 0, "failed": 1}, "one lie counts once"
    assert task_of(ann, job)["state"] == "ready"
    assert liar.lease() == []
    assert liar.submit(lease, first).body["receipt"] == receipt, "what was acknowledged stays so"
    kept = verification(ann, job).submissions[0]
    attestation.require_signer(kept.second, liar.farm, kept.second_signature, liar.address)
    attestation.require_signer(kept.attestation, liar.farm, kept.signature, liar.address)
    assert kept.second.pixelRoot == "ab" * 32 != kept.attestation.pixelRoot
    assert kept.verdict.code == "equivocation"
    assert own.lease()[0]["task"]["kind"] == "render", "its audits ended with it"


def test_somebody_else_cannot_make_a_node_contradict_itself(admin, ann, liar, node):
    job = ann.job(frames=(1,))
    lease = liar.lease()[0]
    first = liar.upload(lease, b"one")
    liar.submit(lease, first)
    framer = node("framer")
    forged = framer.sign(lease, replace(first, pixel_root="ab" * 32))
    path = f"{under(lease)}/result?token={lease['token']}"
    liar.refused(403, "bad_signature", "POST", path, forged)
    framer.refused(409, "stale_lease", "POST", path, forged)
    assert standing(admin, liar)[0]["failed"] == 0
    assert verification(ann, job).submissions[0].second is None


# --- who audits -------------------------------------------------------------------------------------


def test_auditors_are_strangers_in_the_drawn_order(admin, ann, liar, node, own):
    """Not the node itself, not its operator's other node, not who comes first."""
    brother = node("brother", operator=None)
    partner = admin.owner("same")
    mine, sibling = node("mine", operator=partner), node("sibling", operator=partner)
    asked = [brother, node("second"), node("third")]
    for one in (mine, sibling, liar, own, *asked):
        is_there(one)
    job = ann.job(frames=(1,))
    lease = mine.lease(kinds=(TaskKind.RENDER,))[0]
    mine.do(lease)
    for one in (mine, sibling):
        assert one.lease(wait=0.3, kinds=LOOKS) == []
    found = verification(ann, job).submissions[0]
    assert set(found.candidates) == {liar.id, own.id, *(one.id for one in asked)}
    assert found.candidates[-1] == own.id, "the farm's own come last"
    by_id = {one.id: one for one in (liar, *asked)}
    for name in found.candidates[1:-1]:
        assert by_id[name].lease(kinds=LOOKS) == [], "it is not its turn"
    first = next_of(by_id[found.candidates[0]], "audit")
    assert "inputs" not in first or first["inputs"] == []
    assert first["check"] is None


def test_an_auditor_never_learns_what_was_submitted(ann, liar, node, own):
    auditor = node("auditor")
    is_there(auditor)
    job = ann.job(frames=(1,))
    lease = liar.lease()[0]
    result = liar.upload(lease, b"secret pixels")
    liar.submit(lease, result)
    audit = next_of(auditor, "audit")
    seen = str(audit)
    for path in (
        f"{under(audit)}/scene?token={audit['token']}",
        "/nodes/self",
        "/farm",
        "/log/proof?leaf=0&size=1",
    ):
        seen += str(auditor.call("GET", path).body)
    for secret in (result.pixel_root, result.files[0].sha256, f"results/{job}/{lease['task']['id']}/"):
        assert secret not in seen
    for path in (f"/jobs/{job}", f"/jobs/{job}/verification", f"/jobs/{job}/events", f"/jobs/{job}/tasks"):
        auditor.refused(403, "forbidden", "GET", path)
    thief = {"files": [result.files[0]]}
    auditor.refused(409, "stale_lease", "POST", f"{under(lease)}/uploads?token={lease['token']}", thief)


def test_an_auditor_that_gives_up_is_followed_by_the_next(ann, liar, node, own):
    auditors = [node("one"), node("two")]
    for one in auditors:
        is_there(one)
    job = ann.job(frames=(1,))
    liar.do(liar.lease(kinds=(TaskKind.RENDER,))[0])
    order = asked(ann, job)
    first, second = sorted(auditors, key=lambda one: order.index(one.id))
    audit = next_of(first, "audit")
    failure = TaskFailure(FailureCode.DEVICE, "no GPU any more")
    first.ok("POST", f"{under(audit)}/failure?token={audit['token']}", failure)
    assert first.lease(kinds=LOOKS) == []
    assert next_of(second, "audit")["task"]["id"] == audit["task"]["id"]


def test_three_faults_leave_an_audit_to_own_nodes_and_three_of_theirs_to_nobody(admin, ann, liar, node, own):
    strangers = [node(f"stranger {number}") for number in range(4)]
    for one in strangers:
        is_there(one)
    job = ann.job(frames=(1,))
    liar.do(liar.lease()[0])
    order = asked(ann, job)
    strangers.sort(key=lambda one: order.index(one.id))
    failure = TaskFailure(FailureCode.CRASHED, "Blender crashed")

    def give_up(one):
        audit = next_of(one, "audit")
        return one.ok("POST", f"{under(audit)}/failure?token={audit['token']}", failure)["state"]

    assert [give_up(one) for one in strangers[:3]] == ["ready"] * 3
    assert strangers[3].lease(kinds=LOOKS) == []
    owns = [own, *(admin.node(f"own {number}", own=True) for number in range(2))]
    for one in owns:
        one.device = own.device
    assert [give_up(one) for one in owns] == ["ready", "ready", "cancelled"]
    task = task_of(ann, job)
    assert (task["state"], task["failures"]) == ("ready", [])
    assert ann.ok("GET", f"/jobs/{job}")["audits"]["unresolved"] == 1
    assert standing(admin, liar)[0] == {"passed": 0, "failed": 0}, "nobody is blamed"


def test_unresolved_twice_is_kept_for_own_nodes(ann, liar, node, own):
    job = ann.job(frames=(1,))
    doubtful = CheckReport(channels=("ViewLayer/Combined.R",))  # the audits hold nothing to compare with
    for renderer in (liar, node("other")):
        renderer.do(next_of(renderer, "render"))
        for _ in range(2):
            own.do(next_of(own, "audit"))
            own.do(next_of(own, "check"), report=doubtful)
    assert ann.ok("GET", f"/jobs/{job}")["audits"]["unresolved"] == 2
    assert node("third").lease() == []
    own.do(next_of(own, "render"))
    next_of(own, "audit")
    assert replay.replay(verification(ann, job)) == []


def test_a_tile_is_not_left_unresolved_without_end(empty_server):
    """No own node works on its device class: own nodes of any class then render whole frames."""
    admin = Api(empty_server.url, empty_server.admin_token)
    ann, own = admin.owner(), admin.node("own", own=True)
    job = ann.job(frames=(1,))
    own.device = "cpu:elsewhere:bpy-5.0.1"

    def node(name):
        found = admin.owner(name).node(name)
        found.device = "cpu:here:bpy-5.0.1"
        return found

    for number in range(4):
        renderer = node(f"renderer {number}")
        renderer.do(next_of(renderer, "render"))
        for _ in range(2):
            own.do(next_of(own, "audit"))
            own.do(next_of(own, "check"), report=CheckReport(channels=("ViewLayer/Combined.R",)))
    told = ann.ok("GET", f"/jobs/{job}")
    assert told["audits"]["unresolved"] == 4
    assert told["audits"]["rejected"] == 0
    assert "nobody could audit them (frame 1)" in told["fallback"]
    assert node("another").lease() == []
    whole = next_of(own, "render")
    assert whole["task"]["output"] == "final"
    own.do(whole)
    assert ann.ok("GET", f"/jobs/{job}")["state"] == "complete"
    assert replay.replay(verification(ann, job)) == []


def call_broken(one):
    lease = next_of(one, "render")
    failure = TaskFailure(FailureCode.SCENE, "This scene is broken, it says.")
    one.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)


def test_strangers_alone_cannot_call_a_scene_broken(ann, liar, node, own):
    job = ann.job(frames=(1,))
    is_there(own)
    for one in (liar, node("other"), node("third")):
        call_broken(one)
    assert task_of(ann, job)["state"] == "ready"
    assert node("fourth").lease() == [], "it is kept for the own node"
    own.do(next_of(own, "render"))
    assert task_of(ann, job)["state"] != "failed"


def test_an_own_node_confirms_that_a_scene_is_broken(ann, liar, node, own):
    job = ann.job(frames=(1,))
    is_there(own)
    for broken in (liar, node("other"), node("third"), own):
        call_broken(broken)
    assert (task_of(ann, job)["state"], ann.ok("GET", f"/jobs/{job}")["state"]) == ("failed", "failed")


def test_a_link_kept_back_cannot_change_what_was_submitted(ann, liar, own):
    """The node asks for links to two pictures, submits one, and sends the other afterwards."""
    ann.job(frames=(1,))
    lease = liar.lease()[0]
    good, bad = b"good pixels", b"evil pixels"
    order = {"files": [OutputFile("tile.exr", hashlib.sha256(bad).hexdigest(), len(bad))]}
    link = liar.ok("POST", f"{under(lease)}/uploads?token={lease['token']}", order)["uploads"][0]
    liar.do(lease, good)
    liar.put(link, bad)
    own.do(next_of(own, "audit"))
    check = next_of(own, "check")
    assert liar.http.request("GET", check["inputs"][0]["file"]["url"]).data == good


# --- devices that add in any order --------------------------------------------------------------------


@pytest.fixture
def gpu(request, liar, own):
    """Both nodes work on a GPU."""
    for one in (liar, own):
        one.device = f"cuda:{request.node.name}:driver-550:bpy-5.0.1"


def apart(lease, different=0, **more):
    """A check's report on pictures whose last bits differ."""
    honest = fine(lease)
    crops = tuple(replace(crop, different=different, bound=0.25) for crop in honest.crops)
    return replace(honest, crops=crops, **more)


def test_a_check_knows_how_the_tiles_device_adds(ann, liar, own, gpu):
    ann.job(frames=(1,))
    liar.do(next_of(liar, "render"))
    own.do(next_of(own, "audit"))
    assert next_of(own, "check")["check"]["sums"]["samples"] >= 1


def test_a_check_of_a_cpus_tile_counts_every_bit(ann, liar, own):
    ann.job(frames=(1,))
    liar.do(next_of(liar, "render"))
    own.do(next_of(own, "audit"))
    assert next_of(own, "check")["check"]["sums"] is None


def test_a_gpus_tile_is_accepted_though_no_two_renders_have_the_same_bits(ann, liar, own, gpu):
    job = ann.job(frames=(1,))
    liar.do(next_of(liar, "render"), b"some bits")
    own.do(next_of(own, "audit"), b"other bits")
    check = next_of(own, "check")
    own.do(check, report=apart(check))
    (one,) = verification(ann, job).submissions
    assert one.verdict.code == "accepted"
    assert "up to the order of sums, with 25 % of what that explains" in one.verdict.reason
    own.do(next_of(own, "finish"))
    assert replay.replay(verification(ann, job)) == []
    url = f"{ann.url}/api/v1/jobs/{job}/frames/1/receipt"
    document = ann.http.request("GET", url, headers={"Authorization": f"Bearer {ann.token}"}).data
    assert receipts.verify(document, ann.ok("GET", "/farm")["address"]) == []


@pytest.mark.parametrize(
    ("found", "outcome", "code"),
    [
        ({}, "rejected", None),
        ({"confirmed": 1}, "accepted", "as_asked"),
        ({"unlike": 2}, "escalated", "unrepeatable"),
    ],
)
def test_a_gpus_tile_gets_its_second_look_by_what_the_pictures_show(
    ann, liar, own, gpu, found, outcome, code
):
    job = ann.job(frames=(1,))
    liar.do(next_of(liar, "render"), b"some bits")
    own.do(next_of(own, "audit"), b"other bits")
    check = next_of(own, "check")
    own.do(check, report=apart(check, different=64))
    looks = []
    for bits in (b"third bits", b"fourth bits"):
        looks.append(next_of(own, "audit"))
        own.do(looks[-1], bits)
    check = next_of(own, "check")
    tasks = [one["task"]["id"] for one in looks]
    told = {name: tuple(tasks[:count]) for name, count in found.items()}
    own.do(check, report=apart(check, different=64, **told))
    (one, *_) = verification(ann, job).submissions
    assert one.verdict.outcome == outcome
    assert code is None or one.verdict.code == code
    assert one.case.summation == "any_order"
    assert replay.replay(verification(ann, job)) == []


def test_a_gpus_tile_that_only_a_cpu_could_audit_blames_nobody(admin, ann, liar, own, request):
    """Floats of another class say nothing: the tile is looked at twice, and rendered again."""
    liar.device = f"cuda:{request.node.name}:driver-550:bpy-5.0.1"
    job = ann.job(frames=(1,))
    liar.do(next_of(liar, "render"), b"some bits")
    for _ in range(2):
        own.do(next_of(own, "audit"), b"bits of a processor")
        check = next_of(own, "check")
        assert [one["same_class"] for one in check["check"]["audits"]] in ([False], [False, False])
        own.do(check, report=differs(check))
    (one, *_) = verification(ann, job).submissions
    assert (one.verdict.outcome, one.case.same_class) == ("unresolved", False)
    assert standing(admin, liar)[0]["failed"] == 0
    assert ann.ok("GET", f"/jobs/{job}")["audits"]["rejected"] == 0
    assert task_of(ann, job)["state"] == "ready"
    assert replay.replay(verification(ann, job)) == []

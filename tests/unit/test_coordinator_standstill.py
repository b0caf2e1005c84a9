# SPDX-License-Identifier: GPL-3.0-or-later
"""Why nobody may take a job's tasks, told by the rules that give them out."""

from dataclasses import replace

import pytest

from farm_protocol.records import SlotOffer, TaskKind
from render_farm.auditors import Seat
from render_farm.scheduler import Asker, Candidate, InOrder, Obstacle, Queue, choose, obstacle
from render_farm.standstill import WHY, Look, Peer, may_take, sentence

RENDERS = SlotOffer("cpu-0", (TaskKind.RENDER, TaskKind.AUDIT), "cpu:a")
FINISHES = SlotOffer("finish-0", (TaskKind.FINISH, TaskKind.CHECK), "cpu:a")
GUEST = Peer("guest", Asker("g", "bob", False, True), (RENDERS,))
ON_GPU = replace(GUEST, offers=(SlotOffer("gpu-0", (TaskKind.RENDER,), "optix:a", memory=20 << 30),))
MINE = Peer("mine", Asker("m", "admin", True, True), (RENDERS, FINISHES))


def queue(*lanes, pin="", owner="ann", **fields):
    tasks = tuple(Candidate(f"j.f{number}.t0", lane, number, **fields) for number, lane in enumerate(lanes))
    return Queue("j", owner, 0.0, "s", pin, False, tasks)


def said(*looks, lanes=("render",), pin=""):
    return sentence(looks, lanes, pin, 1000.0)


def test_no_node_at_all():
    assert said() == "Nobody can render tiles: no node is online."
    told = said(lanes=("final", "finish"))
    assert told == "Nobody can render whole frames and finish frames: no node is online."


def test_nothing_is_said_where_somebody_may():
    wrong = Look(GUEST, queue("render", pin="gpu:b"))
    assert said(wrong, Look(MINE, queue("render"))) == ""


def test_only_own_nodes_may_and_none_is_there():
    told = said(Look(GUEST, queue("finish")), lanes=("finish",))
    assert told == "Nobody can finish frames: only the farm's own nodes may, and none of them is online."


def test_a_bit_exact_job_waits_for_cpus_and_says_so():
    gpu = replace(MINE, offers=(replace(RENDERS, device_class="optix:L4"),))
    exact = replace(queue("render"), in_order=InOrder.ALL)
    assert said(Look(gpu, exact)) == (
        "Nobody can render tiles now: mine renders on a GPU, and this job was asked to be bit-exact, which "
        "only CPUs are."
    )
    assert said(Look(gpu, exact), Look(MINE, exact)) == ""


@pytest.mark.parametrize(
    ("look", "lanes", "words"),
    [
        (Look(GUEST, queue("render", pin="gpu:b")), ("render",), "guest is of another device class"),
        (Look(GUEST, queue("audit")), ("audit",), "guest is of another device class"),
        (
            Look(ON_GPU, replace(queue("render"), too_small=24 << 30)),
            ("render",),
            "guest lacks the video memory: the scene did not fit 24.0 GiB",
        ),
        (
            Look(ON_GPU, replace(queue("render"), too_small_here=30 << 30)),
            ("render",),
            "did not fit 30.0 GiB",
        ),
        (Look(replace(MINE, offers=(RENDERS,)), queue("finish")), ("finish",), "mine has no slot"),
        (Look(GUEST, None, ("excluded",)), ("render",), "its work was rejected in this job"),
        (Look(GUEST, None, ("other_owner",)), ("render",), "no sandbox"),
        (Look(GUEST, None, ("sells",)), ("render",), "sells its work, and this job is free"),
        (Look(GUEST, None, ("agreement",)), ("render",), "no agreement for this paid job"),
        (Look(GUEST, None, ("room",)), ("render",), "stake or the job's budget"),
        (Look(GUEST, None, ("refused",)), ("render",), "waits for a voucher"),
        (Look(GUEST, None, ("unbound",)), ("render",), "the key that it signs with"),
        (Look(GUEST, None), ("render",), "is given nothing"),
    ],
)
def test_each_reason_is_told(look, lanes, words):
    told = said(look, lanes=lanes, pin="gpu:b")
    assert words in told
    assert told.startswith("Nobody can ")
    assert told.endswith(".")


def test_a_node_whose_slots_are_away_says_why():
    away = ("The disk of this node is full: {0} bytes are left.",)
    resting = replace(MINE, offers=(FINISHES,), away=away)
    told = said(Look(resting, queue("render")))
    assert told == (
        "Nobody can render tiles now: mine cannot work at the moment: "
        "The disk of this node is full: {0} bytes are left."
    )
    assert said(Look(resting, queue("finish")), lanes=("finish",)) == ""
    excluded = Look(replace(GUEST, offers=(), away=away), None, ("excluded",))
    assert "its work was rejected" in said(excluded)


def test_a_node_alone_that_failed_for_its_own_reasons_tries_again():
    failed = queue("render", failed_on="g", failed_at=999.0, failed_code="device")
    assert "guest failed at it and tries again" in said(Look(GUEST, failed))
    assert sentence([Look(GUEST, failed)], ("render",), "", 1006.0) == ""


def test_an_audit_that_only_own_nodes_may_do():
    seat = Seat("cpu:a", "n", "eve", (), 0.0, own_only=True)
    audit = Candidate("j.a", "audit", 1, seat=seat)
    told = said(Look(GUEST, replace(queue(), tasks=(audit,))), lanes=("audit",))
    assert "guest may not audit" in told


def test_the_task_that_came_nearest_says_why():
    """A whole frame is for own nodes; the tile could be the guest's but for the device class."""
    told = said(Look(GUEST, queue("final", "render", pin="gpu:b")), lanes=("render", "final"), pin="gpu:b")
    assert "another device class than the job's, which is gpu:b" in told


def test_nodes_of_one_reason_are_told_together():
    peers = [Look(replace(GUEST, name=f"node {number}"), None, ("excluded",)) for number in range(5)]
    assert "node 0, node 1, node 2 and 2 more, each gets no more" in said(*peers)


def test_every_obstacle_has_its_words():
    assert set(Obstacle) <= set(WHY)
    assert all("{who}" in words for words in WHY.values())


@pytest.mark.parametrize("lane", ["render", "kept", "final", "finish", "check", "probe"])
@pytest.mark.parametrize("peer", [GUEST, MINE, replace(GUEST, asker=replace(GUEST.asker, sandboxed=False))])
@pytest.mark.parametrize("pin", ["", "cpu:a", "gpu:b"])
def test_what_is_told_is_what_is_given(lane, peer, pin):
    """The scheduler chooses exactly where no obstacle is seen."""
    asked = queue(lane, pin=pin)
    chosen = choose(peer.offers, peer.asker, [asked], 1000.0)
    assert bool(chosen) == may_take(Look(peer, asked), 1000.0)
    seen = [obstacle(asked.tasks[0], asked, offer, peer.asker, 1000.0) for offer in peer.offers]
    assert bool(chosen) == (None in seen)

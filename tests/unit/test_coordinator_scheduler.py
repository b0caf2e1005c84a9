# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler's choices, without a store."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as some

from farm_protocol.records import SlotOffer, TaskKind
from render_farm.scheduler import (
    AGEING_SECONDS,
    AVOID_SECONDS,
    KEPT_SECONDS,
    PAUSE_SECONDS,
    Asker,
    Candidate,
    InOrder,
    Queue,
    choose,
    lanes,
    rank,
)

NOW = 1_000_000.0
BOTH = (TaskKind.RENDER, TaskKind.FINISH)
OWN = Asker("n1", "admin", own=True, sandboxed=True)
STRANGER = Asker("n2", "ann", own=False, sandboxed=True)


def offer(slot="s", kinds=BOTH, device="cpu", scene=None, frame=None):
    return SlotOffer(slot, kinds, device, scene, frame)


def queue(job="j", priority=50, age=0.0, scene="A", pin="", movable=True, owner="ann", tasks=None):
    tasks = tasks or (Candidate(f"{job}.f1.t0", "render", 1), Candidate(f"{job}.f2.t0", "render", 2))
    return Queue(job, owner, rank(priority, NOW - age), scene, pin, movable, tuple(tasks))


def picked(offers, asker, queues):
    return [choice.task.task for choice in choose(offers, asker, queues, NOW)]


def test_warm_frame_before_warm_scene_before_cold():
    a, b = queue("a", scene="A", age=9), queue("b", scene="B")
    assert picked([offer(scene="B", frame=2)], OWN, [a, b]) == ["b.f2.t0"]
    assert picked([offer(scene="B", frame=7)], OWN, [a, b]) == ["b.f1.t0"]
    assert picked([offer()], OWN, [a, b]) == ["a.f1.t0"]


def test_warmth_never_beats_priority():
    urgent, warm = queue("a", priority=51, scene="A"), queue("b", priority=50, scene="B")
    assert picked([offer(scene="B", frame=1)], OWN, [warm, urgent]) == ["a.f1.t0"]


def test_finish_comes_first_and_only_to_own_nodes():
    tasks = (Candidate("j.f1.t0", "render", 1), Candidate("j.f9.finish", "finish", 9))
    jobs = [queue(tasks=tasks)]
    assert picked([offer(scene="A", frame=1)], OWN, jobs) == ["j.f9.finish"]
    assert picked([offer(kinds=(TaskKind.RENDER,))], OWN, jobs) == ["j.f1.t0"]
    assert picked([offer()], STRANGER, jobs) == ["j.f1.t0"]
    assert picked([offer(kinds=(TaskKind.FINISH,))], STRANGER, jobs) == []


def test_probes_come_before_renders_and_only_to_own_nodes():
    kinds = (TaskKind.RENDER, TaskKind.PROBE)
    jobs = [queue(), queue("q", tasks=(Candidate("q.probe", "probe", 1),), pin="gpu", movable=False)]
    assert picked([offer(kinds=kinds, scene="A", frame=1)], OWN, jobs) == ["q.probe"]
    assert picked([offer(kinds=kinds)], STRANGER, jobs) == ["j.f1.t0"]
    assert "probe" not in lanes([offer(kinds=kinds)], own=False)


def test_final_renders_go_to_own_nodes_only():
    jobs = [queue(tasks=(Candidate("j.f1.t0", "final", 1),))]
    assert picked([offer()], STRANGER, jobs) == []
    assert picked([offer()], OWN, jobs) == ["j.f1.t0"]
    assert "final" not in lanes([offer()], own=False)


def test_unsandboxed_node_gets_only_its_owners_jobs():
    bare = replace(STRANGER, sandboxed=False)
    assert picked([offer()], bare, [queue("x", owner="bob"), queue("y", owner="ann")]) == ["y.f1.t0"]
    assert picked([offer()], bare, [queue("x", owner="bob")]) == []


def test_device_class_is_pinned_by_what_was_rendered():
    pinned = queue(pin="optix", movable=False)
    assert picked([offer(device="cpu")], OWN, [pinned]) == []
    assert picked([offer(device="optix")], OWN, [pinned]) == ["j.f1.t0"]
    assert picked([offer(device="cpu")], OWN, [replace(pinned, movable=True)]) == ["j.f1.t0"]


def test_a_job_that_must_be_bit_exact_is_rendered_and_finished_on_cpus_only():
    for lane in ("render", "kept", "final", "finish", "probe"):
        kinds = (TaskKind.RENDER, TaskKind.FINISH, TaskKind.PROBE)
        exact = replace(queue(tasks=(Candidate("t", lane, 1),)), in_order=InOrder.ALL)
        for gpu in ("optix:NVIDIA L4:driver-1:bpy-5", "emulated-gpu:x", "", "unknown"):
            assert picked([offer(device=gpu, kinds=kinds)], OWN, [exact]) == [], lane
            assert picked(
                [offer(device=gpu, kinds=kinds)], OWN, [replace(exact, in_order=InOrder.NOBODY)]
            ) == ["t"]
        assert picked([offer(device="cpu:avx2:bpy-5", kinds=kinds)], OWN, [exact]) == ["t"], lane
    pinned = replace(queue(pin="cpu:a", movable=False), in_order=InOrder.ALL)
    assert picked([offer(device="cpu:b")], OWN, [pinned]) == []


def test_where_two_renders_on_a_gpu_are_not_alike_strangers_render_it_on_cpus():
    unlike = replace(queue(), in_order=InOrder.STRANGERS)
    gpu, cpu = offer(device="optix:NVIDIA L4:driver-1:bpy-5"), offer(device="cpu:avx2:bpy-5")
    stranger = replace(OWN, own=False)
    assert picked([gpu], stranger, [unlike]) == []
    assert picked([cpu], stranger, [unlike]) == picked([gpu], OWN, [unlike]) == ["j.f1.t0"]


def test_two_classes_in_one_request_do_not_share_a_job():
    offers = [offer("s1", device="cpu"), offer("s2", device="optix")]
    assert len(choose(offers, OWN, [queue()], NOW)) == 1


def test_finishing_is_not_bound_to_the_pin():
    tasks = (Candidate("j.f1.finish", "finish", 1),)
    assert picked([offer(device="cpu")], OWN, [queue(pin="optix", movable=False, tasks=tasks)]) == [
        "j.f1.finish"
    ]


GIB = 1 << 30


def with_memory(memory, device="optix:a"):
    return replace(offer(device=device), memory=memory * GIB)


def test_a_scene_that_did_not_fit_goes_to_more_video_memory():
    large = replace(queue(), too_small=24 * GIB)
    assert picked([with_memory(16)], STRANGER, [large]) == []
    assert picked([with_memory(24)], STRANGER, [large]) == []
    assert picked([with_memory(48)], STRANGER, [large]) == ["j.f1.t0"]
    assert picked([offer(device="cpu:avx2")], STRANGER, [large]) == ["j.f1.t0"], (
        "a processor has no such limit"
    )


def test_a_cpu_takes_what_no_gpu_holds_only_where_the_job_may_run_on_it():
    pinned = replace(queue(pin="optix:a", movable=False), too_small=24 * GIB)
    assert picked([offer(device="cpu:avx2")], OWN, [pinned]) == []


def test_what_a_stranger_found_too_small_bars_only_the_stranger():
    large = replace(queue(), too_small_here=24 * GIB)
    assert picked([with_memory(24)], STRANGER, [large]) == []
    assert picked([with_memory(48)], STRANGER, [large]) == ["j.f1.t0"]


def test_of_a_gpu_that_does_not_tell_its_memory_only_its_node_knows():
    assert picked([with_memory(0)], STRANGER, [replace(queue(), too_small=24 * GIB)]) == ["j.f1.t0"]
    assert picked([with_memory(0)], STRANGER, [replace(queue(), too_small_here=0)]) == []


def test_finishing_needs_no_video_memory():
    tasks = (Candidate("j.f1.finish", "finish", 1),)
    large = replace(queue(tasks=tasks), too_small=24 * GIB)
    assert picked([with_memory(16)], OWN, [large]) == ["j.f1.finish"]


def failed(code, ago, on="n1"):
    return queue(tasks=(Candidate("j.f1.t0", "render", 1, on, NOW - ago, code),))


def test_a_failed_task_is_left_to_others_for_a_while():
    company = replace(OWN, others=1)
    assert picked([offer()], company, [failed("crashed", 1)]) == []
    assert picked([offer()], company, [failed("crashed", AVOID_SECONDS + 1)]) == ["j.f1.t0"]
    assert picked([offer()], company, [failed("crashed", 1, on="n7")]) == ["j.f1.t0"]


def test_what_a_node_kept_is_left_to_others_for_longer():
    company = replace(STRANGER, others=1)
    for code in ("overdue", "stalled"):
        assert picked([offer()], company, [failed(code, AVOID_SECONDS + 1, on="n2")]) == []
        assert picked([offer()], company, [failed(code, KEPT_SECONDS + 1, on="n2")]) == ["j.f1.t0"]
        assert picked([offer()], STRANGER, [failed(code, 0, on="n2")]) == ["j.f1.t0"]


def test_what_is_late_with_another_comes_last_whatever_its_priority():
    late = queue("a", priority=90, tasks=(Candidate("a.f1.t0", "render", 1, late=True),))
    assert picked([offer(scene="A", frame=1)], OWN, [late, queue("b", scene="B")]) == ["b.f1.t0"]
    assert picked([offer()], OWN, [late]) == ["a.f1.t0"]


def test_no_more_than_a_node_may_hold_and_warm_slots_first():
    offers = [offer("cold"), offer("warm", scene="A", frame=2), offer("colder")]
    chosen = choose(offers, STRANGER, [queue()], NOW, most=1)
    assert [(one.offer.slot, one.task.task) for one in chosen] == [("warm", "j.f2.t0")]
    assert choose(offers, STRANGER, [queue()], NOW, most=0) == []


def test_alone_the_same_node_goes_on():
    assert picked([offer()], OWN, [failed("crashed", 0)]) == ["j.f1.t0"]
    assert picked([offer()], OWN, [failed("expired", 0)]) == ["j.f1.t0"]
    assert picked([offer()], OWN, [failed("device", 0)]) == [], "a broken device would spin"
    assert picked([offer()], OWN, [failed("device", PAUSE_SECONDS + 1)]) == ["j.f1.t0"]


def test_only_own_nodes_count_as_company_for_finishing():
    task = Candidate("j.f1.finish", "finish", 1, "n1", NOW, "crashed")
    assert picked([offer()], replace(OWN, others=3), [queue(tasks=(task,))]) == ["j.f1.finish"]
    assert picked([offer()], replace(OWN, others=3, own_others=1), [queue(tasks=(task,))]) == []


def test_what_others_reach_for_is_left_alone():
    chosen = choose([offer()], OWN, [queue()], NOW, {"j.f1.t0"})
    assert [choice.task.task for choice in chosen] == ["j.f2.t0"]


def test_low_priority_overtakes_in_the_end():
    """However many urgent jobs keep coming, the waiting one is first after a bounded time."""
    old = queue("old", priority=0, age=101 * AGEING_SECONDS)
    fresh = queue("fresh", priority=100, age=0)
    assert picked([offer()], OWN, [fresh, old]) == ["old.f1.t0"]


def test_same_priority_goes_by_age():
    assert picked([offer()], OWN, [queue("b", age=1), queue("a", age=2)]) == ["a.f1.t0"]


@given(
    some.lists(
        some.tuples(some.sampled_from("ab"), some.sampled_from(["render", "finish", "final"])), max_size=8
    ),
    some.integers(0, 5),
    some.booleans(),
)
def test_no_task_twice_and_at_most_one_a_slot(tasks, slots, own):
    candidates = tuple(Candidate(f"{job}{index}", lane, index) for index, (job, lane) in enumerate(tasks))
    offers = [offer(f"s{index}") for index in range(slots)]
    jobs = [queue(job, tasks=[task for task in candidates if task.task[0] == job]) for job in "ab"]
    chosen = choose(offers, replace(OWN, own=own), [job for job in jobs if job.tasks], NOW)
    assert len({choice.task.task for choice in chosen}) == len(chosen) <= slots
    assert len({choice.offer.slot for choice in chosen}) == len(chosen)
    if own:
        offered = [task for job in jobs for task in job.tasks]
        assert len(chosen) == min(slots, len(offered)), "no slot stays idle while it could work"

# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Callable

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import Adaptive, SceneFacts, Simulation
from farm_protocol.ids import DeviceClass
from farm_protocol.records import Demand, Exactness, RenderSettings, TaskOutput
from frame_splitter.exactness import (
    Allowed,
    adaptive_reach,
    classify,
    promised,
    promised_at_first,
    sum_is_stored,
    words,
)

MakeFacts = Callable[..., SceneFacts]


def settings(samples: int = 64, file_format: str = "PNG") -> RenderSettings:
    return RenderSettings(samples, 0, 100, file_format)


def adaptive(threshold: float = 0.01, min_samples: int = 0) -> Adaptive:
    return Adaptive(True, threshold, min_samples)


def test_a_plain_scene_is_exact_in_tiles(make_facts: MakeFacts) -> None:
    plan = classify(make_facts(), settings())
    assert (plan.allowed.in_order, plan.output, plan.tileable, plan.overscan) == (
        Exactness.BIT_EXACT,
        TaskOutput.LINEAR,
        True,
        0,
    )
    assert "equal" in plan.reason


GPUS = (
    "optix:NVIDIA L4:driver-550.54:bpy-5.0.1-a3",
    "cuda:x",
    "hip:gpu:6.1",
    "oneapi:gpu:6.1",
    "emulated-gpu:x",
)


BIT, FLOAT, ROUGH = Exactness.BIT_EXACT, Exactness.FLOAT_EXACT, Exactness.APPROXIMATE


@pytest.mark.parametrize(
    ("scene", "on_cpus", "on_gpus", "said"),
    [
        (Allowed(BIT, FLOAT), BIT, FLOAT, "bit-exact on CPUs, float-exact on GPUs"),
        (Allowed(BIT, ROUGH), BIT, ROUGH, "bit-exact on CPUs, approximate on GPUs"),
        (Allowed(ROUGH, ROUGH), ROUGH, ROUGH, "approximate"),
    ],
)
def test_what_is_promised_follows_from_the_device(
    scene: Allowed, on_cpus: Exactness, on_gpus: Exactness, said: str
) -> None:
    assert promised(scene, DeviceClass("cpu:avx512:bpy-5.0.1-a3")) is on_cpus
    for gpu in (*GPUS, "", None):
        assert promised(scene, gpu and DeviceClass(gpu)) is on_gpus
    assert promised_at_first(scene, Demand.ANY) is on_gpus, "before a device is known the least is promised"
    assert promised_at_first(scene, Demand.BIT) is on_cpus
    assert words(scene, Demand.ANY) == said
    assert words(scene, Demand.BIT) == on_cpus.value


def test_volumes_are_promised_on_cpus_only(make_facts: MakeFacts) -> None:
    plan = classify(make_facts(unlike=("Two renders of volumes on one GPU have other noise.",)), settings())
    assert plan.allowed == Allowed(BIT, ROUGH)
    assert "Two renders of volumes on one GPU have other noise." in plan.reason
    assert "8-bit" not in plan.reason
    assert classify(make_facts(), settings()).allowed == Allowed(BIT, FLOAT)


def test_the_reason_says_what_is_true_of_each_kind(make_facts: MakeFacts) -> None:
    either = classify(make_facts(), settings()).reason
    assert either.startswith("On CPUs every pixel will equal")
    assert "GPUs add samples in any order" in either
    plan = classify(make_facts(adaptive=adaptive()), settings())
    assert "a few pixels may take more or fewer samples" in plan.reason
    assert "a few pixels" in plan.reason_any_order
    assert "GPU" not in plan.reason_in_order
    bits = classify(make_facts(), settings(), None, Demand.BIT).reason
    assert bits.startswith("Every pixel will equal")
    assert bits.endswith("Only CPUs render it.")
    for demand in Demand:
        assert "scripts off" in classify(make_facts(scripts=("x.py",)), settings(), None, demand).reason


def test_what_cannot_be_bit_exact_is_refused_where_that_was_asked_for(make_facts: MakeFacts) -> None:
    rough = make_facts(approximate=("Path guiding learns while it renders.",))
    with pytest.raises(InvalidInput, match=r"cannot be bit-exact.*Path guiding"):
        classify(rough, settings(), None, Demand.BIT)
    assert classify(rough, settings()).allowed.in_order is Exactness.APPROXIMATE


def test_refused_scenes_say_every_reason(make_facts: MakeFacts) -> None:
    with pytest.raises(InvalidInput) as caught:
        classify(make_facts(refused=("Cloth is not baked.", "Smoke is not baked."), camera=False), settings())
    for part in ("Cloth", "Smoke", "camera"):
        assert part in caught.value.sentence


def test_scenes_blender_must_finish_itself(make_facts: MakeFacts) -> None:
    plan = classify(make_facts(final_only=("The sequencer is used.",)), settings())
    assert (plan.allowed.in_order, plan.output, plan.tileable) == (
        Exactness.BIT_EXACT,
        TaskOutput.FINAL,
        False,
    )
    assert "The sequencer is used." in plan.reason
    assert "whole" in plan.reason
    plan = classify(make_facts(final_only=("It is EEVEE.",), approximate=("EEVEE may differ.",)), settings())
    assert (plan.allowed.in_order, plan.output) == (Exactness.APPROXIMATE, TaskOutput.FINAL)
    assert "equal the file" not in plan.reason


def test_whole_frames_are_still_finished_here(make_facts: MakeFacts) -> None:
    guided = classify(make_facts(approximate=("Two runs of Blender differ.",)), settings())
    assert (guided.output, guided.allowed.in_order) == (TaskOutput.FINAL, Exactness.APPROXIMATE)
    assert "none could be audited" in guided.reason
    plan = classify(make_facts(whole_only=("Path guiding learns from the whole frame.",)), settings())
    assert (plan.output, plan.tileable) == (TaskOutput.LINEAR, False)
    assert "Path guiding" in plan.reason


def brute_force_reach(samples: int, least: int) -> int:
    """Filter steps that are followed by another sample."""
    return sum(1 for s in range(samples - 1) if s > least and (s & 15) == 15)


@given(samples=st.integers(1, 5000), least=st.integers(1, 1000))
def test_overscan_counts_filter_steps_that_matter(make_facts: MakeFacts, samples: int, least: int) -> None:
    facts = make_facts(adaptive=adaptive(min_samples=least))
    assert adaptive_reach(facts, settings(samples)) == brute_force_reach(samples, max(4, least))


@given(samples=st.integers(1, 5000), threshold=st.floats(0, 2))
def test_automatic_least_samples_are_never_taken_too_high(
    make_facts: MakeFacts, samples: int, threshold: float
) -> None:
    facts = make_facts(adaptive=adaptive(threshold))
    used = threshold if threshold > 0 else max(0.001, 1 / samples)
    cycles = max(4, -(-16 // max(used, 1e-6) ** 0.3)) if used <= 1 else 4
    reach = adaptive_reach(facts, settings(samples))
    assert brute_force_reach(samples, int(cycles)) <= reach <= brute_force_reach(samples, 4)


@pytest.mark.parametrize(
    ("samples", "threshold", "pixels"),
    [(8, 0.01, 0), (64, 0.01, 0), (80, 0.01, 0), (81, 0.01, 1), (256, 0.1, 13)],
)
def test_overscan_of_common_settings(
    make_facts: MakeFacts, samples: int, threshold: float, pixels: int
) -> None:
    plan = classify(make_facts(adaptive=adaptive(threshold)), settings(samples))
    assert (plan.overscan, plan.tileable, plan.allowed.in_order) == (pixels, True, Exactness.BIT_EXACT)
    assert ("wider" in plan.reason) == (pixels > 0)


def test_cycles_own_tiles_stop_the_adaptive_filter_too(make_facts: MakeFacts) -> None:
    big = {"resolution_x": 3840, "resolution_y": 2160}
    assert not classify(make_facts(**big, adaptive=adaptive()), settings(256)).tileable
    assert classify(make_facts(**big), settings(256)).tileable
    assert classify(make_facts(**big, adaptive=adaptive(), auto_tile=0), settings(256)).tileable
    assert classify(make_facts(**big, adaptive=adaptive()), settings(64)).tileable


@pytest.mark.parametrize(
    ("width", "height", "edge", "cut"),
    [
        (2560, 1440, 2048, False),
        (2048, 2048, 2048, False),
        (2049, 2048, 2048, True),
        (512, 512, 390, False),
        (513, 512, 390, True),
        (384, 384, 300, False),
        (385, 384, 300, True),
        (8193, 8, 8192, True),
    ],
)
def test_when_cycles_cuts_its_own_tiles(
    make_facts: MakeFacts, width: int, height: int, edge: int, cut: bool
) -> None:
    facts = make_facts(resolution_x=width, resolution_y=height, auto_tile=edge, adaptive=adaptive())
    plan = classify(facts, settings(256))
    assert plan.tileable is not cut
    assert plan.overscan == (0 if cut else 11)


def test_only_the_border_is_what_cycles_cuts(make_facts: MakeFacts) -> None:
    facts = make_facts(
        resolution_x=3840, resolution_y=2160, border=(0.0, 0.0, 0.5, 0.5), adaptive=adaptive(), auto_tile=2048
    )
    assert classify(facts, settings(256)).tileable


def test_multilayer_files_are_written_by_the_blender_that_renders(make_facts: MakeFacts) -> None:
    plan = classify(make_facts(), settings(file_format="OPEN_EXR_MULTILAYER"))
    assert (plan.output, plan.tileable, plan.allowed.in_order) == (
        TaskOutput.FINAL,
        False,
        Exactness.BIT_EXACT,
    )


def test_denoising_needs_a_number_of_samples_whose_sum_can_be_stored(make_facts: MakeFacts) -> None:
    odd = next(samples for samples in range(1, 4096) if not sum_is_stored(samples))
    plan = classify(make_facts(denoise=True), settings(odd))
    assert (plan.output, plan.tileable) == (TaskOutput.FINAL, False)
    assert str(odd) in plan.reason
    for facts in (make_facts(), make_facts(denoise=True, adaptive=adaptive())):
        assert classify(facts, settings(odd)).output is TaskOutput.LINEAR


@given(samples=st.integers(1, 1 << 24))
def test_a_stored_sum_is_one_over_samples_times_an_exposure(samples: int) -> None:
    single = numpy.float32
    nearby = [
        single(samples),
        numpy.nextafter(single(samples), single(0)),
        numpy.nextafter(single(samples), single(2**25)),
    ]
    scale = single(1 / samples)
    assert sum_is_stored(samples) == any(single(scale * exposure) == 1 for exposure in nearby)


def cloth(owner: str = "Flag", baked: bool = False, until: int = 1) -> Simulation:
    return Simulation(owner, "cloth", baked, until, "Physics > Cloth > Cache > Bake")


def test_a_simulation_stops_only_frames_that_need_its_bake(make_facts: MakeFacts) -> None:
    facts = make_facts(simulations=(cloth(until=10), cloth("Baked", baked=True)))
    assert classify(facts, settings(), (1, 10)).tileable
    for frames in ((1, 11), None):
        with pytest.raises(InvalidInput) as caught:
            classify(facts, settings(), frames)
        assert "'Flag' is not baked" in caught.value.sentence
        assert "Physics > Cloth > Cache > Bake" in caught.value.sentence
        assert "Baked'" not in caught.value.sentence


def test_many_unbaked_simulations_make_one_short_sentence(make_facts: MakeFacts) -> None:
    facts = make_facts(simulations=tuple(cloth(str(i) + "x" * 1000) for i in range(10_000)))
    with pytest.raises(InvalidInput) as caught:
        classify(facts, settings())
    assert "and more" in caught.value.sentence
    assert len(caught.value.sentence) < 4096
    assert caught.value.sentence.count("Physics") == 1


@pytest.mark.parametrize("lists", [{"drivers": ("box.location: sin(x)",)}, {"scripts": ("rig_ui.py",)}])
def test_equality_is_promised_with_scripts_off_only_where_there_are_some(
    make_facts: MakeFacts, lists: dict[str, tuple[str, ...]]
) -> None:
    assert "scripts off" in classify(make_facts(**lists), settings()).reason
    assert "scripts" not in classify(make_facts(), settings()).reason

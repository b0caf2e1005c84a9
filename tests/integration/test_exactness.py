# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames cut into tiles, stitched and finished equal one Blender process's, feature by feature.

This is the exactness contract without the network. The same through the whole farm is in tests/e2e.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.records import Exactness, TaskOutput
from tests.by_hand import Children, assert_equals_plain, children, job_of
from tests.reference import Plain, make_variants, render_plainly
from tests.variants.catalogue import ENTRIES, names
from tests.variants.ways import APPROXIMATE, FINAL, LINEAR, REFUSED, WHOLE

pytestmark = [pytest.mark.blender, pytest.mark.timeout(900)]
"""The first test waits for plain Blender to render all of them."""

EXPECTED = {
    LINEAR: (Exactness.BIT_EXACT, TaskOutput.LINEAR, True),
    WHOLE: (Exactness.BIT_EXACT, TaskOutput.LINEAR, False),
    FINAL: (Exactness.BIT_EXACT, TaskOutput.FINAL, False),
}

WRITTEN_AS = {"movie": "PNG"}
"""What the farm writes where the scene's own format is another."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Children]:
    with children() as both:
        yield both


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    make_variants(folder)
    return folder


@pytest.fixture(scope="module")
def plain(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What plain Blender writes: NAME/FRAME/ for each frame of each variant."""
    folder = tmp_path_factory.mktemp("plain")
    exact = (ENTRIES[name] for name in names(*EXPECTED))
    render_plainly(
        *(
            Plain(
                scenes / f"{one.name}.blend",
                folder / one.name,
                one.frames,
                format=WRITTEN_AS.get(one.name),
                apart=True,
            )
            for one in exact
        )
    )
    return folder


@pytest.mark.parametrize("name", names(*EXPECTED))
def test_the_farms_files_are_blenders_own(
    pair: Children, scenes: Path, plain: Path, tmp_path: Path, name: str
) -> None:
    entry = ENTRIES[name]
    job = job_of(pair, scenes / f"{name}.blend", entry.frames)
    plan = job.plan
    assert (plan.allowed.in_order, plan.output, plan.tileable) == EXPECTED[entry.way], plan.reason
    assert entry.said in plan.reason
    for frame in entry.frames:
        files = job.render(frame, tmp_path / str(frame))
        assert_equals_plain(files, tmp_path / str(frame), plain / name / str(frame))


def test_the_order_of_frames_and_settings_in_a_warm_child_does_not_matter(
    pair: Children, scenes: Path, plain: Path, tmp_path: Path
) -> None:
    """Between two renders of one scene the child does other scenes, other work and other samples."""
    for turn, name in enumerate(("denoised_float", "multilayer", "denoised_float", "motion_blur")):
        (frame,) = ENTRIES[name].frames
        files = job_of(pair, scenes / f"{name}.blend", (frame,)).render(frame, tmp_path / f"turn{turn}")
        assert_equals_plain(files, tmp_path / f"turn{turn}", plain / name / str(frame))


@pytest.mark.parametrize(
    ("name", "on_gpus"),
    [
        ("volume", Exactness.APPROXIMATE),
        ("volume_denoised", Exactness.APPROXIMATE),
        ("shadow_catcher", Exactness.APPROXIMATE),
        ("keyed_shadow_catcher", Exactness.APPROXIMATE),
        ("light_groups_and_aov", Exactness.FLOAT_EXACT),
    ],
)
def test_what_gpus_do_not_repeat_is_not_promised_on_them(
    pair: Children, scenes: Path, name: str, on_gpus: Exactness
) -> None:
    allowed = job_of(pair, scenes / f"{name}.blend", ENTRIES[name].frames).plan.allowed
    assert (allowed.in_order, allowed.any_order) == (Exactness.BIT_EXACT, on_gpus)


@pytest.mark.parametrize("name", names(APPROXIMATE))
def test_what_even_blender_does_not_repeat_is_promised_as_approximate(
    pair: Children, scenes: Path, tmp_path: Path, name: str
) -> None:
    entry = ENTRIES[name]
    job = job_of(pair, scenes / f"{name}.blend", entry.frames)
    assert (job.plan.allowed.in_order, job.plan.tileable) == (Exactness.APPROXIMATE, False)
    assert entry.said in job.plan.reason
    files = job.render(entry.frames[0], tmp_path / "frame")
    assert files[0].stat().st_size > 0


@pytest.mark.parametrize("name", names(REFUSED))
def test_what_would_come_out_wrong_is_refused_with_the_reason(
    pair: Children, scenes: Path, name: str
) -> None:
    entry = ENTRIES[name]
    with pytest.raises(InvalidInput) as refusal:
        job_of(pair, scenes / f"{name}.blend", entry.frames)
    assert entry.said
    assert entry.said in refusal.value.sentence


def test_what_is_set_to_gpu_and_done_on_the_cpu_is_said(pair: Children, scenes: Path) -> None:
    notes = " ".join(job_of(pair, scenes / "all_set_to_gpu.blend", (4,)).facts.notes)
    assert "Denoising is set to GPU; the farm denoises on the CPU" in notes
    assert "The compositor is set to GPU; the farm composites on the CPU" in notes
    assert "GPU" not in " ".join(job_of(pair, scenes / "denoised.blend", (4,)).facts.notes)


def test_the_catalogue_lists_what_is_made(scenes: Path) -> None:
    assert {path.stem for path in scenes.glob("*.blend")} == set(ENTRIES)

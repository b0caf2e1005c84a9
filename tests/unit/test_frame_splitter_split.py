# SPDX-License-Identifier: GPL-3.0-or-later
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import Adaptive, FileFormat, SceneFacts
from farm_protocol.fields import Tile, decode, encode
from farm_protocol.ids import JobId, SceneId
from farm_protocol.records import Demand, JobSpec, Task, TaskKind, TaskOutput
from frame_splitter.exactness import classify
from frame_splitter.formats import EXTENSIONS, extension, image_format
from frame_splitter.split import fingerprint, pin, split, validate

MakeFacts = Callable[..., SceneFacts]
JOB = JobId("job1")
SCENE = SceneId("a" * 64)


def wish(frames: tuple[int, ...] = (1,), **changes: Any) -> JobSpec:
    return JobSpec(SCENE, frames, **changes)


def tasks_of(spec: JobSpec, facts: SceneFacts) -> tuple[Task, ...]:
    settings = pin(spec, facts)
    return split(JOB, spec, facts, classify(facts, settings), settings)


def tiles_by_frame(tasks: tuple[Task, ...]) -> Counter[int]:
    return Counter(task.frame for task in tasks if task.kind is TaskKind.RENDER)


def test_settings_are_the_scenes_unless_asked_otherwise(make_facts: MakeFacts) -> None:
    facts = make_facts(samples=12, seed=7, resolution_percentage=50)
    own = pin(wish(), facts)
    assert (own.samples, own.seed, own.resolution_percentage, own.format) == (12, 7, 50, "PNG")
    asked = pin(wish(samples=3, seed=-1, resolution_percentage=25, format="exr"), facts)
    assert (asked.samples, asked.seed, asked.resolution_percentage, asked.format) == (3, -1, 25, "OPEN_EXR")


def test_movies_become_png_frames(make_facts: MakeFacts) -> None:
    movie = FileFormat("FFMPEG", "RGB", "8", ".mp4", True)
    settings = pin(wish(), make_facts(file=movie))
    assert settings.format == "PNG"
    assert extension(settings, make_facts(file=movie)) == ".png"
    assert pin(wish(format="ffmpeg"), make_facts()).format == "PNG"


@pytest.mark.parametrize(
    ("changes", "scene", "word"),
    [
        ({"frames": ()}, {}, "no frames"),
        ({"frames": (1, 2, 1)}, {}, "twice"),
        ({"frames": tuple(range(100_001))}, {}, "at most"),
        ({}, {"samples": 0}, "0 samples"),
        ({"samples": 0}, {}, "0 samples"),
        ({"resolution_percentage": 0}, {}, "percentage"),
        ({"resolution_percentage": 1}, {"resolution_x": 50}, "smallest percentage that works is 2 %"),
        ({"format": "GIF"}, {}, "GIF"),
        ({}, {"file": FileFormat("SVG", "RGB", "8", ".svg", False)}, "SVG"),
        ({"tiles": "0x4"}, {}, "no tiles"),
        ({}, {"seed": 1 << 40}, "seed"),
        ({}, {"border": (0.5, 0.5, 0.5, 0.5)}, "no pixel"),
    ],
)
def test_bad_wishes_are_refused_with_a_sentence(
    make_facts: MakeFacts, changes: dict[str, Any], scene: dict[str, Any], word: str
) -> None:
    spec = wish(changes.pop("frames", (1,)), **changes)
    for check in (validate, pin):
        with pytest.raises(InvalidInput, match=word):
            check(spec, make_facts(**scene))


def test_engines_without_samples_keep_their_own(make_facts: MakeFacts) -> None:
    assert pin(wish(), make_facts(engine="BLENDER_WORKBENCH", samples=0)).samples == 1


@pytest.mark.parametrize(
    ("name", "ending"),
    [("PNG", ".png"), ("jpg", ".jpg"), ("TIFF", ".tif"), ("exr", ".exr"), ("JPEG2000", ".jp2")],
)
def test_extensions_follow_blender(make_facts: MakeFacts, name: str, ending: str) -> None:
    facts = make_facts()
    assert extension(pin(wish(format=name), facts), facts) == ending


def test_the_scenes_own_jpeg2000_codec_names_the_file(make_facts: MakeFacts) -> None:
    facts = make_facts(file=FileFormat("JPEG2000", "RGB", "8", ".j2c", False))
    assert extension(pin(wish(), facts), facts) == ".j2c"


@pytest.mark.parametrize("name", EXTENSIONS)
def test_every_format_is_its_own_name(name: str) -> None:
    assert image_format(name.lower()) == name


def test_an_animation_is_split_into_frames_and_its_tail_into_tiles(make_facts: MakeFacts) -> None:
    tasks = tasks_of(wish(tuple(range(1, 12)), slots=4), make_facts())
    counts = tiles_by_frame(tasks)
    assert [counts[frame] for frame in range(1, 9)] == [1] * 8
    assert [counts[frame] for frame in (9, 10, 11)] == [4, 4, 4]


def test_a_still_is_cut_for_all_slots(make_facts: MakeFacts) -> None:
    for slots in (2, 3, 8, 50):
        count = tiles_by_frame(tasks_of(wish(slots=slots), make_facts()))[1]
        assert 2 * slots <= count <= 4 * slots
    assert tiles_by_frame(tasks_of(wish(slots=1), make_facts()))[1] == 1
    assert set(tiles_by_frame(tasks_of(wish(tuple(range(8)), slots=4), make_facts())).values()) == {1}


def test_dear_overscan_leaves_frames_whole_unless_tiles_are_asked_for(make_facts: MakeFacts) -> None:
    facts = make_facts(adaptive=Adaptive(True, 0.01, 0), samples=4096)
    assert tiles_by_frame(tasks_of(wish(slots=8), facts))[1] == 1
    asked = [task for task in tasks_of(wish(slots=8, tiles="4x2"), facts) if task.kind is TaskKind.RENDER]
    assert len(asked) == 8
    assert {task.overscan for task in asked} == {251}


def test_cheap_overscan_is_carried_by_tiles_only(make_facts: MakeFacts) -> None:
    facts = make_facts(adaptive=Adaptive(True, 0.01, 0), samples=128)
    tasks = [task for task in tasks_of(wish((1, 2, 3), slots=2), facts) if task.kind is TaskKind.RENDER]
    assert [task.overscan for task in tasks if task.frame < 3] == [0, 0]
    assert {task.overscan for task in tasks if task.frame == 3} == {3}
    assert len(tasks) > 3


def test_whole_only_scenes_ignore_a_grid(make_facts: MakeFacts) -> None:
    facts = make_facts(whole_only=("Because.",))
    tasks = tasks_of(wish((5, 6), tiles="4x4"), facts)
    assert [(task.id, task.kind) for task in tasks] == [
        ("job1.f5.t0", TaskKind.RENDER),
        ("job1.f5.finish", TaskKind.FINISH),
        ("job1.f6.t0", TaskKind.RENDER),
        ("job1.f6.finish", TaskKind.FINISH),
    ]


def test_final_scenes_have_no_finish(make_facts: MakeFacts) -> None:
    tasks = tasks_of(wish((5, -6)), make_facts(final_only=("Because.",)))
    assert [(task.id, task.output) for task in tasks] == [
        ("job1.f5.t0", TaskOutput.FINAL),
        ("job1.f-6.t0", TaskOutput.FINAL),
    ]


@pytest.mark.parametrize(("frames", "slots"), [(99_999, 100_000), (60_001, 60_002), (1, 100_000)])
def test_auto_never_asks_for_too_many_tasks(make_facts: MakeFacts, frames: int, slots: int) -> None:
    facts = make_facts(resolution_x=65_536, resolution_y=4096)
    tasks = tasks_of(wish(tuple(range(frames)), slots=slots), facts)
    assert len(tasks) >= 2 * frames


def test_a_job_is_bounded_in_tasks(make_facts: MakeFacts) -> None:
    with pytest.raises(InvalidInput, match="tasks"):
        tasks_of(wish(tuple(range(1000)), tiles="99x99"), make_facts())


@given(
    frames=st.lists(st.integers(-99, 99), min_size=1, max_size=12, unique=True),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    border=st.none() | st.just((0.25, 0.1, 0.9, 0.77)),
    slots=st.integers(1, 9),
    tiles=st.just("auto") | st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda g: f"{g[0]}x{g[1]}"),
    samples=st.integers(1, 300),
)
def test_each_frame_is_covered_once_in_order(
    make_facts: MakeFacts,
    frames: list[int],
    size: tuple[int, int],
    border: tuple[float, float, float, float] | None,
    slots: int,
    tiles: str,
    samples: int,
) -> None:
    facts = make_facts(
        resolution_x=size[0], resolution_y=size[1], border=border, adaptive=Adaptive(True, 0.1, 0)
    )
    spec = wish(tuple(frames), slots=slots, tiles=tiles, samples=samples)
    try:
        tasks = tasks_of(spec, facts)
    except InvalidInput:
        assert border is not None
        assert min(size) < 5
        return
    assert len({task.id for task in tasks}) == len(tasks)
    assert list(dict.fromkeys(task.frame for task in tasks)) == frames
    finish = [task for task in tasks if task.kind is TaskKind.FINISH]
    assert [task.frame for task in finish] == frames
    for last in finish:
        parts = [task.tile for task in tasks if task.frame == last.frame and task.kind is TaskKind.RENDER]
        assert covered(parts) == covered([last.tile])
    assert all(decode(encode(task), Task) == task for task in tasks)


def covered(tiles: list[Tile]) -> bytes:
    count = numpy.zeros((300, 300), numpy.uint8)
    for tile in tiles:
        count[tile.y0 : tile.y1, tile.x0 : tile.x1] += 1
    return count.tobytes()


def test_fingerprints_tell_work_apart_and_nothing_else() -> None:
    spec = wish((1, 2))
    same = replace(spec, name="again", slots=7, priority=1)
    assert fingerprint(same) == fingerprint(spec)
    changes: list[dict[str, Any]] = [
        {"scene": SceneId("b" * 64)},
        {"frames": (2, 1)},
        {"tiles": "2x2"},
        {"samples": 5},
        {"seed": 5},
        {"resolution_percentage": 5},
        {"format": "PNG"},
        {"exactness": Demand.BIT},
    ]
    prints = {fingerprint(replace(spec, **change)) for change in changes}
    assert len(prints | {fingerprint(spec)}) == len(changes) + 1
    assert {name for change in changes for name in change} | {"name", "slots", "priority"} == set(
        msgspec.to_builtins(spec)
    )
    assert len(fingerprint(spec)) == 64

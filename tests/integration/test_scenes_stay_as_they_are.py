# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering and finishing leave no trace in the scene: all properties, dumped before and after."""

import json
from typing import Any

import pytest

from tests.support.reference import make_variants, run
from tests.variants.catalogue import ENTRIES
from tests.variants.ways import FINAL, LINEAR

pytestmark = pytest.mark.blender

SCENES = (
    *(e.name for e in ENTRIES.values() if e.kind in {"graphs", "composited"} and e.way == LINEAR),
    *("output_odd_letters", "output_templates", "output_multilayer", "cryptomatte_of_one_layer"),
    *("denoised_float", "second_layers_custom_pass"),
)
FINAL_SCENES = tuple(
    e.name for e in ENTRIES.values() if e.kind in {"protected", "visible"} and e.way == FINAL
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("dumped")
    make_variants(folder, *SCENES, *FINAL_SCENES)
    work = [f"{folder}/{name}.blend,linear,final,finish" for name in SCENES]
    work += [f"{folder}/{name}.blend,final" for name in FINAL_SCENES]
    target = folder / "out" / "answer.json"
    target.parent.mkdir()
    run("support.dumped_scenes", str(target), *work)
    found: dict[str, dict[str, Any]] = json.loads(target.read_text())
    return found


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("way", ["linear", "final", "finish"])
def test_a_scene_that_is_cut_and_finished_stays_as_it_is(
    answers: dict[str, dict[str, Any]], name: str, way: str
) -> None:
    assert answers[name]["seen"] > 500
    assert answers[name][way] == []


@pytest.mark.parametrize("name", FINAL_SCENES)
def test_a_scene_that_animates_what_is_set_stays_as_it_is(
    answers: dict[str, dict[str, Any]], name: str
) -> None:
    assert answers[name]["final"] == []

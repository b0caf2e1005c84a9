# SPDX-License-Identifier: GPL-3.0-or-later
"""Every setting that the farm touches stays as it was set, whatever the scene animates."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.blender

SCRIPT = """
import json, sys
import bpy
from gpu_worker.blender.child import overrides as module
from gpu_worker.blender.child.overrides import TOUCHED, SetBack, of_layer, overrides

PLACES = {"RenderSettings": "render", "ImageFormatSettings": "render.image_settings", "SceneEEVEE": "eevee",
          "CyclesRenderSettings": "cycles", "CyclesRenderLayerSettings": None}


def scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = bpy.context.scene
    made.render.engine = "CYCLES"
    made.render.resolution_x = made.render.resolution_y = 8
    made.cycles.samples = 1
    made.camera = bpy.data.objects.new("c", bpy.data.cameras.new("c"))
    made.collection.objects.link(made.camera)
    overrides.forget()
    return made


def others(owner, name):
    value, prop = getattr(owner, name), owner.bl_rna.properties[name]
    if prop.type == "BOOLEAN":
        return not value
    if prop.type == "ENUM":
        return next((item.identifier for item in prop.enum_items if item.identifier != value), value)
    return value + 1


def tried(kind, name, way):
    made = scene()
    where = PLACES[kind] or of_layer(made.view_layers[0])
    owner = made.path_resolve(where)
    if not owner.bl_rna.properties[name].is_animatable:
        return "cannot be animated"
    path, wanted = f"{where}.{name}", getattr(owner, name)
    other = others(owner, name)
    setattr(owner, name, other)
    if way == "keyed":
        made.keyframe_insert(path, frame=1)
    else:
        number = owner.bl_rna.properties[name]
        value = number.enum_items[other].value if number.type == "ENUM" else float(other)
        made.driver_add(path).driver.expression = str(value)
    setattr(owner, name, wanted)
    if way == "unprotected":
        module._mute = lambda *a: []
    overrides.put(made, where, name, wanted)
    try:
        with overrides.watched() as judge:
            made.frame_set(1)
            bpy.ops.render.render()
            judge()
    except SetBack:
        return "set back"
    return "kept"


answers = {f"{kind}.{name}": [tried(kind, name, way) for way in ("keyed", "driven")]
           for kind, names in TOUCHED.items() for name in names}
noticed = tried("CyclesRenderSettings", "film_exposure", "unprotected")
json.dump([answers, noticed], open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], str]:
    answer = tmp_path_factory.mktemp("tried") / "answer.json"
    command = [sys.executable, "-c", SCRIPT, str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers, noticed = json.loads(Path(answer).read_text())
    return answers, noticed


def test_no_animation_sets_back_what_the_farm_sets(tried: tuple[dict[str, list[str]], str]) -> None:
    answers, _ = tried
    assert sum(found == ["kept", "kept"] for found in answers.values()) >= 10
    assert all(found in (["kept"] * 2, ["cannot be animated"] * 2) for found in answers.values()), answers


def test_what_is_set_back_all_the_same_is_noticed(tried: tuple[dict[str, list[str]], str]) -> None:
    assert tried[1] == "set back"

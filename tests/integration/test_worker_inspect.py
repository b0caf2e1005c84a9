# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpu-worker inspect` and `gpu-worker doctor`."""

import contextlib
import json
from itertools import pairwise
from pathlib import Path

import pytest

from farm_protocol.records import FailureCode
from gpu_worker import doctor
from gpu_worker import inspect as inspection
from gpu_worker.__main__ import main
from gpu_worker.blender.devices import Gpu
from gpu_worker.blender.protocol import Ready
from gpu_worker.failures import TaskError
from gpu_worker.farm.identity import load_identity
from gpu_worker.sandbox import bubblewrap
from gpu_worker.slot.kernels import KERNELS, KernelStore, Warmed, key_of

FAKE = Path(__file__).parents[1] / "fakes" / "fake_child.py"


@pytest.fixture
def scene(tmp_path):
    (tmp_path / "bundle" / "scenes").mkdir(parents=True)
    (tmp_path / "bundle" / "scenes" / "main.blend").write_text("{}")
    return tmp_path / "bundle" / "scenes" / "main.blend"


def inspect(*words):
    return main(["inspect", *map(str, words), "--child-program", str(FAKE)])


def test_the_facts_are_all_there_is_on_stdout(scene, capsys):
    assert inspect(scene) == 0
    assert json.loads(capsys.readouterr().out) == {"scene": "fake"}


def test_a_problem_is_a_sentence_and_a_failure(scene, capsys):
    scene.write_text('{"inspect": "scene_error"}')
    assert inspect(scene) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "gpu-worker: The scene has no camera. [31m\n")


def test_with_json_a_problem_is_json_too(scene, capsys):
    scene.write_text('{"inspect": "scene_error"}')
    assert inspect(scene, "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "code": "scene",
        "message": "The scene has no camera. [31m",
    }


def test_a_crash_is_a_sentence(scene, capsys):
    scene.write_text('{"inspect": "crash"}')
    assert inspect(scene) == 1
    assert "SIGSEGV" in capsys.readouterr().err


def test_what_is_not_there_is_named(scene, tmp_path, capsys):
    assert inspect(tmp_path / "gone.blend") == 1
    assert "There is no file" in capsys.readouterr().err
    assert inspect(scene, "--folder", tmp_path / "elsewhere") == 1
    assert "does not lie in" in capsys.readouterr().err


def shown(scene, folder, scratch):
    command = inspection._command(scene, folder, scratch, True, FAKE).wrap(["x"])
    return [path for option, path in pairwise(command) if "bind" in option]


@pytest.mark.skipif(bubblewrap.unavailable() is not None, reason=str(bubblewrap.unavailable()))
def test_blender_sees_the_bundle_and_nothing_beside_it(scene, tmp_path):
    command = shown(scene, scene.parents[1], tmp_path / "scratch")
    assert str(scene.parents[1]) in command
    assert str(tmp_path) not in command


@pytest.mark.skipif(bubblewrap.unavailable() is not None, reason=str(bubblewrap.unavailable()))
def test_a_scene_in_the_home_folder_is_shown_alone(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: scene.parent)
    command = shown(scene, scene.parent, tmp_path / "scratch")
    assert str(scene) in command
    assert str(scene.parent) not in command


def test_the_doctor_names_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "missing_libraries", lambda: ("libXi.so.6",))
    text, status = doctor.report(tmp_path)
    assert status == 1
    assert "missing: libXi.so.6" in text
    assert "sudo apt-get install -y libxi6" in text


def test_the_doctor_tells_what_this_machine_renders_on(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "missing_libraries", lambda: ())
    monkeypatch.setattr(doctor, "_try_blender", lambda: (Ready("5.0.1", "abc"), ""))
    gpus = [
        Gpu("NVIDIA L4", "550.54", 23 << 30, 22 << 30),
        Gpu("NVIDIA L4", "550.54"),
        Gpu("NVIDIA A10", "550.54"),
    ]
    monkeypatch.setattr(doctor, "nvidia_gpus", lambda: gpus)
    monkeypatch.setattr(bubblewrap, "unavailable", lambda: "bubblewrap is not installed.")
    text, status = doctor.report(tmp_path)
    assert status == 0
    assert "gpu:     NVIDIA L4, driver 550.54, 23.0 GiB, 22.0 GiB free\n" in text
    assert "gpu:     NVIDIA A10, driver 550.54, video memory not told\n" in text
    assert text.count("class:   optix:NVIDIA L4:driver-550.54:bpy-5.0.1-abc\n") == 1
    assert "kernels: none yet for NVIDIA A10: the node compiles them at its start" in text
    assert "only scenes of this node's own user are taken (bubblewrap is not installed.)" in text
    assert f"key:     made at the node's first start, in {tmp_path}" in text
    assert list(tmp_path.iterdir()) == []
    key = key_of("OPTIX", gpus[0], Ready("5.0.1", "abc"))
    KernelStore(tmp_path / KERNELS).get(key, lambda target: Warmed("NVIDIA L4", 63.0))
    assert "kernels: ready for NVIDIA L4, compiled in 63 s\n" in doctor.report(tmp_path)[0]
    made = load_identity(tmp_path)
    assert f"signs as {made.address}" in doctor.report(tmp_path)[0]
    (tmp_path / "node.key").chmod(0o644)
    text, status = doctor.report(tmp_path)
    assert status == 1
    assert "others may read or change it" in text


def test_the_doctor_asks_blender_for_gpus_of_other_vendors(monkeypatch, tmp_path):
    class Child:
        def device_name(self, device):
            if device.backend == "HIP":
                raise TaskError(FailureCode.DEVICE, "This Blender has no HIP support.")
            return "Intel Arc A770"

    monkeypatch.setattr(doctor, "missing_libraries", lambda: ())
    monkeypatch.setattr(doctor, "_try_blender", lambda: (Ready("5.0.1", "abc"), ""))
    monkeypatch.setattr(doctor, "_child", lambda: contextlib.nullcontext(Child()))
    monkeypatch.setattr(doctor, "nvidia_gpus", list)
    (tmp_path / "renderD128").touch()
    monkeypatch.setattr(doctor, "RENDER_NODES", f"{tmp_path}/renderD*")
    text, status = doctor.report(tmp_path / "state")
    assert status == 0
    assert "gpu:     Intel Arc A770, driver " in text
    assert "class:   oneapi:Intel Arc A770:driver-" in text


@pytest.mark.blender
def test_the_doctor_starts_the_real_blender():
    blender, problem = doctor._try_blender()
    assert problem == ""
    assert blender.blender.startswith("5.0.1")

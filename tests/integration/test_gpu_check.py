# SPDX-License-Identifier: GPL-3.0-or-later
"""The check for GPUs: all of it runs on a CPU, its figures are right, and no step takes others along."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "benchmarks" / "gpu_check.py"
STUBBORN = ROOT / "tests" / "fakes" / "stubborn_child.py"

sys.path.insert(0, str(ROOT))
try:
    from benchmarks import gpu_check, gpu_check_child, gpu_check_compare, gpu_check_machine
    from benchmarks.gpu_check import Run, Step
    from benchmarks.gpu_check_machine import NoGpu, cycles_sees, stand_ins
    from benchmarks.gpu_check_records import TABLES, Device, Row, Scene, Setup, from_json, markdown
finally:
    sys.path.remove(str(ROOT))
from frame_splitter.exr import Image, Part  # noqa: E402
from gpu_worker.slot import kernels  # noqa: E402

ORBIT = str(ROOT / "samples" / "orbit.blend")
SCENE = Scene("made up", "", 1, 32, 32, samples=64, seed=0)


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """Rows of a whole dry run by table, and where they were written."""
    output = tmp_path_factory.mktemp("gpu-check")
    line = [sys.executable, str(PROGRAM), "--dry", "--json", "--budget-s", "560", "--output", str(output)]
    done = subprocess.run(line, check=True, capture_output=True, text=True, timeout=590)
    rows = [Row(**plain) for plain in json.loads(done.stdout)]
    return {name: [row for row in rows if row.table == name] for name in TABLES}, output


@pytest.mark.blender
@pytest.mark.timeout(600)
class TestADryRun:
    def test_measures_everything(self, dry):
        tables, _ = dry
        assert [row.cells for row in tables["missing"]] == []
        assert [name for name, rows in tables.items() if not rows] == ["missing"]
        for rows in tables.values():
            for row in rows:
                assert row.cells.keys() == set(TABLES[row.table].columns), row

    def test_a_cpu_repeats_itself_bit_for_bit(self, dry):
        tables, _ = dry
        own = [row.cells for row in tables["apart"] if row.cells["render"] != "stand-in"]
        assert {"again in one process", "in a fresh process", "crops against the frame", "frame"} == {
            cells["how"] for cells in own
        }
        assert {cells["pixels apart"] for cells in own} == {0.0}
        for table, column in (("adaptive", "pixels flipped"), ("bytes", "one step"), ("bytes", "more")):
            assert all(row.cells[column] == 0 for row in tables[table] if row.cells["render"] == "CPU")
        mattes = [row.cells for row in tables["cryptomatte"] if row.cells["render"] == "CPU"]
        assert all(row["pixels with ranks swapped"] == row["largest weight apart"] == 0 for row in mattes)
        assert all(row.cells["pixels apart"] == 0 for row in tables["persistent"])

    def test_a_stand_in_never_repeats_itself(self, dry):
        tables, _ = dry
        rows = [row.cells for row in tables["apart"] if row.step.endswith(": stand-in")]
        stand_in = [cells for cells in rows if cells["against"] == "itself"]
        assert {cells["scene"] for cells in stand_in} >= {"orbit", "passes", "layers", "blur", "volume"}
        assert [cells for cells in stand_in if cells["pixels apart"] == 0] == []

    def test_no_audit_would_find_an_honest_device_different(self, dry):
        tables, _ = dry
        assert {row.cells["crops beyond"].split()[0] for row in tables["apart"] + tables["pair"]} == {"0"}
        assert {row.cells["unexplained"] for row in tables["adaptive"]} == {0.0}

    def test_adaptive_pixels_do_stop_at_other_counts(self, dry):
        tables, _ = dry
        assert {row.cells["samples"] for row in tables["adaptive"]} == {"16 to 48"}

    def test_all_figures_are_plausible(self, dry):
        tables, _ = dry
        for row in tables["kernels"]:
            assert row.cells["second render, s"] > 0
        for row in tables["speed"]:
            pixels = 64 * 32 * (1 if row.cells["device"] == "CPU" else 8) / 1e6
            assert row.cells["million samples/s"] == pytest.approx(pixels / row.cells["render, s"])
            assert row.cells["process memory, MB"] > 50
        assert tables["speed"][0].cells["against all cores"] == 1
        for row in tables["audit"]:
            assert row.cells["share"] == pytest.approx(row.cells["audit, s"] / row.cells["tile, s"])
        for row in tables["pair"]:
            alone, together = row.cells["alone, s a tile"], row.cells["two at once, s a tile"]
            assert row.cells["throughput"] == pytest.approx(2 * alone / together)
        assert all(0 < row.cells["without, s a tile"] < math.inf for row in tables["persistent"])

    def test_writes_the_rows_as_they_come(self, dry):
        tables, output = dry
        written = [from_json(line) for line in (output / "rows.jsonl").read_text().splitlines()]
        assert len(written) == sum(map(len, tables.values()))
        assert (output / "tables.md").read_text() == markdown(written) + "\n"


# --- one step and the others -----------------------------------------------------------------------------


def setup_with(folder, program):
    """A run with a stand-in whose child is `program`, and scenes that are named but not there."""
    setup = Setup(folder, False, stand_ins(str(program)))
    setup.save()
    names = ["orbit", "large orbit", "plain frame", "adaptive", "adaptive stage", "passes"]
    scenes = [{**vars(SCENE), "name": name} for name in names]
    (folder / "scenes.json").write_text(json.dumps(scenes))
    return setup


def run_steps(monkeypatch, tmp_path, groups, budget=240.0, ready=True):
    """What was not measured, by step, and all rows."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    setup = setup_with(folder, STUBBORN)
    if ready:
        (folder / "ready-stand-in").touch()
    monkeypatch.setenv("STUBBORN_PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr(gpu_check, "plan", lambda setup: groups)
    run = Run(setup, tmp_path / "output", budget)
    run.all()
    return {row.step: row.cells["why"] for row in run.rows if row.table == "missing"}, run.rows


def is_running(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_step_that_crashes_is_a_row_with_blenders_last_words(monkeypatch, tmp_path):
    groups = [
        [[Step("bytes", "stand-in", 60)], [Step("nonsense", "stand-in", 60)]],
        [[Step("machine", "stand-in", 60)]],
    ]
    found, rows = run_steps(monkeypatch, tmp_path, groups)
    words = "stand-in: Blender ended with status -6: the renderer fell over"
    assert found["bytes: stand-in"].startswith(words)
    assert found["nonsense: stand-in"] == "KeyError: 'nonsense'"
    assert "machine: stand-in" not in found
    assert Row("machine", {"what": "Blender", "found": "5.0.1 none"}, "machine: stand-in") in rows


def test_a_step_says_what_one_before_it_did_not_leave(monkeypatch, tmp_path):
    steps = [Step("cryptomatte", "stand-in", 60)]
    found, rows = run_steps(monkeypatch, tmp_path, [[steps]])
    assert found == {"cryptomatte: stand-in": "its pictures were not rendered"}
    assert markdown(rows).startswith("**Not measured**\n")
    (tmp_path / "scratch" / "scenes.json").unlink()
    run = Run(Setup.load(tmp_path / "scratch"), tmp_path / "output", 240)
    monkeypatch.setattr(gpu_check, "plan", lambda setup: [[[Step("speed", "CPU", 60)]]])
    run.all()
    assert [row.cells["why"] for row in run.rows] == ["its scenes were not made"]


def test_a_step_that_hangs_is_stopped_with_its_blender(monkeypatch, tmp_path):
    groups = [[[Step("speed", "stand-in", 5), Step("machine", "stand-in", 60)]]]
    monkeypatch.setenv("STUBBORN_HANGS", "1")
    found, rows = run_steps(monkeypatch, tmp_path, groups)
    assert found == {"speed: stand-in": "stopped after 5 s"}
    assert rows[-1].step == "machine: stand-in"
    assert not any(is_running(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_what_time_does_not_allow_is_named(monkeypatch, tmp_path):
    found, _ = run_steps(monkeypatch, tmp_path, [[[Step("speed", "stand-in", 60)]]], budget=1.0)
    assert found == {"speed: stand-in": "no time left"}


def test_a_gpu_without_kernels_is_left_alone(monkeypatch, tmp_path):
    found, _ = run_steps(monkeypatch, tmp_path, [[[Step("speed", "stand-in", 60)]]], ready=False)
    assert found == {"speed: stand-in": "the device's kernels were not ready"}


def drivers_program(monkeypatch, folder):
    """An nvidia-smi that knows one GPU, whose memory fills by 100 MB each time it is asked."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "  *memory.used*) echo x >> $0.asked; echo $(($(wc -l < $0.asked) * 100)) ;;\n"
        '  *) echo "NVIDIA H200, 570.10, 143771, 143000" ;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_a_gpu_is_told_with_driver_and_memory(monkeypatch, tmp_path):
    drivers_program(monkeypatch, tmp_path)
    _, rows = run_steps(monkeypatch, tmp_path, [[[Step("machine", "stand-in", 60)]]])
    assert "NVIDIA H200, driver 570.10, 143771 MB" in [row.cells["found"] for row in rows]


def test_the_most_memory_of_a_gpu_is_what_it_took_more(monkeypatch, tmp_path):
    drivers_program(monkeypatch, tmp_path)
    with gpu_check_child.device_memory(stand_ins("")[1]) as memory:
        wait_until(lambda: memory.taken >= 300)
    assert memory.before == 100


def test_memory_that_no_driver_tells_is_said_to_be_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with gpu_check_child.device_memory(stand_ins("")[1]) as memory:
        pass
    assert memory.taken == "not told"


def wait_until(true, seconds=60):
    """Look every 50 ms."""
    latest = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < latest
        time.sleep(0.05)


@pytest.mark.blender
def test_a_gpu_that_is_not_there_is_said_so_by_each_of_its_steps(monkeypatch, tmp_path):
    setup = Setup(tmp_path, False, (Device("CPU"), Device("CUDA", "CUDA")))
    setup.save()
    (tmp_path / "scenes.json").write_text(json.dumps([{**vars(SCENE), "name": "orbit", "blend": ORBIT}]))
    steps = [Step("kernels", "CUDA", 120), Step("repeats", "CUDA", 120)]
    monkeypatch.setattr(gpu_check, "plan", lambda setup: [[steps]])
    run = Run(setup, tmp_path / "output", 240)
    run.all()
    first, second = (row.cells["why"] for row in run.rows)
    assert "CUDA device 0 was asked for, but Cycles sees 0 of them." in first
    assert second == "the device's kernels were not ready"


@pytest.mark.blender
def test_without_a_gpu_nothing_starts(tmp_path):
    line = [sys.executable, str(PROGRAM), "--output", str(tmp_path / "output")]
    hidden = dict.fromkeys(("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"), "-1")
    hidden["ONEAPI_DEVICE_SELECTOR"] = "*:cpu"
    done = subprocess.run(
        line, env=os.environ | hidden, check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Blender sees no GPU here: check the driver (nvidia-smi, ")
    assert not (tmp_path / "output").exists()


def test_a_scene_that_is_not_there_is_refused(tmp_path):
    line = [sys.executable, str(PROGRAM), "--dry", "--output", str(tmp_path / "output")]
    line += ["--scenes", ORBIT, "nope.blend"]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("error: --scenes: there is no file nope.blend\n")
    assert not (tmp_path / "output").exists()


def test_a_back_end_that_falls_over_hides_no_other(monkeypatch):
    found = """print('FOUND {"CUDA": "NVIDIA H200"}'); """
    monkeypatch.setattr(gpu_check_machine, "FIND", found + "raise OSError('no such library') #%s")
    assert cycles_sees() == {"CUDA": "NVIDIA H200"}
    monkeypatch.setattr(gpu_check_machine, "FIND", "raise OSError('no such library') #%s")
    with pytest.raises(NoGpu, match="could not look for GPUs: OSError: no such library"):
        cycles_sees()


@pytest.mark.blender
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_stops_at_once_and_keeps_what_it_found(tmp_path, number, status):
    for name in ("scratch", "output"):
        (tmp_path / name).mkdir()
    line = [sys.executable, str(PROGRAM), "--dry", "--child", str(STUBBORN), "--output", "output"]
    hangs = {
        "STUBBORN_HANGS": "1",
        "STUBBORN_PIDS": str(tmp_path / "pids"),
        "TMPDIR": str(tmp_path / "scratch"),
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    check = subprocess.Popen(line, cwd=tmp_path, env=os.environ | hangs, **pipes)
    wait_until((tmp_path / "pids").exists, 120)
    family = psutil.Process(check.pid).children(recursive=True)
    steps = {f"{one[-4]}: {one[-3]}" for one in map(psutil.Process.cmdline, family) if "--step" in one}
    for _ in range(3):
        os.killpg(check.pid, number)
    shown, said = check.communicate(timeout=60)
    assert check.returncode == status
    assert said.endswith("\nStopped.\n")
    assert "Traceback" not in said
    assert shown.startswith("**The machine**")
    assert (tmp_path / "output" / "tables.md").read_text() == shown
    written = (tmp_path / "output" / "rows.jsonl").read_text().splitlines()
    missing = {row.step for row in map(from_json, written) if row.table == "missing"}
    assert "kernels: stand-in" in missing <= steps
    assert not any(is_running(process.pid) for process in family)
    assert not list((tmp_path / "scratch").iterdir())


# --- the figures ------------------------------------------------------------------------------------------


def picture(seed=1, counts=None):
    """Two passes of 32 x 32 random pixels, and one that a first sample writes."""
    rng = numpy.random.default_rng(seed)
    names = [*(f"L.Combined.{colour}" for colour in "RGB"), "L.Depth.V"]
    channels = {name: rng.random((32, 32), dtype=numpy.float32) + 1 for name in names}
    if counts is not None:
        channels["L.Debug Sample Count.X"] = numpy.asarray(counts, numpy.float32)
    return Image(32, 32, (Part("", channels, {}),))


def changed(image, change, *names):
    part = image.parts[0]
    channels = {name: change(px) if name in names else px for name, px in part.channels.items()}
    return replace(image, parts=(replace(part, channels=channels),))


def one_unit(pixels):
    """A single value moved by one last bit."""
    moved = pixels.copy()
    moved[3, 4] = numpy.nextafter(moved[3, 4], numpy.float32(9))
    return moved


def test_a_last_bit_is_found_and_explained():
    honest = picture()
    found = gpu_check_compare.figures(changed(honest, one_unit, "L.Combined.G"), honest, SCENE)
    assert found.different == 1 / 1024
    assert (found.blocks, found.beyond) == (4, 0)
    assert 0 < found.passes["L.Combined"].ratio < 0.01
    assert found.passes["L.Depth"].different == 0


def test_a_last_bit_of_a_pass_that_is_no_sum_is_beyond():
    honest = picture()
    found = gpu_check_compare.figures(changed(honest, one_unit, "L.Depth.V"), honest, SCENE)
    assert found.passes["L.Depth"].ratio == math.inf
    assert found.beyond == 1


def test_flipped_pixels_are_counted_in_filter_steps():
    scene = replace(SCENE, threshold=0.1)
    counts = numpy.full((32, 32), 64.0)
    fewer = counts.copy()
    fewer[5:7, 5:8] = 32
    one, other = ((picture(counts=each / 64), {"L": 64}) for each in (counts, fewer))
    found = gpu_check_compare.flips(one, other, scene)
    assert (found.share, found.steps, found.cluster) == (6 / 1024, 2.0, 6)
    assert (found.fewest, found.most) == (64, 64)
    assert found.largest == found.unexplained == 0


def matte(names, shares):
    """One cryptomatte of four ranks in every pixel of 2 x 2."""
    pixels = iter(zip(names, shares, strict=True))
    channels = {}
    for number in ("00", "01"):
        for pair in ("rg", "ba"):
            for letter, value in zip(pair, next(pixels), strict=True):
                channels[f"L.CryptoObject{number}.{letter}"] = numpy.full((2, 2), value, numpy.float32)
    return Image(2, 2, (Part("", channels, {}),))


def test_swapped_ranks_are_told_from_other_names():
    one = matte((1.5, 2.5, 0, 0), (0.5, 0.5, 0, 0))
    swapped = matte((2.5, 1.5, 0, 0), (0.5, 0.4375, 0, 0))
    assert gpu_check_compare.mattes(one, swapped) == gpu_check_compare.Mattes(1.0, 0.0, 0.0625)
    other = matte((1.5, 3.5, 0, 0), (0.5, 0.5, 0, 0))
    assert gpu_check_compare.mattes(one, other) == gpu_check_compare.Mattes(0.0, 1.0, 0.0)


def test_bytes_are_compared_by_steps(tmp_path):
    header = bytearray(18)
    header[2], header[12], header[14], header[16] = 2, 2, 2, 24
    for name, values in (("one", [7] * 12), ("other", [7] * 9 + [8, 6, 0])):
        (tmp_path / name).write_bytes(bytes(header) + bytes(values))
    assert gpu_check_compare.byte_steps(tmp_path / "one", tmp_path / "other") == (2 / 12, 1 / 12, 7)


def test_kernels_are_kept_where_nodes_keep_them(tmp_path):
    assert gpu_check_child.kernel_caches(tmp_path) == kernels.variables(tmp_path, tmp_path)


NARROW = """
import runpy, sys
allowed = {"benchmarks", "farm_protocol", "frame_splitter", "gpu_worker", "verification", "numpy", "OpenEXR"}
class Narrow:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Narrow())
sys.argv = ["gpu_check.py", "--step", "between", "CPU", "--folder", sys.argv[1]]
runpy.run_path(%r, run_name="__main__")
"""


def test_it_needs_nothing_but_blender_numpy_and_openexr(tmp_path):
    Setup(tmp_path, True, stand_ins("")).save()
    line = [sys.executable, "-c", NARROW % str(PROGRAM), str(tmp_path)]
    # Standard input stays open until it has ended: a step whose parent is gone ends itself.
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(line, start_new_session=True, text=True, **pipes) as step:
        said = step.stdout.read()
        assert step.wait(120) == 0, said


def test_a_step_whose_parent_is_gone_ends_itself_and_nobody_else(tmp_path):
    Setup(tmp_path, True, stand_ins("")).save()
    command = [sys.executable, str(PROGRAM), "--step", "between", "CPU", "--folder", str(tmp_path)]
    program = f"import subprocess; print(subprocess.run({command!r}, stdin=subprocess.DEVNULL).returncode)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert done.stdout.splitlines()[-1] in ("0", "-9"), done.stderr

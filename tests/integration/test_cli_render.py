# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands against a whole embedded farm: rendered, resumed, cancelled, found again."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from farm_protocol.ids import JobId
from render_farm.client import FarmClient
from render_farm.embedded.state import Folder

MAKER = Path(__file__).parent.parent / "fakes" / "tiny_scene.py"
SECONDS = 120.0


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `quick.blend` (2 samples) and `long.blend` (seconds a frame)."""
    folder = tmp_path_factory.mktemp("scenes")
    for name, samples in (("quick", 2), ("long", 30_000)):
        line = [sys.executable, str(MAKER), str(folder / f"{name}.blend"), str(samples)]
        subprocess.run(line, check=True, capture_output=True, timeout=120)
    return folder


def command(*words: str | Path) -> list[str]:
    own = ["--trust-file"] if words[0] in {"doctor", "quote", "render"} or words[1:2] == ("submit",) else []
    return [sys.executable, "-m", "render_farm", *map(str, words), *own]


def answer(*words: str | Path, cwd: Path, code: int = 0) -> dict[str, Any]:
    """Run a command with --json; stdout must be one object."""
    done = subprocess.run(
        [*command(*words), "--json"], capture_output=True, text=True, check=False, cwd=cwd, timeout=SECONDS
    )
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@contextlib.contextmanager
def farm(folder: Path, *words: str) -> Iterator[FarmClient]:
    """A farm that is up on the folder."""
    line = command("up", "--no-money", "--json", "--state-dir", folder, *words)
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            said = process.stdout.readline()
            assert said, process.stderr.read()
            up = json.loads(said)
            with FarmClient(up["url"], up["token"], patience=30) as client:
                yield client
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, FarmClient]]:
    """A farm with a node of one slot, and its folder."""
    folder = tmp_path_factory.mktemp("farm")
    with farm(folder, "--slots", "1") as client:
        yield folder, client


@pytest.mark.farm
def test_a_scene_comes_back_as_frames(working: tuple[Path, FarmClient], scenes: Path, tmp_path: Path) -> None:
    folder, _ = working
    line = ("render", scenes / "quick.blend", "--frames", "1,3", "--state-dir", folder)
    result = answer(*line, cwd=tmp_path)
    assert [frame["frame"] for frame in result["frames"]] == [1, 3]
    paths = [tmp_path / "quick-frames" / f"000{number}.png" for number in (1, 3)]
    assert [frame["path"] for frame in result["frames"]] == [str(path) for path in paths]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert {frame["exactness"] for frame in result["frames"]} == {"bit-exact"}
    assert 0 < result["efficiency"] <= 1
    assert result["wall_seconds"] > 0
    receipts = [tmp_path / "quick-frames" / f"000{number}.png.receipt.json" for number in (1, 3)]
    assert [frame["receipt"] for frame in result["frames"]] == [str(path) for path in receipts]
    assert result["doubts"] == []
    for path in receipts:
        checked = answer("receipt", "verify", path, cwd=tmp_path)
        assert checked["beside"] == {"path": str(path).removesuffix(".receipt.json"), "matches": True}
    assert answer("audit", "replay", result["job"], "--state-dir", folder, cwd=tmp_path)["followed"]
    listed = answer("audit", "list", result["job"], "--state-dir", folder, cwd=tmp_path)["submissions"]
    assert {one["frame"] for one in listed} == {1, 3}
    assert result["audits"]["audited"] == sum(one["audited"] for one in listed)
    # The same command finds them, fetches what is gone, and renders them anew where it is told to.
    kept, gone = paths
    written = kept.stat().st_mtime_ns
    gone.unlink()
    found = answer(*line, cwd=tmp_path)
    assert found["job"] == result["job"]
    assert (kept.stat().st_mtime_ns, gone.exists()) == (written, True)
    again = answer(*line, "--again", cwd=tmp_path)
    assert again["job"] != result["job"]
    jobs = answer("job", "list", "--state-dir", folder, cwd=tmp_path)["jobs"]
    assert {result["job"], again["job"]} <= {job["job"] for job in jobs}


@pytest.mark.farm
def test_a_submitted_job_is_watched_and_downloaded(
    working: tuple[Path, FarmClient], scenes: Path, tmp_path: Path
) -> None:
    folder, client = working
    line = ("job", "submit", scenes / "quick.blend", "--frames", "2", "--tiles", "2x1", "--state-dir", folder)
    job = answer(*line, cwd=tmp_path)["job"]
    assert [event.kind for event in client.events(JobId(job))][-1] == "job"
    shown = answer("job", "show", job, "--state-dir", folder, cwd=tmp_path)
    assert shown["job"]["state"] == "complete"
    assert shown["frames"][0]["tiles"] == 2
    fetched = answer("job", "download", job, "--output", "got/#", "--state-dir", folder, cwd=tmp_path)
    path = str(tmp_path / "got" / "2.png")
    receipt = f"{path}.receipt.json"
    assert fetched["frames"] == [{"frame": 2, "path": path, "other_files": [], "receipt": receipt}]
    assert (fetched["remaining"], fetched["doubts"]) == ([], [])
    assert (tmp_path / "got" / "2.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.farm
def test_ctrl_c_leaves_the_job_to_a_farm_that_stays(
    working: tuple[Path, FarmClient], scenes: Path, tmp_path: Path
) -> None:
    folder, client = working
    line = command("render", scenes / "long.blend", "--frames", "1-2", "--json", "--state-dir", folder)
    with interrupted(line, tmp_path, "Job ") as (process, said):
        assert process.wait(SECONDS) == 130
        assert "the farm goes on" in said()
    (job,) = [one for one in client.jobs(unfinished=True) if one.name == "long"]
    assert job.state == "rendering"
    # The same command joins it; ended from elsewhere, it says so.
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as watching:
        assert watching.stderr is not None
        assert until_said(watching, f"Job {job.job} was not finished")
        client.cancel(job.job)
        out, _ = watching.communicate(timeout=SECONDS)
        assert watching.returncode == 1
        assert json.loads(out)["error"] == "job_cancelled"


@contextlib.contextmanager
def interrupted(line: list[str], cwd: Path, after: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A command that gets Ctrl-C once it has said `after`; the second value tells what it said last."""
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd
    ) as process:
        assert process.stderr is not None
        assert until_said(process, after)
        process.send_signal(signal.SIGINT)
        yield process, process.stderr.read


def until_said(process: subprocess.Popen[str], words: str) -> bool:
    """Read its stderr up to the line with these words; False when it ends without."""
    assert process.stderr is not None
    return any(words in line for line in process.stderr)


@pytest.mark.farm
def test_ctrl_c_and_the_same_command_again(scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "farm"
    given = ("--frames", "1-8", "--slots", "1", "--state-dir", folder, "--json")
    line = command("render", scenes / "quick.blend", *given)
    with interrupted(line, tmp_path, "Frame ") as (process, said):
        assert process.wait(SECONDS) == 130
        assert "The same command goes on with it" in said()
    assert leftovers(folder) == []
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "quick-frames").glob("*.png")}
    assert done
    result = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=SECONDS)
    answered = json.loads(result.stdout)
    assert len(answered["frames"]) == 8
    for ending in ("png", "receipt.json"):
        assert len(list((tmp_path / "quick-frames").glob(f"*.{ending}"))) == 8
    assert {name: (tmp_path / "quick-frames" / name).stat().st_mtime_ns for name in done} == done
    with farm(folder, "--no-node") as client:
        before = {f".f{int(name[:4])}." for name in done}
        tasks = client.tasks(JobId(answered["job"]))
        again = [t.task.id for t in tasks if t.attempts != 1 and any(frame in t.task.id for frame in before)]
        assert len(tasks) == 16
        assert again == [], "finished frames were rendered twice"
    assert leftovers(folder) == []


def leftovers(folder: Path) -> list[str]:
    """Processes that still belong to the farm on the folder."""
    assert not Folder(folder).in_use()
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


@pytest.mark.blender
def test_without_a_machine_the_job_waits_and_can_be_cancelled(scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "farm"
    with farm(folder, "--no-node") as client:
        line = command("render", scenes / "quick.blend", "--state-dir", folder)
        with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            assert process.stderr is not None
            assert until_said(process, "No machine of the farm is online")
            assert until_said(process, "Job ")
            (job,) = client.jobs()
            # The coordinator dies under it and comes back: the command goes on watching.
            running = Folder(folder).announced()
            assert running is not None
            psutil.Process(running.parts["coordinator"].pid).kill()
            assert client.cancel(job.job).state == "cancelled"
            assert "The job was cancelled" in process.stderr.read()
            assert process.wait(SECONDS) == 1


@pytest.mark.farm
def test_a_farm_that_stops_under_a_command_is_replaced(scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "farm"
    line = command("render", scenes / "quick.blend", "--frames", "1", "--slots", "1", "--state-dir", folder)
    with contextlib.ExitStack() as first:
        first.enter_context(farm(folder, "--no-node"))
        with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            assert process.stderr is not None
            assert until_said(process, "No machine of the farm is online")
            assert until_said(process, "Job ")
            first.close()
            assert until_said(process, "going on with one of its own")
            assert until_said(process, "was not finished")
            process.stderr.read()
            assert process.wait(SECONDS) == 0
    assert (tmp_path / "quick-frames" / "0001.png").exists()
    assert leftovers(folder) == []

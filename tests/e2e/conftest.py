# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole farm for tests: every part is real, everything goes through the commands a user types."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FARM = (sys.executable, "-m", "render_farm")
READY_SECONDS = 120
COMMAND_SECONDS = 800

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / "samples"
SHARED_SCENES = REPOSITORY.parent / "shared" / "scenes"


@dataclass(frozen=True)
class LiveFarm:
    """A farm that runs on a state folder, and commands that find it there."""

    state: Path

    def command(self, *words: object, **options: Any) -> "subprocess.Popen[str]":
        """Start a command of the user's."""
        return subprocess.Popen(
            [*FARM, *map(str, words), "--state-dir", str(self.state)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def json(self, *words: object) -> dict[str, Any]:
        """What a command prints with --json."""
        process = self.command(*words, "--json")
        out, errors = process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode == 0, f"{words}: {process.returncode}\n{out}\n{errors}\n{self.logs()}"
        answer: dict[str, Any] = json.loads(out)
        return answer

    def render(self, scene: Path, folder: Path, *options: object) -> dict[str, Any]:
        """`render-farm render` into FOLDER/####."""
        return self.json("render", scene, "--trust-file", "--output", folder / "####", *options)

    def parts(self) -> dict[str, int]:
        """Process ids by part, as the farm announces them."""
        announced = json.loads((self.state / "farm.json").read_text())
        return {name: part["pid"] for name, part in announced["parts"].items()}

    def logs(self) -> str:
        """The ends of the parts' logs, for a failure's report."""
        paths = sorted((self.state / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in paths)


@contextmanager
def running(state: Path, *options: object) -> Iterator[LiveFarm]:
    """`render-farm up`, stopped as Ctrl-C stops it."""
    farm = LiveFarm(state)
    process = farm.command("up", "--no-money", *options, "--json")
    try:
        assert process.stdout
        ready = process.stdout.readline()
        assert ready, f"The farm did not start.\n{farm.logs()}"
        yield farm
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFarm]:
    """One farm with two one-thread slots, shared by all tests that do not kill it."""
    with running(tmp_path_factory.mktemp("farm"), "--slots", 2) as farm:
        yield farm


@pytest.fixture
def shared_scenes() -> Path:
    """Scenes nobody of this project made; they are not part of it."""
    if not SHARED_SCENES.is_dir():
        pytest.skip("the folder shared/scenes is not beside this checkout")
    return SHARED_SCENES

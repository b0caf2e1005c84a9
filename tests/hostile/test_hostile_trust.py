# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the artist's machine has no sandbox, no .blend is opened on it unasked, and it is said why."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_worker.inspect import NoSandbox, inspect_scene
from render_farm.cli.agreements import Agreements
from render_farm.cli.consent import Trust, Untrusted
from render_farm.cli.display.console import Console
from tests import reference
from tests.fakes.scripted_server import Answer, scripted
from tests.plain_files import put
from tests.token_files import token_file

pytestmark = pytest.mark.blender

FAKE = Path(__file__).parents[1] / "fakes" / "fake_child.py"
SECONDS = 120
SHA = "5" * 64


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real .blend."""
    folder = tmp_path_factory.mktemp("received")
    reference.run("fakes.tiny_scene", str(folder / "scene.blend"), "1")
    return folder / "scene.blend"


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without bubblewrap."""
    (tmp_path / "bin").mkdir()
    return {**os.environ, "PATH": str(tmp_path / "bin")}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "render_farm", *map(str, words)]


def asked(line: list[str], environment: dict[str, str], answer: str) -> tuple[int, str]:
    """The exit code of a command at a terminal where somebody gives this answer, and all that was said."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        line, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        said, answered = b"", False
        for part in _lines(ours):
            said += part
            if not answered and b"[N]o:" in said:
                os.write(ours, f"{answer}\n".encode())
                answered = True
        out, _ = process.communicate(timeout=SECONDS)
    os.close(ours)
    return process.returncode, (said + out).decode()


def _lines(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(terminal, 4096)
        except OSError:  # nobody has the terminal's other end
            return


# --- the inspector ----------------------------------------------------------------------------------------


def test_the_inspector_opens_nothing_without_a_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_worker.sandbox.unavailable", lambda: "bubblewrap is not installed.")
    blend = put(tmp_path / "scene.blend", b"{}")
    with pytest.raises(NoSandbox, match="bubblewrap is not installed"):
        inspect_scene(blend, None, True, FAKE)
    assert json.loads(inspect_scene(blend, None, False, FAKE)) == {"scene": "fake"}


# --- in scripts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("doctor",), ("job", "submit"), ("quote",)])
def test_no_script_opens_a_file_unsandboxed_unasked(
    scene: Path, tmp_path: Path, keys: Path, bare: dict[str, str], words: tuple[str, ...]
) -> None:
    """It is refused with the apt line and the option, and the farm hears nothing of the scene."""
    well = b'{"status": "ok", "version": "1", "store": true, "objects": true}'
    with scripted(lambda one: Answer(body=well if one.path.endswith("/health") else b"{}")) as server:
        line = command(*words, scene, "--json", "--state-dir", tmp_path / "state")
        line += ["--coordinator", server.url, "--token-file", token_file(keys, "t")]
        done = subprocess.run(line, env=bare, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert not server.to("/v1/scenes")
        assert not [one for one in server.asked if one.method != "GET"]
    told = json.loads(done.stdout)
    assert (done.returncode, told["error"]) == (1, "untrusted")
    assert "sudo apt-get install bubblewrap" in told["message"]
    assert "--trust-file" in told["message"]
    assert "There is no sandbox on this machine" in done.stderr
    assert not list(tmp_path.rglob("agreed.json"))


def test_trust_file_agrees_and_it_is_said_that_there_is_no_sandbox(
    scene: Path, tmp_path: Path, bare: dict[str, str]
) -> None:
    line = command("doctor", scene, "--trust-file", "--json", "--state-dir", tmp_path / "state")
    done = subprocess.run(line, env=bare, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert json.loads(done.stdout)["renders"], done.stderr
    assert "There is no sandbox on this machine: bubblewrap is not installed." in done.stderr
    assert not list(tmp_path.rglob("agreed.json")), "an option agrees once"


# --- on a terminal ----------------------------------------------------------------------------------------


def test_a_terminal_is_asked_and_its_answer_remembered(
    scene: Path, tmp_path: Path, bare: dict[str, str]
) -> None:
    scene = put(tmp_path / "received" / "scene.blend", scene.read_bytes())
    line = command("doctor", scene, "--state-dir", tmp_path / "state")
    code, said = asked(line, bare, "n")
    assert code == 1
    assert "There is no sandbox on this machine" in said
    assert f"{scene} would be opened without one" in said
    code, said = asked(line, bare, "y")
    assert code == 0, said
    assert (tmp_path / "state" / "agreed.json").stat().st_mode & 0o777 == 0o600
    done = subprocess.run(line, env=bare, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    # The same name with other contents is another file.
    scene.write_bytes(scene.read_bytes() + b"\0")
    done = subprocess.run(line, env=bare, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 1


class Somebody(Console):
    """A terminal that gives one answer."""

    def __init__(self, answer: str) -> None:
        super().__init__(as_json=False)
        self.answer = answer

    has_somebody = True  # type: ignore[assignment]

    def say(self, sentence: str) -> None:
        pass

    def ask(self, told: object, question: str) -> str:
        return self.answer


@pytest.mark.parametrize("answer", ["", "n", "no", "yep", "\x04"])
def test_whatever_is_no_yes_is_a_no(tmp_path: Path, answer: str) -> None:
    agreements = Agreements(tmp_path / "state", tmp_path / "work")
    trust = Trust(Somebody(answer), agreements, trusted=False)
    with pytest.raises(Untrusted):
        trust({tmp_path / "work" / "a.blend": SHA}, "none")
    assert not (tmp_path / "state").exists()


def test_a_folder_may_be_agreed_to_and_a_library_elsewhere_is_asked_for(tmp_path: Path) -> None:
    """All that is opened counts: a known scene may link a stranger's library."""
    agreements, work = Agreements(tmp_path / "state", tmp_path / "work"), tmp_path / "work"
    Trust(Somebody("f"), agreements, trusted=False)({work / "a.blend": SHA}, "none")
    nobody = Trust(Console(as_json=True), agreements, trusted=False)
    nobody({work / "b.blend": "6" * 64}, "none")
    nobody({work / "deep" / "c.blend": "7" * 64}, "none")
    with pytest.raises(Untrusted, match=r"received/lib\.blend would be opened"):
        nobody({work / "b.blend": "6" * 64, tmp_path / "received" / "lib.blend": "8" * 64}, "none")
    work.mkdir()
    (work / "link.blend").symlink_to(put(tmp_path / "received" / "lib.blend"))
    with pytest.raises(Untrusted):
        nobody({work / "link.blend": "8" * 64}, "none")

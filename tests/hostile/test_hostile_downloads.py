# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile farm, or code in a Blender child, names the files that come back: only pictures come, below the
frame's folder, and never over a file that was there.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm_protocol.errors import FarmError, InvalidInput
from render_farm.cli import fetching
from render_farm.cli.following import Outcome, follow
from render_farm.cli.outputs import Targets, targets
from render_farm.cli.program import run
from render_farm.cli.written import NAME, Written
from tests.fakes.scripted_server import Answer, Asked, Scripted, scripted
from tests.plain_files import PNG, put
from tests.token_files import token_file
from tests.unit.test_cli_following import Coordinator, farm, started

WELL = b'{"status": "ok", "version": "1", "store": true, "objects": true}'
EVIL = b"#!/bin/sh\ntouch pwned\n"
Render = Callable[..., tuple[Outcome, Scripted]]

NAMES = (
    ".bashrc",
    ".envrc",
    ".git/config",
    ".git/hooks/post-checkout",
    "Makefile",
    "GNUmakefile",
    "conftest.py",
    "frame.py",
    "package.json",
    "shot.blend",
    "cover.png",
    "bin/cover.png",
    "masks/m0001.exr",
    "outputs",
    "outputs/Makefile",
    "outputs/.envrc",
    "outputs/.hidden.png",
    "outputs/.git/logo.png",
    "outputs/run.sh",
    "outputs/run.png.sh",
    "outputs/notes",
    "outputs/x.png.",
    "outputs/x.png\n",
    "outputs/../cover.png",
    "outputs-above/../../cover.png",
    "outputs-other/x.png",
    "/etc/cron.d/x.png",
    "C:/x.png",
    "0001.png.receipt.json",
    "outputs/0001.png.receipt.json",
    "frame0001.sh",
    "frame0001.envrc",
    "frame0001_L.sh",
    "frame0001",
    "frame0001/../x.png",
)
"""What a farm may call a frame's second file; none of these is written."""

HONEST = {
    "outputs/masks/m0001.exr": "outputs/masks/m0001.exr",
    "outputs-above/1/m0001.png": "outputs-above/1/m0001.png",
    "outputs-absolute/C%3A/m.JPG": "outputs-absolute/C%3A/m.JPG",
    "frame0001_R.png": "0001_R.png",
    "frame0001_R.jpg": "0001_R.jpg",
}
"""What Blender makes a node write, and where it goes."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a project of code in it, where somebody renders `--output '####'`."""
    folder = tmp_path / "home"
    for name in ("Makefile", ".bashrc", ".envrc", ".git/config", "cover.png", "bin/cover.png", "conftest.py"):
        put(folder / name, b"mine")
    monkeypatch.chdir(folder)
    return folder


def goals(state: Path | None = None, extension: str = ".png") -> Targets:
    return targets("####", "", (1, 2), extension, (), written=Written(state))


def render(names: dict[str, bytes], where: Targets, main: bytes = b"picture") -> tuple[Outcome, Scripted]:
    """Follow a job of two frames whose first has these other files."""
    coordinator = Coordinator()
    with farm(coordinator) as (client, server):
        others = [coordinator.file(name, data) for name, data in names.items()]
        coordinator.frame(1, coordinator.file("frame0001.png", main), *others)
        coordinator.frame(2, coordinator.file("frame0002.png", main))
        return follow(client, started(), where, lambda _: None), server


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_no_name_of_a_farms_choice_is_written(home: Path) -> None:
    before = tree(home)
    outcome, server = render(dict.fromkeys(NAMES, EVIL), goals())
    assert tree(home) == before | {"0001.png": b"picture", "0002.png": b"picture"}
    assert outcome.frames[1].others == ()
    assert len(outcome.frames[1].refused) == len(NAMES)
    assert len({asked.path for asked in server.to("/file/")}) == 1, "not even fetched"


@pytest.mark.parametrize("name", NAMES)
def test_nor_where_the_scenes_frames_have_no_ending(home: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        goals(extension="").other(1, name)


def test_what_blender_writes_comes(home: Path) -> None:
    before = tree(home)
    outcome, _ = render({name: name.encode() for name in HONEST}, goals())
    assert outcome.frames[1].refused == ()
    came = {there: name.encode() for name, there in HONEST.items()}
    assert tree(home) == before | {"0001.png": b"picture", "0002.png": b"picture"} | came
    bare = goals(extension="")
    assert bare.other(1, "outputs/mask0001") == home / "outputs" / "mask0001"
    assert bare.other(1, "frame0001_L") == home / "0001_L"


@pytest.mark.parametrize("name", ["outputs/keep.png", "frame0001_R.png"])
def test_a_file_that_was_there_stays(home: Path, tmp_path: Path, name: str) -> None:
    there = put(home / HONEST.get(name, name), b"my picture")
    outcome, _ = render({name: EVIL}, goals(tmp_path / "state"))
    assert there.read_bytes() == b"my picture"
    assert "is there already" in outcome.frames[1].refused[0]


@pytest.mark.parametrize("kind", ["link", "lost link", "folder"])
def test_nor_is_a_link_or_a_folder_replaced(home: Path, tmp_path: Path, kind: str) -> None:
    there = home / "outputs" / "x.png"
    if kind == "folder":
        there.mkdir(parents=True)
    else:
        there.parent.mkdir()
        there.symlink_to("../cover.png" if kind == "link" else "../gone")
    outcome, _ = render({"outputs/x.png": EVIL}, goals(tmp_path / "state"))
    assert len(outcome.frames[1].refused) == 1
    assert there.is_symlink() == (kind != "folder")
    assert (home / "cover.png").read_bytes() == b"mine"


def test_what_we_wrote_is_written_again(home: Path, tmp_path: Path) -> None:
    """Also by a later command: a job is taken up again, or rendered anew with --again."""
    state = tmp_path / "state"
    render({"outputs/x.png": b"first"}, goals(state), b"one")
    assert (state / NAME).stat().st_mode & 0o777 == 0o600
    outcome, _ = render({"outputs/x.png": b"second"}, goals(state), b"two")
    assert outcome.frames[1].refused == ()
    assert (home / "outputs" / "x.png").read_bytes() == b"second"
    assert (home / "0001.png").read_bytes() == b"two"


def test_what_was_changed_since_is_no_longer_ours(home: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    render({"outputs/x.png": b"first"}, goals(state))
    put(home / "outputs" / "x.png", b"painted over")
    outcome, _ = render({"outputs/x.png": EVIL}, goals(state))
    assert (home / "outputs" / "x.png").read_bytes() == b"painted over"
    assert len(outcome.frames[1].refused) == 1


def test_the_same_contents_make_a_file_not_ours(home: Path, tmp_path: Path) -> None:
    """A farm that knows a file's contents must not get leave to replace it by naming them first."""
    state = tmp_path / "state"
    there = put(home / "outputs" / "logo.png", PNG)
    outcome, _ = render({"outputs/logo.png": PNG}, goals(state))
    assert outcome.frames[1].others == (there,)
    outcome, _ = render({"outputs/logo.png": EVIL}, goals(state))
    assert there.read_bytes() == PNG


def test_a_frame_is_not_rendered_over_what_somebody_else_wrote(home: Path, tmp_path: Path) -> None:
    """Said before anything is rendered."""
    put(home / "0002.png", b"a photo")
    with pytest.raises(InvalidInput, match=r"0002\.png is there already"):
        goals(tmp_path / "state").prepare()
    with pytest.raises(FarmError, match="is there already"):
        render({}, goals(tmp_path / "state"))
    assert (home / "0002.png").read_bytes() == b"a photo"


def test_a_damaged_record_makes_nothing_ours(home: Path, tmp_path: Path) -> None:
    state, there = tmp_path / "state", put(home / "outputs" / "x.png", b"mine")
    line = f'["{there}", 4, {there.stat().st_mtime_ns}]\n'
    for text in ("[[[[" * 20_000, '["a"]\n[1,2,3]\nnull\n', line[:-3], "\xff\xfe"):
        put(state / NAME, text.encode("latin-1"))
        assert not Written(state).is_own(there)
    put(state / NAME, f"half a li\n{line}".encode())
    assert Written(state).is_own(there)


def test_a_record_that_grew_long_is_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render_farm.cli.written.MOST", 3)
    state = tmp_path / "state"
    written = Written(state)
    files = [put(tmp_path / f"{number}.png") for number in range(8)]
    for file in files:
        written.add(file)
    later = Written(state)
    assert [later.is_own(file) for file in files] == [False] * 5 + [True] * 3
    assert len((state / NAME).read_text().splitlines()) == 3


@pytest.mark.parametrize("bound", ["MOST_FILES", "MOST_BYTES"])
def test_a_frame_has_no_files_without_end(home: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    before = tree(home)
    monkeypatch.setattr(fetching, bound, 5)
    with pytest.raises(FarmError, match="more files than a frame can have"):
        render({f"outputs/{number}.png": b"x" for number in range(6)}, goals())
    assert set(tree(home)) <= {*before, "0002.png"}


@pytest.fixture(autouse=True)
def _nothing_else(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / "cover.png").exists()
    assert not os.path.lexists("/etc/cron.d/x.png")


# --- job download: the farm tells the job's name, too ------------------------------------------------


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"extension": "/../../.bashrc"}, 1),
        ({"extension": ".sh"}, 1),
        ({"extension": ""}, 0),
        ({"name": "../../.config/x"}, 0),
        ({"name": "..", "job": "../../escape"}, 0),
        ({"name": "\0\n/"}, 0),
    ],
)
def test_a_jobs_name_and_ending_lead_nowhere_else(
    home: Path, tmp_path: Path, keys: Path, told: dict[str, str], code: int
) -> None:
    before, coordinator = tree(tmp_path), Coordinator()
    coordinator.record |= told

    def answers(asked: Asked) -> Answer:
        return Answer(body=WELL) if asked.path.endswith("/health") else coordinator(asked)

    with scripted(answers) as server:
        coordinator.url = server.url
        coordinator.frame(1, coordinator.file("frame0001.png", EVIL))
        words = ["job", "download", "j1", "--no-receipts", "--state-dir", str(tmp_path / "state")]
        assert run([*words, "--coordinator", server.url, "--token-file", token_file(keys, "t")]) == code
    new = set(tree(tmp_path)) - set(before)
    came = {name for name in new if not name.startswith("state/")}
    assert all(name.startswith("home/") and name.count("/") == 2 for name in came)
    assert not any(part.startswith(".") for name in came for part in Path(name).parts)
    assert bool(came) != bool(code)

# SPDX-License-Identifier: GPL-3.0-or-later
"""A received .blend sends nothing of the artist's along that the artist did not agree to."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import Asset
from render_farm import bundle as bundling
from render_farm import outside
from render_farm.asset_rules import AssetRules
from render_farm.bundle import Bundle, bundle, complete
from render_farm.cli.agreements import NAME, Agreements
from render_farm.cli.consent import Outside, OutsideRefused
from render_farm.cli.console import Console
from render_farm.cli.program import run
from render_farm.outside import REASON, Fence, all_may, is_shared, none_may
from tests import reference
from tests.fakes.scripted_server import Answer, scripted
from tests.hostile.greedy_scenes import KEEPSAKES
from tests.plain_files import ENDINGS, PNG, put
from tests.token_files import token_file

pytestmark = pytest.mark.blender

GREEDY = {
    "single": {"scans/passport.png", "work/other/secret.png"},
    "sequence": {f"photos/IMG_000{number}.png" for number in range(1, 6)},
    "linked": {"photos/IMG_0001.png", "photos/IMG_0002.png", "photos/IMG_0003.png"},
    "library": {"work/other/library.blend", "work/other/secret.png"},
    "sounds": {"films/birthday.mp4"},
    "fluid_cache": set(),
    "nodes_bake": set(),
    "points": {"scans/s1.obj"},
}
"""What each scene wants of the home, of kinds that a scene may have."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artist's home, with scenes from a stranger in work/received."""
    made = tmp_path_factory.mktemp("greedy") / "home"
    reference.run("hostile.greedy_scenes", str(made))
    put(made / "scans" / "s1.obj")
    return made


@pytest.fixture
def project(home: Path) -> Path:
    return home / "work" / "received"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def went(bundled: Bundle) -> set[str]:
    """Where the files of a bundle really come from."""
    return {os.path.realpath(source) for source in bundled.sources.values()}


@pytest.mark.parametrize("name", GREEDY)
def test_nothing_from_outside_goes_unasked(project: Path, tmp_path: Path, name: str) -> None:
    scene = project / f"{name}.blend"
    asked: list[Path] = []

    def may(files: Sequence[Path]) -> Sequence[Path]:
        asked.extend(files)
        return ()

    with bundle(scene, tmp_path, may=may) as bundled:
        assert went(bundled) == {str(scene)}
        left = {item.path for item in bundled.left_out if item.reason == REASON}
        assert {os.path.realpath(path) for path in left} == {str(path) for path in asked}
        inside = {path.name for path in bundled.root.rglob("*") if path.is_file()}
    home = project.parents[1]
    assert {path.relative_to(home).as_posix() for path in asked} == GREEDY[name]
    assert inside == {scene.name}, "no rewritten copy of what stays here either"


@pytest.mark.parametrize("name", GREEDY)
def test_a_yes_is_for_what_was_asked_and_for_no_keepsake(project: Path, tmp_path: Path, name: str) -> None:
    home = project.parents[1]
    with bundle(project / f"{name}.blend", tmp_path, may=all_may) as bundled:
        there = {Path(path).relative_to(home).as_posix() for path in went(bundled)}
    assert there == {f"work/received/{name}.blend"} | GREEDY[name]
    assert not there & set(KEEPSAKES)


def test_what_lies_beside_the_scene_goes_without_a_question(project: Path, tmp_path: Path) -> None:
    def never(files: Sequence[Path]) -> Sequence[Path]:
        raise AssertionError(files)

    with bundle(project / "beside.blend", tmp_path, may=never) as bundled:
        assert set(bundled.manifest.files) == {"beside.blend", "tex/wood.png"}


def test_what_blender_asks_for_later_is_asked_for_too(project: Path, tmp_path: Path) -> None:
    """Files the tracer did not know of are added when Blender misses them: by the same rule."""
    with bundle(project / "single.blend", tmp_path) as bundled:
        home = project.parents[1]
        reach = Bundle(**{**_fields(bundled), "folders": {**bundled.folders, "far": str(home / "photos")}})
        asset = Asset(str(reach.root / "far" / "IMG_0001.png"), "image", "late", missing=True)
        assert complete(reach, [asset]) is reach
        agreed = Bundle(**{**_fields(reach), "may": all_may})
        assert "far/IMG_0001.png" in complete(agreed, [asset]).manifest.files


def _fields(bundled: Bundle) -> dict[str, object]:
    return {name: getattr(bundled, name) for name in Bundle.__dataclass_fields__}


def test_no_script_sends_what_nobody_agreed_to(
    project: Path, tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says which option would, and nothing was asked of the farm."""
    with scripted(lambda _: Answer(status=500)) as server:
        words = ["job", "submit", str(project / "single.blend"), "--json", "--state-dir", str(tmp_path)]
        assert run([*words, "--coordinator", server.url, "--token-file", token_file(keys, "t")]) == 1
        assert server.asked == []
    told = json.loads(capsys.readouterr().out)
    home = project.parents[1]
    assert told["error"] == "outside"
    assert f"--allow-outside {home / 'scans'}" in told["message"]
    assert "(1 file, 1 kB)" in told["message"]


# --- who agreed to what -----------------------------------------------------------------------------


class Terminal(Console):
    """Somebody who answers."""

    def __init__(self, answer: str) -> None:
        super().__init__(as_json=False)
        self.answer, self.told = answer, list[str]()

    has_somebody = True  # type: ignore[assignment]

    def say(self, sentence: str) -> None:
        self.told.append(sentence)

    def ask(self, told: object, question: str) -> str:
        self.told += [*told, question]  # type: ignore[misc]
        return self.answer


def decide(state: Path, base: Path, files: list[Path], answer: str = "", **more: object) -> set[Path]:
    """What goes of the files; without an answer nobody is there to give one."""
    console = Terminal(answer) if answer else Console(as_json=True)
    allowed = more.pop("allowed", [])
    policy = Outside(console, Agreements(state, base), allowed, allow_missing=bool(more))  # type: ignore[arg-type]
    return set(policy(files))


@pytest.fixture
def studio(tmp_path: Path) -> tuple[Path, Path, list[Path]]:
    """A state folder, a project, and files of the studio's outside of it."""
    files = [put(tmp_path / "studio" / "textures" / name) for name in ("a.png", "deep/b.png")]
    put(tmp_path / "work" / "shot.blend")
    return tmp_path / "state", tmp_path / "work", files


def test_a_no_is_a_no_and_is_asked_again(studio: tuple[Path, Path, list[Path]]) -> None:
    state, base, files = studio
    for answer in ("n", "no", "yess", "x"):
        with pytest.raises(OutsideRefused, match=r"you said no.*--allow-missing"):
            decide(state, base, files, answer)
        assert decide(state, base, files, answer, allow_missing=True) == set()
    with pytest.raises(OutsideRefused):
        decide(state, base, files)
    assert decide(state, base, files, allow_missing=True) == set()


def test_a_yes_is_remembered_for_these_files_only(studio: tuple[Path, Path, list[Path]]) -> None:
    """The next version of a received scene may name the passport beside the wood."""
    state, base, files = studio
    assert decide(state, base, files, "y") == set(files)
    assert decide(state, base, files) == set(files)
    another = put(files[0].with_name("passport.png"))
    with pytest.raises(OutsideRefused, match=r"names 1 file outside"):
        decide(state, base, [*files, another])


def test_a_studios_folders_are_agreed_to_once(studio: tuple[Path, Path, list[Path]]) -> None:
    state, base, files = studio
    assert decide(state, base, files, "f") == set(files)
    later = put(files[0].parent / "new" / "c.png")
    assert decide(state, base, [*files, later]) == {*files, later}
    assert (state / NAME).stat().st_mode & 0o777 == 0o600


def test_an_answer_is_one_projects_own(studio: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    state, base, files = studio
    decide(state, base, files, "f")
    (tmp_path / "received").mkdir()
    with pytest.raises(OutsideRefused):
        decide(state, tmp_path / "received", files)


def test_the_home_folder_is_never_agreed_to_as_a_whole(
    studio: tuple[Path, Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, base, _ = studio
    homely(monkeypatch, tmp_path)
    letter, scan = put(tmp_path / "a.png"), put(tmp_path / "Documents" / "b.png")
    assert decide(state, base, [letter, scan], "f") == {letter, scan}
    assert decide(state, base, [letter, scan]) == {letter, scan}
    for name in ("c.png", "Documents/d.png", "Documents/deep/e.png"):
        with pytest.raises(OutsideRefused):
            decide(state, base, [put(tmp_path / name)])


def homely(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HOME", str(home))
    outside._everybodys.cache_clear()
    outside._persons.cache_clear()
    monkeypatch.setattr(outside, "_everybodys", lambda: frozenset({home}))


def test_options_allow_folders(studio: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    state, base, files = studio
    assert decide(state, base, files, allowed=[tmp_path / "studio"]) == set(files)
    assert not (state / NAME).exists()
    with pytest.raises(OutsideRefused):
        decide(state, base, files, allowed=[tmp_path / "studio" / "textures" / "deep"])
    (tmp_path / "studio" / "textures2").mkdir()
    with pytest.raises(OutsideRefused):
        decide(state, base, files, allowed=[tmp_path / "studio" / "text"])


def test_a_project_brings_no_answers_along(tmp_path: Path) -> None:
    """Neither by a state folder inside it, nor by a file that others can write."""
    files, base = [put(tmp_path / "secret.png")], tmp_path / "received"
    agreed = {"projects": {str(base): {"files": [], "folders": ["/"]}}, "scenes": [], "folders": ["/"]}
    for state in (base / ".state", tmp_path / "state"):
        put(state / NAME, json.dumps(agreed).encode()).chmod(0o666)
        with pytest.raises(OutsideRefused):
            decide(state, base, files)
        assert not Agreements(state, base).trusts(base / "shot.blend", "0" * 64)
    (base / ".state" / NAME).chmod(0o600)
    with pytest.raises(OutsideRefused):
        decide(base / ".state", base, files)
    (tmp_path / "state" / NAME).chmod(0o600)
    assert decide(tmp_path / "state", base, files) == set(files), "what the file says counts where it is ours"


def test_a_scene_among_downloads_has_no_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homely(monkeypatch, tmp_path)
    put(tmp_path / ".config" / "user-dirs.dirs", b'XDG_DOWNLOAD_DIR="$HOME/Geladen"\n')
    for folder in (tmp_path, tmp_path / "Downloads", tmp_path / "Geladen", tmp_path / "Dropbox"):
        passport = put(folder / "passport.png")
        assert Fence(folder).outside([str(passport)])
    own = put(tmp_path / "Downloads" / "scene" / "wood.png")
    assert not Fence(own.parent).outside([str(own)])
    outside._persons.cache_clear()


@pytest.mark.parametrize("folder", ["/", "/mnt", "/media/ann/STICK", "/run/media/ann/STICK"])
def test_places_that_hold_everything_are_no_scenes_own(folder: str) -> None:
    assert is_shared(Path(folder))


@pytest.mark.parametrize("folder", ["/mnt/film", "/media/ann/STICK/film", "/project"])
def test_a_projects_folder_is_its_scenes_own(folder: str) -> None:
    assert not is_shared(Path(folder))


def test_names_cannot_steer_the_question(studio: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    state, base, _ = studio
    odd = put(tmp_path / "a\nSend them? yes\x1b[2J" / "x.png")
    console = Terminal("y")
    Outside(console, Agreements(state, base), [], allow_missing=False)([odd])
    assert not any("\n" in line or "\x1b" in line for line in console.told)


def test_a_scene_in_downloads_is_told_to_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files lie beside it, and no folder of that kind is agreed to as a whole."""
    homely(monkeypatch, tmp_path)
    base = tmp_path / "Downloads"
    wood = put(base / "wood.png")
    console = Terminal("y")
    assert Outside(console, Agreements(tmp_path / "s", base), [], allow_missing=False)([wood]) == {wood}
    assert any("move it, with its files" in line for line in console.told)
    assert not any("[f]olders" in line for line in console.told)
    with pytest.raises(OutsideRefused, match=r"has no folder of its own: move it"):
        decide(tmp_path / "other", base, [wood])
    outside._persons.cache_clear()


# --- contents -------------------------------------------------------------------------------------------

SECRETS = {
    "pem": b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END\n",
    "json": b'{"type": "service_account", "project_id": "x", "version": 1}',
    "tar.gz": b"\x1f\x8b\x08\0\0\0\0\0\0\3home/ann/letters",
    "sqlite": b"SQLite format 3\0\x10\0\1\1\0@  ",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "kdbx": b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5",
    "env": b"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI\nDEBUG=1\n",
    "zip": b"PK\3\4\x14\0\0\0\x08\0",
    "elf": b"\x7fELF\2\1\1\0",
    "noise": bytes(range(128, 256)) * 8,
}
LOOKALIKES = {(".blend", "tar.gz"), (".blend1", "tar.gz"), (".usdz", "zip"), (".svg", "tar.gz")}
"""Kinds that are packed as other kinds are; they are Blender's to read, and lie where the scene does."""


@pytest.mark.parametrize("secret", SECRETS)
def test_a_key_by_another_name_stays(tmp_path: Path, secret: str) -> None:
    """Also where it is a hard link, which no look at paths can tell from a file."""
    key = put(tmp_path / "elsewhere" / "key", SECRETS[secret])
    for ending in ENDINGS:
        if (ending, secret) in LOOKALIKES:
            continue
        path = tmp_path / "project" / f"hard{ending}"
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(key)
        reason = AssetRules(path.parent).refusal(path, frozenset({ending}))
        assert "contents are not those" in reason, ending


@pytest.mark.parametrize("ending", ENDINGS)
def test_honest_files_are_what_they_are_called(tmp_path: Path, ending: str) -> None:
    assert AssetRules(tmp_path).refusal(put(tmp_path / f"x{ending}"), frozenset({ending})) == ""


def test_a_picture_may_have_another_pictures_ending(tmp_path: Path) -> None:
    assert AssetRules(tmp_path).refusal(put(tmp_path / "wood.jpg", PNG)) == ""
    assert AssetRules(tmp_path).refusal(put(tmp_path / "wood.exr", PNG)) == ""


# --- sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("may", [none_may, all_may])
def test_a_huge_sparse_file_is_named_before_anything_is_read(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may: outside.May
) -> None:
    texture = project / "tex" / "wood.png"
    size = texture.stat().st_size
    monkeypatch.setattr(bundling, "hash_file", lambda path: pytest.fail(f"{path} was read"))
    os.truncate(texture, 200 * 1000**3)
    try:
        with (
            pytest.raises(InvalidInput, match=r"wood\.png has 200\.0 GB, and a farm takes files of 5 GB"),
            bundle(project / "beside.blend", tmp_path, may=may),
        ):
            pass
    finally:
        os.truncate(texture, size)


def test_all_files_together_have_a_limit(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "LARGEST_SCENE", 1000)
    monkeypatch.setattr(bundling, "hash_file", lambda path: pytest.fail(f"{path} was read"))
    with (
        pytest.raises(InvalidInput, match="a farm takes 1 TB at most"),
        bundle(project / "beside.blend", tmp_path),
    ):
        pass

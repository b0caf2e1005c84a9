# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad command lines: each gets a sentence and an exit code, and with --json one object on stdout."""

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from command_line.program import UsageError
from farm_protocol.errors import InvalidInput
from farm_protocol.records import Demand
from render_farm.cli.checked_scene import UNKNOWN_SCENE
from render_farm.cli.display.console import Console
from render_farm.cli.program import ROOT, run
from render_farm.embedded.addresses import parse_bind
from tests.support.plain_facts import PLAIN_SCENE
from tests.support.understood import understood

WRONG = [
    (["render", "s.blend", "--frames", "1-10:4"], "for every fourth frame write 1-10x4"),
    (["render", "s.blend", "--frames", ""], "empty"),
    (["render", "s.blend", "--frames", "1..5"], "for a range write 1-10"),
    (["render", "s.blend", "--samples", "0"], "samples must lie between 1"),
    (["render", "s.blend", "--samples", "-3"], "samples must lie between 1"),
    (["render", "s.blend", "--resolution-percentage", "0"], "percentage must lie between 1"),
    (["render", "s.blend", "--seed", "99999999999"], "seed must lie between"),
    (["render", "s.blend", "--slots", "0"], "slots must lie between 1"),
    (["render", "s.blend", "--tiles", "0x2"], "columns x rows"),
    (["render", "s.blend", "--tiles", "4x"], "columns x rows"),
    (["render", "s.blend", "--format", "GIF"], "not a file format"),
    (["render", "s.blend", "--exactness", "float"], "write bit, or any"),
    (["render", "no/such.blend"], "There is no file"),
    (["doctor", "no/such.blend"], "There is no file"),
    (["job", "submit", "no/such.blend"], "There is no file"),
    (["job", "list", "--coordinator", "http://127.0.0.1:1"], "needs --token"),
    (["job", "list", "--coordinator", "http://127.0.0.1:1", "--token", "t"], "--token-file FILE"),
    (["job", "list", "--coordinator", "http://127.0.0.1:1", "--token=t"], "--token-file FILE"),
    (["job", "list", "--coordinator", "http://127.0.0.1:1", "--token-file", "none"], "cannot be read"),
    (["owner", "add", "ann", "--expires", "soon"], "is no time"),
    (["up", "--bind", "host:port"], "no address to bind to"),
    (["up", "--slots", "0"], "slots must lie between 1"),
    (["up", "--audit-floor", "5"], "--audit-floor is '5', but must be a share from 0 to 1"),
    (["up", "--audit-own", "-0.1"], "must be a share"),
    (["up", "--audit-repeat", "nan"], "must be a share"),
    (["audit", "replay", "j", "--farm", "me"], "no farm's address"),
]
EXACT = [([], Demand.ANY), (["--exactness", "bit"], Demand.BIT), (["--exactness", "Bit-Exact"], Demand.BIT)]
NOT_UNDERSTOOD = [
    [],
    ["paint"],
    ["render"],
    ["render", "s.blend", "--samples", "many"],
    ["render", "s.blend", "--samples", "1.5"],
    ["render", "s.blend", "--nonsense"],
    ["job"],
    ["job", "show"],
    ["node", "add"],
    ["audit"],
    ["audit", "list"],
    ["receipt"],
    ["receipt", "verify"],
]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("FARM_COORDINATOR", raising=False)


@pytest.mark.parametrize(("words", "demand"), EXACT)
@pytest.mark.parametrize("command", [["render"], ["quote"], ["job", "submit"]])
def test_how_exact_a_job_must_be_reaches_what_is_asked_for(
    command: list[str], words: list[str], demand: Demand
) -> None:
    wish = understood([*command, "s.blend", *words])["wish"]
    assert wish.spec(UNKNOWN_SCENE, PLAIN_SCENE, 1, "").exactness is demand


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_a_wrong_value_is_named(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) in (1, 2)
    out, err = capsys.readouterr()
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("words", NOT_UNDERSTOOD)
def test_what_is_not_understood_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "--help" in capsys.readouterr().err


CODES = [
    (["render", "s.blend", "--samples", "0"], 1),
    (["render", "s.blend", "--seed", "99999999999"], 1),
    (["render", "s.blend", "--samples"], 2),
    (["render", "s.blend", "--frames", "--again"], 2),
    (["render", "s.blend", "--again=yes"], 2),
    (["render", "s.blend", "t.blend"], 2),
    (["render", "s.blend", "--re", "50", "--s", "3"], 2),
    (["render", "s.blend", "--frames", "1-10:4"], 1),
    (["doctor", "no/such.blend"], 1),
    (["job", "refund", "--last", "--offline"], 2),
    (["job", "refund", "JOB", "--offline"], 2),
    (["job", "fund", "JOB"], 2),
    (["job", "list", "extra"], 2),
    (["job", "list", "--coordinator", "http://127.0.0.1:1", "--token-file", "none"], 2),
    (["owner", "add", "ann", "--expires", "0d"], 2),
    (["token", "rotate", "x", "--overlap", "1y"], 2),
    (["up", "--slots", "x"], 2),
    (["up", "--hang-seconds", "0"], 1),
    (["up", "--hang-seconds", "x"], 2),
    (["up", "--chain", "c.toml"], 2),
    (["up", "--tls-cert", "x"], 1),
    (["audit", "compare-heads"], 2),
    (["audit", "compare-heads", "none"], 1),
    (["wallet", "create", "no/me.json"], 1),
    (["wallet", "show", "--chain", "c.toml"], 2),
    (["chain", "deploy", "--wallet", "w.json"], 2),
    (["chain", "deploy", "--wallet", "w.json", "-oo.toml", "--grace", "1y"], 2),
    (["chain", "show", "--chain", "none"], 1),
]


@pytest.mark.parametrize(("words", "code"), CODES)
def test_exit_codes_tell_what_failed_from_what_is_not_understood(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1


def _commands(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    yield above
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        if isinstance(found, click.Group):
            yield from _commands(found, *above, name)
        else:
            yield (*above, name)


@pytest.mark.parametrize("words", list(_commands(ROOT)))
def test_every_command_tells_its_options_once_with_examples(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run([*words, "-h"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert re.search(r"^examples?:\n  \w", told, re.MULTILINE)
    options = re.findall(r"^  (--[a-z0-9-]+)", told, re.MULTILINE)
    assert len(options) == len(set(options))
    assert not words or "--json" in options or "COMMAND" in told


def test_the_first_letters_of_an_option_will_do_where_they_name_one() -> None:
    found = understood(["render", "s.blend", "--sam", "8", "--reso=50", "--ag"])
    assert (found["wish"].samples, found["wish"].resolution_percentage, found["again"]) == (8, 50, True)
    with pytest.raises(UsageError, match="--samples, --seed"):
        understood(["render", "s.blend", "--s", "8"])


def test_folders_and_stores_of_a_line_are_added_to_those_of_the_environment() -> None:
    known = {"FARM_ALLOW_OUTSIDE": "/a:/b", "FARM_OBJECTS": "http://a"}
    found = understood(["doctor", "s.blend", "--allow-outside", "/c", "--objects", "http://b"], known)
    assert found["chosen"].allow_outside == (Path("/a"), Path("/b"), Path("/c"))
    assert found["farm"].objects == ("http://a", "http://b")


@pytest.mark.parametrize(("said", "insecure"), [("", False), ("0", False), ("false", False), ("1", True)])
def test_a_switch_in_the_environment(said: str, insecure: bool) -> None:
    assert understood(["job", "list"], {"FARM_INSECURE": said})["farm"].insecure is insecure


def test_shells_complete_commands_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_RENDER_FARM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "render-farm job st")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "plain,statement\n"


@pytest.mark.parametrize("words", [*(words for words, _ in WRONG), *NOT_UNDERSTOOD])
def test_with_json_stdout_is_one_object(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--json"]) != 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"error", "message"}
    assert answer["message"]


def test_frames_and_seeds_may_start_with_a_minus() -> None:
    wish = understood(["render", "s.blend", "--frames", "-5--1", "--seed", "-7"])["wish"]
    assert wish.frames == (-5, -4, -3, -2, -1)
    assert wish.seed == -7


def test_a_coordinator_has_an_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARM_TOKEN", "t")
    assert run(["job", "list", "--coordinator", "ftp://x"]) == 1
    assert "not a coordinator's address" in capsys.readouterr().err


def test_an_option_after_frames_is_no_value() -> None:
    with pytest.raises(UsageError, match="--frames"):
        understood(["render", "s.blend", "--frames", "--json"])


def test_the_environment_fills_in() -> None:
    known = {
        "FARM_COORDINATOR": "http://f",
        "FARM_TOKEN_FILE": "t",
        "FARM_STATE_DIR": "/s",
        "FARM_REDIS_URL": "redis://r",
    }
    found = understood(["up"], known)
    farm = found["farm"]
    assert (farm.coordinator, farm.token_file, farm.state_dir) == ("http://f", "t", Path("/s"))
    assert found["options"].redis_url == "redis://r"
    assert understood(["up", "--redis-url", "redis://flag"], known)["options"].redis_url == "redis://flag"


@pytest.mark.parametrize("share", ["0", "1", "0.25", ".5", "1.0", "0.000001"])
def test_rules_of_audits_go_to_the_coordinator_as_they_are(share: str) -> None:
    known = {"FARM_AUDIT_OWN": share}
    words = ["up", "--audit-floor", share, "--beacon", "http://a,http://b"]
    assert understood(words, known)["options"].rules == (
        ("--audit-floor", share),
        ("--audit-own", share),
        ("--beacon", "http://a,http://b"),
    )
    assert understood(["up"])["options"].rules == ()


@pytest.mark.parametrize(
    ("known", "folder"),
    [
        ({}, Path.home() / ".local" / "state" / "render-farm"),
        ({"XDG_STATE_HOME": "/x"}, Path("/x/render-farm")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local" / "state" / "render-farm"),
        ({"XDG_STATE_HOME": "/x", "FARM_STATE_DIR": "/y"}, Path("/y")),
    ],
)
def test_where_the_farm_keeps_its_state(known: dict[str, str], folder: Path) -> None:
    assert understood(["job", "list"], known)["farm"].state_dir == folder


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("", ("", 0)),
        ("0.0.0.0", ("0.0.0.0", 0)),
        ("farm.example:8700", ("farm.example", 8700)),
        (":8700", ("", 8700)),
        ("[::1]:8700", ("::1", 8700)),
        ("[::1]", ("::1", 0)),
    ],
)
def test_addresses_to_bind_to(bind: str, address: tuple[str, int]) -> None:
    assert parse_bind(bind) == address


@pytest.mark.parametrize("bind", ["a:b", "a:70000", "a:"])
def test_addresses_nobody_can_bind_to(bind: str) -> None:
    with pytest.raises(InvalidInput):
        parse_bind(bind)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (InvalidInput("No."), 1, "invalid_input"),
        (PermissionError(13, "Permission denied", "/x"), 1, "system"),
        (ZeroDivisionError(), 1, "internal"),
    ],
)
def test_whatever_happens_json_is_one_object(
    error: BaseException,
    status: int,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("render_farm.cli.commands.job.open_farm", fail)
    assert run(["job", "list", "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == code


def test_a_sentence_is_one_write_so_that_threads_do_not_run_into_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "write", written.append)
    monkeypatch.setattr(sys, "stderr", stderr)
    Console(as_json=False).say("Frame 1 is there.")
    assert written == ["Frame 1 is there.\n"]

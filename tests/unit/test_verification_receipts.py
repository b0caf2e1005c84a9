# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts, checked by the farm's own code and by the program in docs/ that knows nothing of it."""

import ast
import contextlib
import copy
import io
import json
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.fields import Tile
from tests.support import verified_job
from tests.support.verified_job import FARM, FARM_KEY, STRANGERS, Farm
from verification.protocol import attestation
from verification.receipts import receipt as receipts
from verification.receipts.checks import is_grid
from verification.receipts.records import MOST_BYTES, canonical, read

PROGRAM = Path(__file__).parents[2] / "docs" / "verify_receipt.py"
HONEST = verified_job.honest_farm()
DOCUMENTS = {frame: HONEST.receipt(frame) for frame in (1, 2, 3)}
Body = dict[str, Any]


def body(frame: int = 3) -> Body:
    found: Body = json.loads(DOCUMENTS[frame])["receipt"]
    return found


def resigned(receipt: Body, key: bytes = FARM_KEY) -> bytes:
    """What a farm could publish that lies: changed, and signed with its own key."""
    return canonical({"receipt": receipt, "signature": attestation.sign_document(canonical(receipt), key)})


def program(document: bytes, folder: Path, *more: str) -> tuple[int, str]:
    """Runs the program as a user would, but without waiting for a new interpreter each time."""
    path = folder / "receipt.json"
    path.write_bytes(document)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [str(PROGRAM), str(path), *more])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(PROGRAM), run_name="__main__")
    code = ended.value.code
    return (0, said.getvalue()) if code is None else (1, str(code))


@pytest.mark.parametrize("frame", [1, 2, 3])
def test_an_honest_receipt_holds(frame: int, tmp_path: Path) -> None:
    assert receipts.verify(DOCUMENTS[frame]) == []
    assert receipts.verify(DOCUMENTS[frame] + b"\n", FARM) == []
    assert program(DOCUMENTS[frame], tmp_path, FARM)[0] == 0


def test_a_receipt_tells_what_was_done() -> None:
    receipt = read(DOCUMENTS[3]).receipt
    assert [tile.task for tile in receipt.tiles] == [f"job-1.f3.t{index}" for index in range(4)]
    assert [tile.task for tile in receipt.refused] == ["job-1.f3.t0"]
    assert receipt.refused[0].verdict.outcome == "rejected"
    assert receipt.tiles[0].node != receipt.refused[0].node
    assert receipt.files[0].size == 12_345
    whole = dict(receipt.detection)[1_000_000]
    escaped = 1.0
    for tile in receipt.tiles:
        escaped *= 1 - tile.receipt.rate / 1e6
    assert abs(whole / 1e6 - (1 - escaped)) < 1e-6


def test_the_document_is_canonical_and_has_no_fractions() -> None:
    document = DOCUMENTS[3]
    plain = json.loads(document, parse_float=lambda text: pytest.fail(f"a fraction: {text}"))
    assert canonical(plain) == document
    assert b'": ' not in document


def test_a_receipt_of_another_farm_is_not_this_farms(tmp_path: Path) -> None:
    other = STRANGERS[0].address
    assert any("not of" in wrong for wrong in receipts.verify(DOCUMENTS[1], other))
    assert program(DOCUMENTS[1], tmp_path, other)[0] == 1


# --- what anybody could change ---------------------------------------------------------------------------


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all values in a document that are not lists or objects themselves."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))
    else:
        yield path


def other_value(value: Any) -> Any:
    """Another value of the same kind and form."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1") if value else "x"
    return 1 if value is None else [*value, 1]


def changed(document: Body, path: tuple[str | int, ...], change: Callable[[Any], Any] = other_value) -> Body:
    found = copy.deepcopy(document)
    inner: Any = found
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = change(inner[path[-1]])
    return found


def shape(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path without its numbers: one place of each shape is changed."""
    return tuple("*" if isinstance(step, int) else step for step in path)


PLACES = list({shape(path): path for path in places(json.loads(DOCUMENTS[3]))}.values())


def test_every_single_change_is_found() -> None:
    document = json.loads(DOCUMENTS[3])
    assert len(PLACES) > 80
    for path in PLACES:
        assert receipts.verify(canonical(changed(document, path))), path


@pytest.mark.parametrize("path", PLACES[:: len(PLACES) // 12])
def test_the_independent_program_finds_changes_too(path: tuple[str | int, ...], tmp_path: Path) -> None:
    document = changed(json.loads(DOCUMENTS[3]), path)
    code, said = program(canonical(document), tmp_path)
    assert code == 1
    assert said.strip()


@settings(max_examples=60)
@given(data=st.data())
def test_changed_bytes_are_found(data: st.DataObject) -> None:
    document = bytearray(DOCUMENTS[2])
    place = data.draw(st.integers(0, len(document) - 1))
    document[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != document[place]))
    assert receipts.verify(bytes(document))


# --- what a lying farm could sign ------------------------------------------------------------------------


def swap_tiles(receipt: Body) -> None:
    first, second = receipt["tiles"][:2]
    first["tile"], second["tile"] = second["tile"], first["tile"]


def move_tile(receipt: Body) -> None:
    """Shows one tile twice under both tasks' names."""
    receipt["tiles"][1] = receipt["tiles"][0] | {"task": receipt["tiles"][1]["task"]}


def other_frames_tile(receipt: Body) -> None:
    receipt["tiles"][1] = body(2)["tiles"][1]


def drop_tile(receipt: Body) -> None:
    receipt["tiles"].pop()


def other_operators_key(receipt: Body) -> None:
    tile = receipt["tiles"][0]
    signed = replace(read(DOCUMENTS[3]).receipt.tiles[0].attestation)
    tile["signature"] = attestation.sign(signed, FARM, STRANGERS[2].key)


def other_pixels(receipt: Body) -> None:
    receipt["tiles"][0]["attestation"]["pixelRoot"] = "00" * 32


def lower_rate(receipt: Body) -> None:
    """As if an audit had been less likely than the receipt of submission says."""
    tile = receipt["tiles"][0]
    tile["receipt"]["rate"] = 1


def skip_audit(receipt: Body) -> None:
    tile = next(tile for tile in receipt["tiles"] if tile["audited"] and not tile["forced"])
    tile["audited"], tile["audits"] = False, []


def no_audit(receipt: Body) -> None:
    next(tile for tile in receipt["tiles"] if tile["audited"])["audits"] = []


def easy_crops(receipt: Body) -> None:
    tile = next(tile for tile in receipt["tiles"] if tile["audited"])
    for audit in tile["audits"]:
        crop = audit["order"]["crops"][0]
        left = crop["x0"] == tile["tile"]["x0"]
        crop["x0"], crop["x1"] = (crop["x0"] + (8 if left else -8), crop["x1"] + (8 if left else -8))


def crops_elsewhere(receipt: Body) -> None:
    tile = next(tile for tile in receipt["tiles"] if tile["audited"])
    tile["audits"][0]["order"]["crops"][0]["x1"] = 70


def audit_by_itself(receipt: Body) -> None:
    tile = next(tile for tile in receipt["tiles"] if any(not audit["own"] for audit in tile["audits"]))
    next(audit for audit in tile["audits"] if not audit["own"])["operator"] = tile["operator"]


def forged_audit(receipt: Body) -> None:
    audit = next(tile for tile in receipt["tiles"] if tile["audits"])["audits"][0]
    audit["address"] = STRANGERS[0].address if audit["address"] != STRANGERS[0].address else FARM


def other_value_of_the_round(receipt: Body) -> None:
    next(one for one in receipt["rounds"] if one["value"])["value"] = "11" * 32


def no_value_of_the_round(receipt: Body) -> None:
    for one in receipt["rounds"]:
        one["value"] = ""


def round_left_out(receipt: Body) -> None:
    receipt["rounds"] = [
        one for one in receipt["rounds"] if one["round"] != receipt["tiles"][0]["receipt"]["round"]
    ]


def other_log(receipt: Body) -> None:
    receipt["tiles"][0]["proof"]["path"] = ["22" * 32]


def late_submission(receipt: Body) -> None:
    receipt["rules"]["genesis_ms"] -= 1_000


def rejected_and_paid(receipt: Body) -> None:
    receipt["tiles"][0]["verdict"]["outcome"] = "rejected"


def differs_and_paid(receipt: Body) -> None:
    tile = next(tile for tile in receipt["tiles"] if tile["audited"])
    tile["metric"]["different"] = 3


def other_build(receipt: Body) -> None:
    receipt["build"] = "4.5.0-other"


def better_chances(receipt: Body) -> None:
    receipt["detection"][0] = [1_000, 1_000_000]


LIES = [
    swap_tiles, move_tile, other_frames_tile, drop_tile, other_operators_key, other_pixels, lower_rate,
    skip_audit, no_audit, easy_crops, crops_elsewhere, audit_by_itself, forged_audit, round_left_out,
    other_value_of_the_round, no_value_of_the_round, other_log, late_submission, rejected_and_paid,
    differs_and_paid, other_build, better_chances,
]  # fmt: skip


LEFT_TO_US = {easy_crops, crops_elsewhere, better_chances}
"""What the short program says that it does not look at."""


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("frame", [1, 3])
def test_a_farm_that_lies_is_found(lie: Callable[[Body], None], frame: int, tmp_path: Path) -> None:
    receipt = body(frame)
    lie(receipt)
    document = resigned(receipt)
    found = receipts.verify(document)
    assert found
    assert not any("changed after" in wrong for wrong in found)
    if lie in LEFT_TO_US:
        return
    code, said = program(document, tmp_path)
    assert code == 1, lie
    assert "changed after" not in said


def test_a_receipt_signed_by_a_node_is_not_the_farms(tmp_path: Path) -> None:
    document = resigned(body(), STRANGERS[0].key)
    assert receipts.verify(document) == [
        "The receipt was changed after it was signed, or not signed by its farm."
    ]
    assert program(document, tmp_path)[0] == 1


# --- what is no receipt at all ---------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b'{"receipt":' + b"[" * depth + b"]" * depth + b',"signature":"x"}'


GARBAGE = {
    "empty": b"",
    "text": b"good morning",
    "no object": b"[]",
    "null": b"null",
    "other": b"{}",
    "no utf-8": b'{"receipt":"\xff"}',
    "surrogate": b'{"receipt":{"kind":"\\ud800"},"signature":"0x"}',
    "deep": nested(200_000),
    "long number": b'{"receipt":' + b"9" * 10_000 + b"}",
    "spaces": json.dumps(json.loads(DOCUMENTS[1]), sort_keys=True).encode(),
    "unsorted": json.dumps(json.loads(DOCUMENTS[1])["receipt"], separators=(",", ":")).encode(),
    "double key": DOCUMENTS[1].replace(b'"frame":1,', b'"frame":2,"frame":1,', 1),
    "unknown key": DOCUMENTS[1].replace(b'"frame":1,', b'"frame":1,"framf":1,', 1),
    "fraction": DOCUMENTS[1].replace(b'"frame":1,', b'"frame":1.0,', 1),
    "two line ends": DOCUMENTS[1] + b"\n\n",
    "upper case": DOCUMENTS[1].replace(b"0x", b"0X"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_gets_one_sentence(name: str, tmp_path: Path) -> None:
    found = receipts.verify(GARBAGE[name])
    assert len(found) == 1
    if name != "deep":  # a test run may have raised Python's limit of recursion: that one by itself
        assert program(GARBAGE[name], tmp_path)[0] == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("tiles", 0, "attestation", "token"), 1 << 70),
        (("tiles", 0, "attestation", "token"), -1),
        (("tiles", 0, "attestation", "pixelRoot"), "zz" * 32),
        (("tiles", 0, "attestation", "task"), 5),
        (("tiles", 0, "address"), "0x0"),
        (("tiles", 0, "address"), "0x" + "0" * 40 + "\n"),
        (("tiles", 0, "signature"), "0x" + "f" * 130),
        (("tiles", 0, "receipt", "round"), -1),
        (("tiles", 0, "proof", "leaf"), -1),
        (("tiles", 0, "proof", "size"), 0),
        (("tiles", 0, "proof", "path"), ["00" * 32] * 65),
        (("tiles", 0, "tile"), {"x0": 0, "x1": 1, "y0": 0}),
        (("tiles",), []),
        (("rounds",), None),
        (("rules", "policy"), {}),
        (("rules", "policy", "crops"), 1 << 40),
        (("rules", "policy", "side"), 0),
        (("rules", "policy", "small_side"), 0),
        (("rules", "rates", "halving"), -20),
        (("rules", "rates"), {"floor": "much"}),
        (("settings", "samples"), 0),
        (("area", "x1"), 131_072),
        (("version",), 1),
        (("kind",), "something else"),
    ],
)
def test_values_that_cannot_be_are_found_even_when_the_farm_signs_them(
    path: tuple[str | int, ...], value: Any, tmp_path: Path
) -> None:
    document = resigned(changed(body(1), path, lambda _: value))
    assert receipts.verify(document)
    program(document, tmp_path)  # ends without a traceback, whatever it says of fields it does not use


def test_a_document_larger_than_any_receipt_is_not_read(tmp_path: Path) -> None:
    huge = DOCUMENTS[1] + b" " * MOST_BYTES
    assert receipts.verify(huge) == [f"This is larger than any receipt ({MOST_BYTES} bytes)."]
    assert program(huge, tmp_path)[0] == 1


def test_huge_tiles_with_small_crops_are_drawn_at_once() -> None:
    receipt = body(1)
    receipt["area"] = receipt["tiles"][0]["tile"] = {"x0": 0, "y0": 0, "x1": 131_072, "y1": 131_072}
    receipt["tiles"] = receipt["tiles"][:1]
    receipt["rules"]["policy"] |= {"side": 1, "small_side": 1, "crops": 64}
    assert any("crops that were drawn" in wrong for wrong in receipts.verify(resigned(receipt)))


# --- making --------------------------------------------------------------------------------------------


def test_a_frame_that_is_not_accepted_has_no_receipt() -> None:
    farm = Farm()
    farm.frame(1)
    farm.submit(verified_job.tasks(2)[0], STRANGERS[0], standing=verified_job.Standing(), lie=True)
    for frame in (2, 3):
        with pytest.raises(Conflict, match="not accepted yet"):
            receipts.make(farm.verification(), verified_job.frame_files(frame), farm.proofs())


def test_without_proof_or_round_there_is_no_receipt() -> None:
    verification, files = HONEST.verification(), verified_job.frame_files(1)
    with pytest.raises(Conflict, match="proof"):
        receipts.make(verification, files, {})
    with pytest.raises(Conflict, match="round"):
        receipts.make(replace(verification, rounds=verification.rounds[1:]), files, HONEST.proofs())


def test_a_receipt_larger_than_anybody_reads_is_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MOST_BYTES", 1000)
    with pytest.raises(InvalidInput, match="larger than 1000 bytes"):
        HONEST.receipt(1)


def test_tiles_are_a_grid_from_the_top_left() -> None:
    area = Tile(0, 0, 4, 4)
    rows = [Tile(0, 2, 2, 4), Tile(2, 2, 4, 4), Tile(0, 0, 2, 2), Tile(2, 0, 4, 2)]
    assert is_grid(rows, area)
    assert is_grid([area], area)
    assert not is_grid(rows[::-1], area)
    assert not is_grid(rows[:3], area)
    assert not is_grid([Tile(0, 0, 3, 4), Tile(2, 0, 4, 4)], area)
    assert not is_grid([Tile(0, 0, 4, 5)], area)
    assert not is_grid([Tile(0, 0, 2, 4), Tile(3, 0, 4, 4)], area)


def test_the_program_is_short_and_imports_nothing_of_ours() -> None:
    lines = PROGRAM.read_text().splitlines()
    assert len(lines) <= 60
    nodes = list(ast.walk(ast.parse(PROGRAM.read_text())))
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) == {"eth_account"}

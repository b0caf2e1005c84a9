# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at submitted tiles: good ones, wrong ones, and those that hurt whoever opens them."""

import dataclasses
import hashlib
import json
import struct
import sys
import threading
import zlib
from pathlib import Path

import numpy
import pytest

from farm_protocol.audits import AuditAnswer, AuditOrder, CheckOrder, CheckReport, Fault, SampleRange
from farm_protocol.errors import InvalidInput
from farm_protocol.fields import StoredFile, Tile, decode
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import (
    FailureCode,
    Lease,
    RenderSettings,
    Task,
    TaskFailure,
    TaskKind,
    TaskResult,
    TileInput,
)
from frame_splitter import exr
from gpu_worker.blender.process import ChildLimits, Device
from gpu_worker.farm import transfer
from gpu_worker.sandbox import bubblewrap
from gpu_worker.slot import checks
from gpu_worker.slot.checking import Rendered
from gpu_worker.slot.child_workspace import ChildPlan
from gpu_worker.slot.scene_cache import SceneCache
from gpu_worker.slot.slot import Slot, SlotPlan
from verification.protocol.file_root import file_root
from verification.protocol.pixel_root import channel_names, pixel_root

FAKES = Path(__file__).parents[1] / "fakes"
SANDBOXED = bubblewrap.unavailable() is None
TILE = Tile(16, 0, 48, 32)
CROPS = (Tile(16, 0, 24, 8), Tile(30, 20, 38, 28))


class Store:
    """Files by name; `asked` are those that were fetched."""

    def __init__(self):
        self.bodies, self.asked = {}, []

    def put(self, name, body, size=None):
        self.bodies[name] = body
        size = len(body) if size is None else size
        return StoredFile(Path(name).name, hashlib.sha256(body).hexdigest(), size, f"http://store/{name}")

    def download(self, file, target, stopped):
        self.asked.append(file.name)
        body = self.bodies.get(file.url.removeprefix("http://store/"))
        if body is None:
            raise InvalidInput(f"{file.name} is not there.")
        target.write_bytes(body)


@pytest.fixture
def store(monkeypatch):
    store = Store()
    monkeypatch.setattr(transfer, "download", store.download)
    return store


@pytest.fixture
def make_slot(tmp_path, store):
    slots = []

    def make(sandboxed=SANDBOXED):
        child = ChildPlan(Device(), ChildLimits(1 << 30), sandboxed, FAKES / "fake_child.py")
        plan = SlotPlan("finish-0", (TaskKind.FINISH, TaskKind.CHECK), tmp_path / "slot", child)
        slots.append(Slot(plan, SceneCache(tmp_path / "cache", 1 << 20, store.download), None))
        return slots[-1]

    yield make
    for slot in slots:
        slot.close()


@pytest.fixture
def weak_slot(make_slot, monkeypatch):
    """Its picture process can be undone."""
    program = str(FAKES / "fake_pictures.py")
    monkeypatch.setattr(
        Slot, "_picture_sandbox", lambda self: lambda command: [sys.executable, program, command[-1]]
    )
    return make_slot(sandboxed=False)


def picture(seed=1, tile=TILE):
    """Noise, the same pixels wherever a tile lies in the frame."""
    random = numpy.random.default_rng(seed)
    frame = random.random((64, 64, 4), dtype=numpy.float32)
    channels = {
        f"ViewLayer.Combined.{name}": frame[64 - tile.y1 : 64 - tile.y0, tile.x0 : tile.x1, index].copy()
        for index, name in enumerate("RGBA")
    }
    return exr.Image(tile.width, tile.height, (exr.Part("ViewLayer.Combined", channels, {}),))


def stored(store, folder, name, image):
    path = folder / "picture.exr"
    exr.write(path, image)
    return store.put(name, path.read_bytes())


def check_of(store, folder, image, audits=(), file=None, channels=None, **fields):
    file = file or stored(store, folder, "tile.exr", image)
    task = Task(TaskId("c"), JobId("j"), TaskKind.CHECK, 7, TILE)
    names = channel_names(image) if channels is None else channels
    lease = Lease(
        task=task,
        token=LeaseToken(1),
        slot="finish-0",
        expires_in=30,
        scene=SceneId("s"),
        owner=OwnerId("o"),
        settings=RenderSettings(16, 0, 100, "PNG"),
        width=64,
        height=64,
        area=Tile(0, 0, 64, 64),
        canvas=Tile(0, 0, 64, 64),
        inputs=(TileInput(TaskId("tile"), TILE, file),),
        check=CheckOrder(pixel_root([image]), names, tuple(audits)),
    )
    return dataclasses.replace(lease, **fields)


def audit_of(store, folder, name="audit", seed=1, sparse=None):
    files = [
        stored(store, folder, f"{name}/crop-{number}.exr", picture(seed, crop))
        for number, crop in enumerate(CROPS)
    ]
    if sparse is not None:
        files.append(stored(store, folder, f"{name}/sparse.exr", sparse))
    order = AuditOrder(CROPS, SampleRange(3, 1) if sparse is not None else None)
    return AuditAnswer(TaskId(name), order, tuple(files))


def do(slot, lease):
    outcome = slot.run(lease)
    return slot.settle(lease, outcome) if isinstance(outcome, Rendered) else outcome


def kept(slot):
    return {path.name: path for path in slot.plan.folder.glob("done/*/files/*")}


def test_a_tile_that_equals_its_audit_is_reported_so(make_slot, store, tmp_path):
    slot = make_slot()
    slot.describe()
    before = slot._stage.child.pid
    lease = check_of(store, tmp_path, picture(), [audit_of(store, tmp_path, sparse=picture())])
    result = do(slot, lease)
    assert isinstance(result, TaskResult), result
    assert [(crop.tile, crop.different) for crop in result.report.crops] == [(CROPS[0], 0), (CROPS[1], 0)]
    assert result.report.fault is None
    assert [file.name for file in result.files] == ["report.json"]
    assert decode(kept(slot)["report.json"].read_bytes(), CheckReport) == result.report
    assert result.pixel_root == file_root(result.files)
    assert slot._stage.child.pid == before, "no Blender was needed"
    assert slot._stage.blank
    assert not list(slot.plan.folder.glob("done/*/inputs"))


def test_a_tile_that_differs_is_reported_with_pictures_for_people(make_slot, store, tmp_path):
    slot = make_slot()
    wrong = picture()
    wrong.parts[0].channels["ViewLayer.Combined.G"][-3, 2] += 0.5
    result = do(slot, check_of(store, tmp_path, wrong, [audit_of(store, tmp_path)]))
    assert [crop.different for crop in result.report.crops] == [1, 0]
    names = [f"crop-0-{what}.png" for what in ("difference", "rendered", "submitted")]
    assert [file.name for file in result.files] == ["report.json", *names]
    for file in result.files:
        assert hashlib.sha256(kept(slot)[file.name].read_bytes()).hexdigest() == file.sha256
    assert kept(slot)[names[0]].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", Fault.UNDECODABLE),
        (b"v/1\x01 no more than that", Fault.UNDECODABLE),
        (b"\xff" * 5000, Fault.UNDECODABLE),
    ],
)
def test_a_tile_that_is_no_picture_is_a_finding(make_slot, store, tmp_path, body, fault):
    slot = make_slot()
    result = do(slot, check_of(store, tmp_path, picture(), file=store.put("tile.exr", body)))
    assert result.report.fault is fault
    assert result.report.detail
    assert [file.name for file in result.files] == ["report.json"]


def test_a_tile_of_other_pixels_than_signed_is_a_finding(make_slot, store, tmp_path):
    other = stored(store, tmp_path, "tile.exr", picture(seed=2))
    result = do(make_slot(), check_of(store, tmp_path, picture(), file=other))
    assert result.report.fault is Fault.WRONG_ROOT


def test_a_tile_that_unpacks_to_fifty_gigabytes_is_a_finding(make_slot, store, tmp_path):
    """Its header promises what its chunks do not hold; nothing of it is ever unpacked."""
    body = bomb(65_536, 65_536, 3)
    result = do(make_slot(), check_of(store, tmp_path, picture(), file=store.put("tile.exr", body)))
    assert result.report.fault in (Fault.WRONG_SIZE, Fault.TOO_LARGE)
    many = store.put("tile.exr", bomb(32, 32, 4000))
    result = do(make_slot(), check_of(store, tmp_path, picture(), file=many))
    assert result.report.fault is not None


def bomb(width, height, channels):
    """A valid header of a picture that large, and a few bytes that unpack to megabytes."""

    def attribute(name, kind, value):
        return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value

    names = b"".join(b"c%05d\0" % n + struct.pack("<iB3x2i", 2, 0, 1, 1) for n in range(channels)) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = struct.pack("<ii", 20000630, 2) + attribute(b"channels", b"chlist", names)
    header += attribute(b"compression", b"compression", b"\3") + attribute(b"dataWindow", b"box2i", window)
    header += attribute(b"displayWindow", b"box2i", window) + attribute(b"lineOrder", b"lineOrder", b"\0")
    header += attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    header += attribute(b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0))
    header += attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1)) + b"\0"
    count = -(-height // 16)
    packed = zlib.compress(bytes(16 << 20), 9)
    start = len(header) + 8 * count
    chunk = struct.pack("<ii", 0, len(packed)) + packed
    return header + struct.pack(f"<{count}Q", *[start] * count) + chunk


def test_a_file_too_large_for_its_size_is_not_even_fetched(make_slot, store, tmp_path):
    huge = store.put("tile.exr", b"x", size=checks.most_bytes(TILE) + 1)
    result = do(make_slot(), check_of(store, tmp_path, picture(), file=huge))
    assert result.report.fault is Fault.TOO_LARGE
    assert store.asked == []
    assert [file.name for file in result.files] == ["report.json"]


def renamed(audit, name):
    return dataclasses.replace(
        audit, files=(dataclasses.replace(audit.files[0], name=name), *audit.files[1:])
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda audit: renamed(audit, "../../../escape.exr"),
        lambda audit: renamed(audit, "/etc/passwd"),
        lambda audit: renamed(audit, "crop-1.exr"),
        lambda audit: dataclasses.replace(audit, files=audit.files[:1]),
        lambda audit: dataclasses.replace(audit, files=(*audit.files, audit.files[0])),
        lambda audit: dataclasses.replace(audit, order=AuditOrder(CROPS, SampleRange(0, 1))),
        lambda audit: dataclasses.replace(
            audit, files=(dataclasses.replace(audit.files[0], size=1 << 40), audit.files[1])
        ),
    ],
)
def test_audits_with_other_files_than_ordered_are_named_and_nothing_is_fetched(
    make_slot, store, tmp_path, spoil
):
    audits = [audit_of(store, tmp_path, "good"), spoil(audit_of(store, tmp_path, "bad"))]
    failure = do(make_slot(), check_of(store, tmp_path, picture(), audits))
    assert isinstance(failure, TaskFailure)
    assert (failure.code, failure.bad_inputs) == (FailureCode.BAD_INPUT, ("bad",))
    assert store.asked == []


def test_files_that_the_store_lost_are_named(make_slot, store, tmp_path):
    lease = check_of(store, tmp_path, picture(), [audit_of(store, tmp_path)])
    del store.bodies["audit/crop-1.exr"]
    failure = do(make_slot(), lease)
    assert (failure.code, failure.bad_inputs) == (FailureCode.BAD_INPUT, ("audit",))
    del store.bodies["tile.exr"]
    failure = do(make_slot(), lease)
    assert (failure.code, failure.bad_inputs) == (FailureCode.BAD_INPUT, ("tile", "audit"))


@pytest.mark.parametrize("fields", [{"check": None}, {"inputs": ()}])
def test_a_check_that_says_nothing_is_given_back(make_slot, store, tmp_path, fields):
    failure = do(make_slot(), check_of(store, tmp_path, picture(), **fields))
    assert failure.code is FailureCode.NODE
    assert "does not say" in failure.message


# --- pictures that hurt ---------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [b"CRASH", b"SILENT"])
def test_a_tile_that_kills_whoever_decodes_it_is_a_finding(weak_slot, store, tmp_path, word):
    lease = check_of(
        store, tmp_path, picture(), [audit_of(store, tmp_path)], file=store.put("tile.exr", word)
    )
    result = do(weak_slot, lease)
    assert isinstance(result, TaskResult), result
    assert result.report.fault is Fault.UNDECODABLE
    assert "did not survive" in result.report.detail
    good = do(weak_slot, dataclasses.replace(check_of(store, tmp_path, picture()), token=LeaseToken(2)))
    assert good.report.fault is None, "and the slot goes on"


def test_an_audit_that_kills_whoever_decodes_it_is_named(weak_slot, store, tmp_path):
    audits = [audit_of(store, tmp_path, "good"), audit_of(store, tmp_path, "bad")]
    file = store.put("bad/crop-0.exr", b"CRASH")
    audits[1] = dataclasses.replace(audits[1], files=(file, audits[1].files[1]))
    failure = do(weak_slot, check_of(store, tmp_path, picture(), audits))
    assert isinstance(failure, TaskFailure), failure
    assert (failure.code, failure.bad_inputs) == (FailureCode.BAD_INPUT, ("bad",))


def test_a_machine_that_is_out_of_memory_blames_nobody(weak_slot, store, tmp_path):
    """The system kills what is largest, which may well be the process that decodes pictures."""
    failure = do(weak_slot, check_of(store, tmp_path, picture(), file=store.put("tile.exr", b"OOM")))
    assert isinstance(failure, TaskFailure), failure
    assert (failure.code, failure.bad_inputs) == (FailureCode.NODE, ())


@pytest.mark.parametrize("whose", ["tile", "bad"])
def test_pictures_too_large_to_look_at_are_named_and_no_finding(weak_slot, store, tmp_path, whose):
    """An honest tile of many passes may be too large for a small machine: its node is not to blame."""
    audits = [audit_of(store, tmp_path, "good"), audit_of(store, tmp_path, "bad")]
    file = store.put("big.exr", b"EXHAUST")
    if whose == "bad":
        named = dataclasses.replace(file, name="crop-0.exr")
        audits[1] = dataclasses.replace(audits[1], files=(named, audits[1].files[1]))
    lease = check_of(store, tmp_path, picture(), audits, file=file if whose == "tile" else None)
    failure = do(weak_slot, lease)
    assert isinstance(failure, TaskFailure), failure
    assert (failure.code, failure.bad_inputs) == (FailureCode.BAD_INPUT, (whose,))
    assert "memory" in failure.message


def test_a_check_that_is_cancelled_blames_nobody_and_leaves_blender_alone(weak_slot, store, tmp_path):
    weak_slot.describe()
    before = weak_slot._stage.child.pid
    lease = check_of(store, tmp_path, picture(), file=store.put("tile.exr", b"HANG"))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(do(weak_slot, lease)))
    thread.start()
    while not list(weak_slot.plan.folder.glob("done/*/inputs/hangs")):  # nothing tells of it
        threading.Event().wait(0.01)
    weak_slot.cancel(lease)
    thread.join(10)
    assert answers == [TaskFailure(FailureCode.NODE, "The task was cancelled.")]
    assert weak_slot._stage.child.pid == before
    assert weak_slot._stage.child.alive


def test_a_process_that_leaves_links_as_evidence_gives_nothing_away(weak_slot, store, tmp_path):
    """Whoever breaks into the process that decodes pictures may write what it likes."""
    secret = tmp_path / "secret"
    secret.write_text("not for strangers")
    lease = check_of(store, tmp_path, picture())
    rendered = weak_slot.run(lease)
    raw = next(weak_slot.plan.folder.glob("done/*/raw"))
    (raw / "crop-0-rendered.png").symlink_to(secret)
    (raw / "shadow.png").write_bytes(b"")
    names = checks.write_report(rendered.report, raw)
    assert names == ("report.json", "crop-0-rendered.png")
    failure = weak_slot.settle(lease, dataclasses.replace(rendered, names=names))
    assert failure.code is FailureCode.BAD_OUTPUT


def test_a_report_is_written_as_json(tmp_path):
    checks.write_report(CheckReport(fault=Fault.TOO_LARGE, detail="Too large."), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["fault"] == "too_large"

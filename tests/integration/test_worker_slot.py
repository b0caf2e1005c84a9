# SPDX-License-Identifier: GPL-3.0-or-later
"""One slot, one task: with a child that misbehaves, sandboxed where this machine can."""

import dataclasses
import hashlib
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from farm_protocol.audits import AuditOrder, SampleRange, SeamReport
from farm_protocol.errors import InvalidInput, Unavailable
from farm_protocol.fields import StoredFile, Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.node_answers import LeasedScene
from farm_protocol.records import (
    FailureCode,
    Lease,
    RenderSettings,
    Task,
    TaskFailure,
    TaskKind,
    TaskOutput,
    TaskResult,
    TileInput,
    Upload,
)
from frame_splitter import exr
from gpu_worker.blender.child.confining import WRITES
from gpu_worker.blender.process import ChildLimits, Device
from gpu_worker.farm import transfer
from gpu_worker.sandbox import bubblewrap
from gpu_worker.slot import disk, seams
from gpu_worker.slot.checking import Rendered, region_of
from gpu_worker.slot.child_workspace import ChildPlan
from gpu_worker.slot.scene_cache import SceneCache
from gpu_worker.slot.slot import Slot, SlotPlan
from verification.protocol.file_root import file_root
from verification.protocol.pixel_root import pixel_root

FAKE = Path(__file__).parents[1] / "fakes" / "fake_child.py"
SANDBOXED = bubblewrap.unavailable() is None
WHOLE = Tile(0, 0, 32, 16)


class Farm:
    """Scenes and tiles by name, and how often each was asked for."""

    def __init__(self):
        self.bodies = {}
        self.asked = []
        self.color_config = ""

    def stored(self, name, body):
        import hashlib

        self.bodies[name] = body
        return StoredFile(name, hashlib.sha256(body).hexdigest(), len(body), f"http://store/{name}")

    def scene(self, lease):
        self.asked.append(lease.scene)
        file = self.stored(f"scene-{lease.scene}", lease.scene.encode())
        files = {"sub/scene.blend": file}
        if self.color_config:
            files[self.color_config] = self.stored("config", b"ocio_profile_version: 2")
        return LeasedScene(lease.scene, "sub/scene.blend", files, self.color_config)

    def download(self, file, target, stopped):
        body = self.bodies.get(file.name)
        if body is None:
            raise InvalidInput(f"{file.name} is not there.")
        target.write_bytes(body)


@pytest.fixture
def farm(monkeypatch):
    farm = Farm()
    monkeypatch.setattr(transfer, "download", farm.download)
    return farm


@pytest.fixture
def make_slot(tmp_path, farm):
    slots = []

    def make(kinds=None, kind=TaskKind.RENDER, sandboxed=SANDBOXED, memory=1 << 30, stall=20.0, **options):
        child = ChildPlan(Device(), ChildLimits(memory, stall, 60.0, 20.0), sandboxed, FAKE)
        plan = SlotPlan("cpu-0", kinds or (kind,), tmp_path / "slot", child, **options)
        slot = Slot(plan, SceneCache(tmp_path / "cache", 1 << 20, farm.download), farm)
        slots.append(slot)
        return slot

    yield make
    for slot in slots:
        slot.close()
        assert list(slot.plan.folder.glob("stage-*")) == []


def lease_of(scene=None, kind=TaskKind.RENDER, tile=WHOLE, token=1, **fields):
    """A lease on a scene that is the JSON the fake child behaves by."""
    task_fields = {name: fields.pop(name) for name in ("overscan", "output", "frame") if name in fields}
    task = Task(TaskId("job/7"), JobId("j"), kind, tile=tile, **({"frame": 7} | task_fields))
    return Lease(
        task=task,
        token=LeaseToken(token),
        slot="cpu-0",
        expires_in=30,
        scene=SceneId(json.dumps(scene or {})),
        owner=OwnerId("o"),
        settings=RenderSettings(4, 0, 100, "PNG"),
        width=32,
        height=16,
        area=WHOLE,
        canvas=WHOLE,
        **fields,
    )


def do(slot, lease):
    """A task from beginning to end, without its delivery."""
    outcome = slot.run(lease)
    return slot.settle(lease, outcome) if isinstance(outcome, Rendered) else outcome


def read_exr(path):
    import OpenEXR

    return OpenEXR.File(str(path), separate_channels=True).channels()["ViewLayer.Combined.R"].pixels


def test_a_tile_is_rendered_checked_and_kept_for_delivery(make_slot, farm):
    slot = make_slot()
    result = do(slot, lease_of(tile=Tile(0, 0, 16, 16)))
    assert isinstance(result, TaskResult)
    (file,) = result.files
    assert (file.name, result.render_seconds) == ("tile.exr", 0.4)
    assert result.device_class.startswith("cpu:")
    assert result.device_class.endswith("bpy-5.0.1-fake")
    (kept,) = slot.plan.folder.glob("done/*/files/tile.exr")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == file.sha256
    assert result.pixel_root == pixel_root([exr.read(kept)])
    slot.discard(lease_of())
    assert not kept.exists()


def test_only_the_tasks_own_files_are_uploaded(make_slot, monkeypatch):
    sent = []
    monkeypatch.setattr(transfer, "upload", lambda path, upload: sent.append(path))
    slot = make_slot()
    for name in ("../../../secret", "/etc/passwd"):
        with pytest.raises(InvalidInput):
            slot.deliver(lease_of(), (Upload(name, "http://store/x", {}),))
    assert sent == []


def test_overscan_is_rendered_and_cut_off_again(make_slot):
    slot = make_slot()
    lease = lease_of(tile=Tile(8, 0, 16, 16), overscan=2)
    assert region_of(lease) == Tile(6, 0, 18, 16)
    result = do(slot, lease)
    (kept,) = slot.plan.folder.glob("done/*/files/*")
    assert result.pixel_root == pixel_root([exr.read(kept)])
    pixels = read_exr(kept)
    assert pixels.shape == (16, 8)
    # The fake's columns count from the region's left edge: column 2 is the tile's first.
    assert [float(pixels[0, 0]), float(pixels[0, 7])] == [7 + 2 / 1024, 7 + 9 / 1024]


def test_a_warm_child_is_used_again_and_a_new_scene_gets_a_new_one(make_slot, farm):
    slot = make_slot()
    slot.describe()
    first = slot._stage.child.pid
    do(slot, lease_of(token=1))
    do(slot, lease_of(token=2))
    assert slot._stage.child.pid == first
    assert len(farm.asked) == 1
    do(slot, lease_of({"other": "scene"}, token=3))
    assert slot._stage.child.pid != first
    do(slot, lease_of(token=4))
    assert len(farm.asked) == 2, "the first scene is still cached"


def test_a_picture_is_checked_while_the_next_one_renders(make_slot):
    slot = make_slot()
    first = slot.run(lease_of(token=1))
    second = slot.run(lease_of({"other": "scene"}, token=2))
    assert isinstance(slot.settle(lease_of(token=1), first), TaskResult)
    assert isinstance(slot.settle(lease_of(token=2), second), TaskResult)
    assert len(list(slot.plan.folder.glob("done/*/files/tile.exr"))) == 2


def test_a_child_whose_picture_was_bad_is_replaced(make_slot):
    slot = make_slot()
    assert do(slot, lease_of({"render": "nan"})).code is FailureCode.BAD_OUTPUT
    first = slot._stage.child.pid
    assert do(slot, lease_of({"render": "nan"}, token=2)).code is FailureCode.BAD_OUTPUT
    assert slot._stage.child.pid != first


def test_a_worn_child_is_replaced(make_slot):
    slot = make_slot(commands_per_child=2)
    first = slot._stage.child.pid
    for token in range(3):
        assert isinstance(do(slot, lease_of(token=token)), TaskResult)
    assert slot._stage.child.pid != first


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("crash", FailureCode.CRASHED),
        ("hang", FailureCode.HUNG),
        ("eat", FailureCode.OUT_OF_MEMORY),
        ("garbage", FailureCode.CRASHED),
        ("nan", FailureCode.BAD_OUTPUT),
        ("wrong_size", FailureCode.BAD_OUTPUT),
        ("not_an_exr", FailureCode.BAD_OUTPUT),
        ("no_file", FailureCode.BAD_OUTPUT),
        ("link", FailureCode.BAD_OUTPUT),
        ("scene_error", FailureCode.SCENE),
        ("device_error", FailureCode.DEVICE),
    ],
)
def test_a_bad_render_is_a_failure_and_the_slot_goes_on(make_slot, behaviour, code):
    slot = make_slot(memory=200 << 20, stall=2.0 if behaviour == "hang" else 20.0)
    failure = do(slot, lease_of({"render": behaviour}))
    assert isinstance(failure, TaskFailure)
    assert failure.code is code
    assert failure.message
    assert isinstance(do(slot, lease_of(token=2)), TaskResult)
    assert len(list(slot.plan.folder.glob("done/*"))) == 1


@pytest.mark.parametrize("behaviour", ["link", "folder_link", "climb", "pipe", "no_files"])
def test_final_files_that_are_not_the_tasks_own_are_refused(make_slot, tmp_path, behaviour):
    secret = tmp_path / "secret"
    secret.write_text("not for strangers")
    slot = make_slot(sandboxed=False)
    scene = {"render": behaviour, "target": str(secret)}
    failure = do(slot, lease_of(scene, output=TaskOutput.FINAL))
    assert isinstance(failure, TaskFailure)
    assert failure.code is FailureCode.BAD_OUTPUT


def test_a_final_frame_hands_over_its_files(make_slot):
    slot = make_slot()
    result = do(slot, lease_of(output=TaskOutput.FINAL))
    assert [file.name for file in result.files] == ["frame.png"]
    assert result.pixel_root == file_root(result.files)


CROPS = (Tile(8, 0, 12, 4), Tile(14, 10, 16, 16))


def audit_lease(scene=None, crops=CROPS, sparse=SampleRange(1, 1), **fields):  # noqa: B008 - frozen
    fields = {"tile": Tile(8, 0, 16, 16), "overscan": 2} | fields
    return lease_of(scene, kind=TaskKind.AUDIT, audit=AuditOrder(crops, sparse), **fields)


def test_an_audits_pictures_are_cut_to_what_was_ordered_and_signed_together(make_slot):
    slot = make_slot()
    result = do(slot, audit_lease())
    assert isinstance(result, TaskResult), result
    assert [file.name for file in result.files] == ["crop-0.exr", "crop-1.exr", "sparse.exr"]
    kept = [exr.read(next(slot.plan.folder.glob(f"done/*/files/{file.name}"))) for file in result.files]
    assert [(image.width, image.height) for image in kept] == [(4, 4), (2, 6), (8, 16)]
    assert result.pixel_root == pixel_root(kept)
    # The fake's columns count from the left edge of what it rendered: two pixels of overscan.
    assert float(kept[0].parts[0].channels["ViewLayer.Combined.R"][0, 0]) == 2 / 1024
    for file in result.files:
        path = next(slot.plan.folder.glob(f"done/*/files/{file.name}"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def test_an_audit_and_a_tile_share_the_warm_child(make_slot):
    slot = make_slot(kinds=(TaskKind.RENDER, TaskKind.AUDIT))
    do(slot, lease_of(token=1))
    first = slot._stage.child.pid
    assert isinstance(do(slot, audit_lease(token=2, sparse=None)), TaskResult)
    assert isinstance(do(slot, lease_of(token=3)), TaskResult)
    assert slot._stage.child.pid == first


def test_a_whole_tile_is_rendered_again_by_a_fresh_child_in_the_way_its_node_did(make_slot):
    """Neither what a warm child does otherwise nor what only audits do may blame anybody."""
    slot = make_slot(kinds=(TaskKind.RENDER, TaskKind.AUDIT))
    scene = {"audit": "crash"}
    tile = do(slot, lease_of(scene, tile=Tile(8, 0, 16, 16), overscan=2))
    first = slot._stage.child.pid
    again = do(slot, audit_lease(scene, token=2, crops=(Tile(8, 0, 16, 16),), sparse=None))
    assert isinstance(again, TaskResult), again
    assert slot._stage.child.pid != first
    assert [file.name for file in again.files] == ["crop-0.exr"]
    assert again.pixel_root == tile.pixel_root


def test_an_audit_that_somebody_may_be_blamed_for_is_made_by_a_fresh_child(make_slot):
    slot = make_slot(kinds=(TaskKind.RENDER, TaskKind.AUDIT))
    do(slot, audit_lease())
    warm = slot._stage.child.pid
    assert isinstance(do(slot, audit_lease(token=2)), TaskResult)
    assert slot._stage.child.pid == warm
    assert isinstance(do(slot, dataclasses.replace(audit_lease(token=3), fresh=True)), TaskResult)
    assert slot._stage.child.pid != warm


@pytest.mark.parametrize("behaviour", ["audit_short", "audit_miscounted", "crash", "nan_audit"])
def test_an_audit_that_is_not_what_was_ordered_is_a_failure(make_slot, behaviour):
    slot = make_slot()
    failure = do(slot, audit_lease({"audit": behaviour}))
    assert isinstance(failure, TaskFailure)
    assert failure.code is (FailureCode.CRASHED if behaviour == "crash" else FailureCode.BAD_OUTPUT)
    assert isinstance(do(slot, audit_lease(token=2)), TaskResult)


@pytest.mark.parametrize(
    "lease",
    [
        audit_lease(crops=(), sparse=None),
        audit_lease(crops=(Tile(6, 0, 10, 4),)),
        audit_lease(crops=(Tile(8, 0, 8, 4),)),
        dataclasses.replace(audit_lease(), audit=None),
    ],
)
def test_an_order_that_makes_no_sense_is_given_back(make_slot, lease):
    failure = do(make_slot(), lease)
    assert isinstance(failure, TaskFailure)
    assert failure.code is FailureCode.NODE
    assert "audit" in failure.message


def finish_lease(farm, pieces, scene=None, **fields):
    inputs = []
    for number, (tile, body) in enumerate(pieces):
        inputs.append(TileInput(TaskId(f"tile-{number}"), tile, farm.stored(f"tile-{number}", body)))
    return lease_of(*([scene] if scene else []), kind=TaskKind.FINISH, inputs=tuple(inputs), **fields)


def exr_bytes(tmp_path, width, height, value=1.0):
    import runpy

    path = tmp_path / "piece.exr"
    runpy.run_path(str(FAKE))["write_exr"](str(path), width, height, value)
    return path.read_bytes()


def test_finishing_stitches_and_hands_over_all_files(make_slot, farm, tmp_path):
    slot = make_slot(kind=TaskKind.FINISH)
    half = exr_bytes(tmp_path, 16, 16)
    result = do(slot, finish_lease(farm, [(Tile(0, 0, 16, 16), half), (Tile(16, 0, 32, 16), half)]))
    assert isinstance(result, TaskResult), result
    assert [file.name for file in result.files] == ["frame.png", "extra/depth.exr"]
    kept = next(slot.plan.folder.glob("done/*/files/frame.png")).read_bytes()
    told = re.search(rb"finished (\d+) bytes", kept)
    assert told
    assert int(told[1]) > 16 * 32 * 16, "four float channels of 32 x 16 pixels were given"
    assert next(slot.plan.folder.glob("done/*/files/extra/depth.exr")).stat().st_size > 0


@pytest.mark.parametrize("behaviour", ["finish_empty", "finish_cut", "finish_small", "finish_cut_beside"])
def test_a_finished_file_that_is_not_whole_is_not_accepted(make_slot, farm, tmp_path, monkeypatch, behaviour):
    slot = make_slot(kind=TaskKind.FINISH)
    half = exr_bytes(tmp_path, 16, 16)
    pieces = [(Tile(0, 0, 16, 16), half), (Tile(16, 0, 32, 16), half)]
    failure = do(slot, finish_lease(farm, pieces, {"finish": behaviour}))
    assert isinstance(failure, TaskFailure)
    assert failure.code is FailureCode.BAD_OUTPUT
    monkeypatch.setattr(disk, "LEAST_FREE", 1 << 62)
    failure = do(slot, finish_lease(farm, pieces, {"finish": behaviour}))
    assert failure.code is FailureCode.NODE
    assert "disk of this node is full" in failure.message


def finished(slot, farm, tmp_path, scene):
    """The result of a frame that is compared with a whole one, and its first file."""
    piece = exr_bytes(tmp_path, 32, 16)
    lease = dataclasses.replace(finish_lease(farm, [(WHOLE, piece)], scene=scene), seam=True)
    result = do(slot, lease)
    assert isinstance(result, TaskResult), result
    assert list(slot.plan.folder.glob("done/*/seams")) == []
    return result, next(slot.plan.folder.glob("done/*/files/frame.png")).read_bytes()


def test_a_frame_that_equals_the_whole_one_is_delivered_as_it_is(make_slot, farm, tmp_path):
    slot = make_slot(kind=TaskKind.FINISH)
    result, _ = finished(slot, farm, tmp_path, {"finish": "finish_as_whole"})
    assert result.seam == SeamReport(1)


@pytest.mark.parametrize(
    ("behaviour", "difference"),
    [
        ("ok", "'extra/depth.exr' is written by only one of the two ways"),
        ("finish_otherwise", "'frame.png' differs in 512 pixels"),
    ],
)
def test_where_seams_show_the_whole_frame_is_delivered(make_slot, farm, tmp_path, behaviour, difference):
    slot = make_slot(kind=TaskKind.FINISH)
    result, body = finished(slot, farm, tmp_path, {"finish": behaviour})
    assert result.seam == SeamReport(1, difference)
    assert b"frame 7" in body
    assert [file.name for file in result.files] == ["frame.png"]


def test_a_whole_frame_that_fails_says_nothing_about_seams(make_slot, farm, tmp_path):
    slot = make_slot(kind=TaskKind.FINISH)
    result, _ = finished(slot, farm, tmp_path, {"finish": "finish_as_whole", "render": "crash"})
    assert result.seam == SeamReport()
    plain, _ = finished(slot, farm, tmp_path, {"finish": "finish_as_whole"})
    assert plain.seam == SeamReport(1)


def test_without_memory_for_another_blender_seams_are_not_looked_at(make_slot, farm, tmp_path, monkeypatch):
    slot = make_slot(kind=TaskKind.FINISH)
    monkeypatch.setattr(seams.psutil, "virtual_memory", lambda: SimpleNamespace(available=1))
    result, _ = finished(slot, farm, tmp_path, {"finish": "finish_otherwise"})
    assert result.seam == SeamReport()


def test_a_frame_that_nobody_asked_to_compare_is_not(make_slot, farm, tmp_path):
    slot = make_slot(kind=TaskKind.FINISH)
    result = do(slot, finish_lease(farm, [(WHOLE, exr_bytes(tmp_path, 32, 16))], scene={"render": "crash"}))
    assert result.seam is None


def test_finishing_names_the_tiles_it_cannot_use(make_slot, farm, tmp_path):
    slot = make_slot(kind=TaskKind.FINISH)
    good, small = exr_bytes(tmp_path, 8, 16), exr_bytes(tmp_path, 7, 16)
    nan, garbage = exr_bytes(tmp_path, 8, 16, float("nan")), b"v/1\x01" + b"\xff" * 4000
    tiles = [Tile(x, 0, x + 8, 16) for x in (0, 8, 16, 24)]
    failure = do(slot, finish_lease(farm, list(zip(tiles, (small, good, nan, garbage), strict=True))))
    assert isinstance(failure, TaskFailure)
    assert failure.code is FailureCode.BAD_INPUT
    assert failure.bad_inputs == ("tile-0", "tile-2", "tile-3")


def test_finishing_names_the_tiles_the_store_does_not_have(make_slot, farm, tmp_path):
    slot = make_slot(kind=TaskKind.FINISH)
    lease = finish_lease(farm, [(WHOLE, exr_bytes(tmp_path, 32, 16))])
    farm.bodies.pop("tile-0")
    failure = do(slot, lease)
    assert (failure.code, failure.bad_inputs) == (FailureCode.BAD_INPUT, ("tile-0",))


def test_cancel_ends_a_render_at_once_and_only_its_own(make_slot):
    slot = make_slot()
    lease = lease_of({"render": "slow"})
    answers = []
    thread = threading.Thread(target=lambda: answers.append(do(slot, lease)))
    thread.start()
    while slot.progress().activity != "rendering":
        threading.Event().wait(0.01)
    slot.cancel(dataclasses.replace(lease, token=LeaseToken(99)))
    assert slot._stage.child.alive
    slot.cancel(lease)
    thread.join(10)
    assert answers == [TaskFailure(FailureCode.NODE, "The task was cancelled.")]
    assert isinstance(do(slot, lease_of(token=2)), TaskResult)


def test_a_store_that_is_away_is_the_nodes_failure(make_slot, farm, monkeypatch):
    def away(file, target, stopped):
        raise Unavailable("The object store does not answer.")

    slot = make_slot()
    slot._cache._download = away
    failure = do(slot, lease_of())
    assert (failure.code, failure.message) == (FailureCode.NODE, "The object store does not answer.")


def test_a_child_that_does_not_load_is_the_nodes_failure(make_slot, tmp_path):
    slot = make_slot()
    slot._stage.child.kill()
    slot.plan = dataclasses.replace(
        slot.plan,
        child=dataclasses.replace(slot.plan.child, program=tmp_path / "missing.py", sandboxed=False),
    )
    failure = do(slot, lease_of())
    assert failure.code is FailureCode.NODE
    assert "does not start" in failure.message


def seen_by_children(slot):
    """What each task's child looked at, as it noted it in its picture."""
    pictures = [path.read_bytes() for path in slot.plan.folder.glob("done/*/files/frame.png")]
    return [
        json.loads(picture.partition(b"Comment\0")[2].partition(b"}}")[0] + b"}}") for picture in pictures
    ]


@pytest.mark.skipif(not SANDBOXED, reason=str(bubblewrap.unavailable()))
def test_the_child_sees_its_scene_and_nothing_else(make_slot, tmp_path):
    other = tmp_path / "cache" / "scenes"
    look = ":".join(map(str, (Path.home() / ".ssh", Path.home() / ".bashrc", other, "/etc/passwd", FAKE)))
    slot = make_slot()
    do(slot, lease_of({"render": "look_around", "look": look}, output=TaskOutput.FINAL))
    (report,) = seen_by_children(slot)
    assert [path for path, seen in report["seen"].items() if seen] == [str(FAKE)]
    ordinary = {"PATH", "LANG", "HOME", "TMPDIR", "PWD", "LC_CTYPE", WRITES}
    assert set(report["variables"]) <= ordinary | bubblewrap.GPU_ORDER.keys()


def test_a_scene_with_colours_of_its_own_gets_a_child_that_loads_them(make_slot, farm):
    slot = make_slot()
    do(slot, lease_of({"render": "look_around", "look": "/"}, output=TaskOutput.FINAL))
    farm.color_config = "_ocio/config.ocio"
    lease = lease_of({"render": "look_around", "look": "/etc"}, token=2, output=TaskOutput.FINAL)
    do(slot, lease)
    named = [report["variables"].get("OCIO") for report in seen_by_children(slot)]
    assert None in named
    (config,) = filter(None, named)
    assert Path(config).read_text() == "ocio_profile_version: 2"
    assert Path(config).is_relative_to(slot.plan.folder)


def test_the_blender_that_a_frame_is_compared_with_loads_them_too(make_slot, farm, tmp_path):
    farm.color_config = "_ocio/config.ocio"
    slot = make_slot(kind=TaskKind.FINISH)
    finished(slot, farm, tmp_path, {"finish": "ok", "render": "look_around", "look": "/"})
    (report,) = seen_by_children(slot)
    assert report["variables"].get("OCIO", "").endswith("/_ocio/config.ocio")

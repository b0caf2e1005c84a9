# SPDX-License-Identifier: GPL-3.0-or-later
"""A job followed to its end, against a coordinator that tells little, much, or lies."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm_protocol.errors import FarmError
from render_farm.answers import Job
from render_farm.cli.following import JobCancelled, JobFailed, follow
from render_farm.cli.outputs import Targets, targets
from render_farm.client import FarmClient
from tests.fakes.scripted_server import Answer, Asked, Scripted, scripted

SHA = "0" * 64


def job_record(state: str, failure: str | None = None) -> dict[str, Any]:
    return {
        "job": "j1",
        "owner": "o1",
        "name": "shot",
        "state": state,
        "scene": SHA,
        "spec": {"scene": SHA, "frames": [1, 2]},
        "settings": {"samples": 1, "seed": 0, "resolution_percentage": 100, "format": "PNG"},
        "exactness": "bit-exact",
        "reason": "",
        "fingerprint": SHA,
        "created": 0.0,
        "frames": {"total": 2, "done": 0, "failed": 0},
        "tasks": {"total": 4, "ready": 4, "leased": 0, "accepted": 0, "failed": 0},
        "device_class": None,
        "extension": ".png",
        "width": 1,
        "height": 1,
        "render_seconds": 0.0,
        "failure": failure,
    }


class Coordinator:
    """Answers for one job: its events, its frames and their files."""

    def __init__(self, state: str = "complete", failure: str | None = None) -> None:
        self.record = job_record(state, failure)
        self.files: dict[str, bytes] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.frames: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = []
        self.url = ""

    def file(self, name: str, data: bytes) -> dict[str, Any]:
        key = hashlib.sha256(data).hexdigest()
        self.files[key] = data
        return {"name": name, "sha256": key, "size": len(data), "url": f"{self.url}/file/{key}"}

    def frame(self, number: int, *files: dict[str, Any], told: bool = True, tiles: int = 1) -> None:
        done = {"frame": number, "state": "done", "files": files, "render_seconds": 1.5, "tiles": tiles}
        if told:
            self.events.append(("frame", done))
        self.frames.append({**done, "tiles_accepted": 1})

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.startswith("/file/"):
            return Answer(body=self.files[asked.path.removeprefix("/file/")])
        if asked.path.endswith("/events"):
            told = [*self.events, ("job", self.record)]
            lines = [f"id: {n}\nevent: {kind}\ndata: ".encode() for n, (kind, _) in enumerate(told)]
            data = [msgspec.json.encode(record) for _, record in told]
            return Answer(body=b"".join(a + b + b"\n\n" for a, b in zip(lines, data, strict=True)))
        if asked.path.endswith("/frames"):
            return Answer(body=msgspec.json.encode({"frames": self.frames}))
        if asked.path.endswith("/nodes"):
            return Answer(body=msgspec.json.encode({"nodes": self.nodes}))
        return Answer(body=msgspec.json.encode(self.record))


@pytest.fixture
def goals(tmp_path: Path) -> Targets:
    (tmp_path / "scene.blend").write_bytes(b"scene")
    return targets(f"{tmp_path}/out/####", "", (1, 2), ".png", [str(tmp_path / "scene.blend")])


@contextmanager
def farm(coordinator: Coordinator) -> Iterator[tuple[FarmClient, Scripted]]:
    with scripted(coordinator) as server, FarmClient(server.url, "t", patience=3) as client:
        coordinator.url = server.url
        yield client, server


def started() -> Job:
    return msgspec.convert(job_record("rendering"), Job)


def test_frames_are_fetched_as_they_are_told(goals: Targets) -> None:
    coordinator, said = Coordinator(), list[str]()
    with farm(coordinator) as (client, server):
        coordinator.frame(1, coordinator.file("a.png", b"one"))
        coordinator.frame(2, coordinator.file("b.png", b"two"))
        outcome = follow(client, started(), goals, said.append)
        assert {number: one.path.read_bytes() for number, one in outcome.frames.items()} == {
            1: b"one",
            2: b"two",
        }
        assert len(server.to("/file/")) == 2
    assert sum("Frame" in line for line in said) == 2


def test_frames_the_stream_did_not_tell_are_fetched_all_the_same(goals: Targets) -> None:
    coordinator = Coordinator()
    with farm(coordinator) as (client, _):
        coordinator.frame(1, coordinator.file("a.png", b"one"))
        coordinator.frame(2, coordinator.file("b.png", b"two"), told=False)
        assert sorted(follow(client, started(), goals, print).frames) == [1, 2]


def rejected(task: str, frame: int, node: str, reason: str, outcome: str = "rejected") -> dict[str, Any]:
    return {"task": task, "frame": frame, "node": node, "outcome": outcome, "code": "c", "reason": reason}


def test_rejections_are_said_with_names_people_know(goals: Targets) -> None:
    coordinator, said = Coordinator(), list[str]()
    slots: dict[str, Any] = {"own": False, "online": True, "last_seen": 1.0, "sandboxed": True, "slots": []}
    coordinator.nodes = [{"node": "n1", "name": "desk\x1b[2J", "device_class": "CPU", **slots}]
    with farm(coordinator) as (client, _):
        coordinator.frame(1, coordinator.file("a.png", b"one"), tiles=3)
        coordinator.frame(2, coordinator.file("b.png", b"two"))
        for verdict in (
            rejected("j1.f1.t2", 1, "n1", "Rendered with about 31 of 64 samples."),
            rejected("j1.f2.t0", 2, "n9", "EXR is cut off."),
            rejected("j1.f2.t0", 2, "n8", "", "unresolved"),
            rejected("j1.f2.t0", 2, "n7", "Equal in every float.", "accepted"),
            rejected("j1.f2.t0", 2, "n7", "Pixels differ.", "escalated"),
        ):
            coordinator.events.insert(0, ("verdict", verdict))
        coordinator.events.insert(
            0, ("audit", {"task": "j1.f1.t2", "frame": 1, "node": "n1", "state": "ordered", "auditor": None})
        )
        follow(client, started(), goals, said.append)
    assert [line for line in said if "node" in line] == [
        "Frame 2 from node n8 could not be decided: the farm gave no reason. "
        "It is rendered again, nobody is blamed.",
        "Frame 2 from node n9 was rejected: EXR is cut off. It is rendered again.",
        "Tile 3 of frame 1 from node desk\x1b[2J was rejected: rendered with about 31 of 64 samples. "
        "It is rendered again.",
    ]


def test_a_frame_told_twice_is_fetched_once(goals: Targets) -> None:
    coordinator = Coordinator()
    with farm(coordinator) as (client, server):
        coordinator.frame(1, coordinator.file("a.png", b"one"))
        coordinator.frame(2, coordinator.file("b.png", b"two"))
        coordinator.events *= 3
        follow(client, started(), goals, print)
        assert len(server.to("/file/")) == 2


def test_a_frame_that_is_rendered_again_takes_the_place_of_the_first(goals: Targets) -> None:
    coordinator, said = Coordinator(), list[str]()
    with farm(coordinator) as (client, _):
        coordinator.frame(1, coordinator.file("a.png", b"stitched"))
        coordinator.frame(2, coordinator.file("b.png", b"two"))
        coordinator.events.append(("notice", {"detail": "Frames are rendered whole."}))
        coordinator.events.append(("frame", {"frame": 1, "state": "rendering"}))
        coordinator.frames = coordinator.frames[1:]
        coordinator.frame(1, coordinator.file("a.png", b"whole"))
        coordinator.events.append(("notice", {"detail": "Frames are rendered whole."}))
        outcome = follow(client, started(), goals, said.append)
        assert outcome.frames[1].path.read_bytes() == b"whole"
        assert said.count("Frames are rendered whole.") == 1
        assert said.count("Frame 1 is rendered again.") == 1


def test_a_frame_that_was_taken_back_is_not_called_there(goals: Targets) -> None:
    coordinator = Coordinator("failed", "Frame 1 cannot be rendered.")
    with farm(coordinator) as (client, _):
        coordinator.frame(1, coordinator.file("a.png", b"stitched"))
        coordinator.events.append(("frame", {"frame": 1, "state": "rendering"}))
        coordinator.frames = []
        with pytest.raises(JobFailed) as failed:
            follow(client, started(), goals, lambda text: None)
        assert "kept" not in failed.value.sentence


def test_a_failed_job_keeps_its_frames_and_says_why(goals: Targets) -> None:
    coordinator = Coordinator("failed", "Frame 2: the scene uses too much memory.")
    with farm(coordinator) as (client, _):
        coordinator.frame(1, coordinator.file("a.png", b"one"))
        coordinator.events.append(("frame", {"frame": 2, "state": "failed"}))
        with pytest.raises(JobFailed, match="too much memory"):
            follow(client, started(), goals, print)
    assert goals.frames[1].read_bytes() == b"one"
    assert not goals.frames[2].exists()


def test_a_cancelled_job_is_named(goals: Targets) -> None:
    with farm(Coordinator("cancelled")) as (client, _), pytest.raises(JobCancelled, match="cancelled"):
        follow(client, started(), goals, print)


def test_other_files_come_along_and_evil_names_do_not(goals: Targets, tmp_path: Path) -> None:
    coordinator, said = Coordinator(), list[str]()
    with farm(coordinator) as (client, _):
        coordinator.frame(
            1,
            coordinator.file("a.png", b"one"),
            coordinator.file("outputs/masks/m0001.exr", b"mask"),
            coordinator.file("../../evil.sh", b"evil"),
            coordinator.file("0002.png", b"other"),
        )
        coordinator.frame(2, coordinator.file("b.png", b"two"))
        outcome = follow(client, started(), goals, said.append)
    assert outcome.frames[1].others == (tmp_path / "out" / "outputs" / "masks" / "m0001.exr",)
    assert len(outcome.frames[1].refused) == 2
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "0001.png",
        "0002.png",
        "m0001.exr",
        "scene.blend",
    ]
    assert any("evil.sh" in line for line in said)


def test_a_frame_nobody_asked_for_is_left(goals: Targets) -> None:
    coordinator = Coordinator()
    with farm(coordinator) as (client, server):
        coordinator.frame(99, coordinator.file("a.png", b"one"))
        with pytest.raises(JobFailed, match="no file of frame 1"):
            follow(client, started(), goals, print)
        assert server.to("/file/") == []


def test_a_damaged_frame_fails_after_the_others_are_there(goals: Targets) -> None:
    coordinator = Coordinator()
    with farm(coordinator) as (client, _):
        good, bad = coordinator.file("a.png", b"one"), coordinator.file("b.png", b"two")
        coordinator.files[bad["sha256"]] = b"twO"
        coordinator.frame(2, bad)
        coordinator.frame(1, good)
        with pytest.raises(FarmError, match="damaged"):
            follow(client, started(), goals, print)
    assert goals.frames[1].read_bytes() == b"one"
    assert not goals.frames[2].exists()


def test_a_disk_that_takes_nothing_is_named_at_once(goals: Targets, tmp_path: Path) -> None:
    coordinator, said = Coordinator(), list[str]()
    (tmp_path / "out").write_bytes(b"a file where the folder should be")
    with farm(coordinator) as (client, _):
        coordinator.frame(1, coordinator.file("a.png", b"one"))
        with pytest.raises(FarmError, match="cannot be written"):
            follow(client, started(), goals, said.append)
    assert any("Frame 1:" in line and "cannot be written" in line for line in said)


def test_a_frame_that_failed_is_tried_again_when_it_is_listed(goals: Targets) -> None:
    coordinator = Coordinator()
    with farm(coordinator) as (client, _):
        one, two = coordinator.file("a.png", b"one"), coordinator.file("b.png", b"two")
        coordinator.frame(1, one)
        coordinator.frame(2, two)
        # The stream's link leads nowhere; the list's is right.
        coordinator.events[0][1]["files"] = ({**one, "url": "file:///nowhere"},)
        assert sorted(follow(client, started(), goals, print).frames) == [1, 2]

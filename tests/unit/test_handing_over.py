# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes handed over on one machine: copied once, remembered while nothing changes, checked when read."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from farm_protocol.errors import FarmError, Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.handed_over import place
from gpu_worker import handed_over
from render_farm.handing_over import YOUNG_NS, HandedOver


class Artist:
    """Files of an artist's, and the copies of a farm on the same machine."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.copies, self.memory = (
            folder,
            folder / "state" / "handed",
            folder / "state" / "hashes",
        )
        self.read: list[str] = []
        # Nobody can set a file's ctime: an hour goes by instead.
        self.now_ns = time.time_ns() + 3600 * 10**9
        monkeypatch.setattr("render_farm.handing_over.time.time_ns", lambda: self.now_ns)
        copied = HandedOver._copied

        def noted(keeps: HandedOver, handle: int, source: Path) -> object:
            self.read.append(source.name)
            return copied(keeps, handle, source)

        monkeypatch.setattr(HandedOver, "_copied", noted)

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def hand_over(self, *paths: Path) -> list[str]:
        """What one command takes; the sha256 of each."""
        keeps = HandedOver(self.copies, self.memory)
        found = [keeps.take(path, None).sha256 for path in paths]
        keeps.save()
        return found


@pytest.fixture
def artist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artist:
    return Artist(tmp_path, monkeypatch)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_read_once_while_it_stays_as_it_is(artist: Artist) -> None:
    paths = [artist.file("a", b"one"), artist.file("b", b"two"), artist.file("empty", b"")]
    wanted = [sha(b"one"), sha(b"two"), sha(b"")]
    assert artist.hand_over(*paths) == wanted
    assert artist.hand_over(*paths) == wanted
    assert artist.read == ["a", "b", "empty"]
    assert [place(artist.copies, one).read_bytes() for one in wanted] == [b"one", b"two", b""]


def test_a_change_is_seen_though_size_and_mtime_are_put_back(artist: Artist) -> None:
    path = artist.file("a", b"one")
    artist.hand_over(path)
    before = path.stat()
    path.write_bytes(b"two")
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # Its clock ticks some hundred times a second.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert artist.hand_over(path) == [sha(b"two")]


def test_another_file_in_its_place_is_not_taken_for_it(artist: Artist) -> None:
    path, other = artist.file("a", b"one"), artist.file("b", b"two")
    before = path.stat()
    artist.hand_over(path)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)
    assert artist.hand_over(path) == [sha(b"two")]


def test_a_file_changed_just_now_is_not_remembered(artist: Artist) -> None:
    path = artist.file("a", b"one")
    artist.now_ns = path.stat().st_ctime_ns + YOUNG_NS // 2
    artist.hand_over(path)
    artist.hand_over(path)
    assert artist.read == ["a", "a"]


def test_a_copy_that_is_gone_is_made_again(artist: Artist) -> None:
    path = artist.file("a", b"one")
    artist.hand_over(path)
    place(artist.copies, sha(b"one")).unlink()
    artist.hand_over(path)
    assert place(artist.copies, sha(b"one")).read_bytes() == b"one"


@pytest.mark.parametrize(
    "memory",
    [b"{", b"[]", b'{"files":{"1:1":[1,1,1,"short"]}}', b'{"files":{"1:1":[-1,1,1,""]}}', b"\0" * 99],
)
def test_a_memory_that_is_none_is_forgotten(artist: Artist, memory: bytes) -> None:
    path = artist.file("a", b"one")
    artist.hand_over(path)
    artist.memory.write_bytes(memory)
    assert artist.hand_over(path) == [sha(b"one")]
    assert artist.read == ["a", "a"]


def test_what_the_artist_changes_later_changes_no_copy(artist: Artist, tmp_path: Path) -> None:
    path, target = artist.file("a", b"one"), tmp_path / "bundle" / "a"
    HandedOver(artist.copies, artist.memory).take(path, target)
    path.write_bytes(b"two")
    assert target.read_bytes() == place(artist.copies, sha(b"one")).read_bytes() == b"one"


def test_a_file_that_changes_while_it_is_read_is_refused(
    artist: Artist, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = artist.file("a", b"one"), os.read

    def changing(handle: int, size: int) -> bytes:
        monkeypatch.setattr("render_farm.handing_over.os.read", read)
        path.write_bytes(b"another")
        return read(handle, size)

    monkeypatch.setattr("render_farm.handing_over.os.read", changing)
    with pytest.raises(FarmError, match="was changed while it was read"):
        HandedOver(artist.copies, artist.memory).take(path, None)
    assert list(artist.copies.iterdir()) == []


# --- the node ---------------------------------------------------------------------------------------


def stored(content: bytes) -> StoredFile:
    return StoredFile("a", sha(content), len(content), "http://127.0.0.1:1/")


def taken(artist: Artist, content: bytes, target: Path) -> bool:
    return handed_over.take(artist.copies, stored(content), target, threading.Event())


def test_a_node_links_to_what_was_handed_over(artist: Artist, tmp_path: Path) -> None:
    artist.hand_over(artist.file("a", b"one"))
    assert taken(artist, b"one", tmp_path / "target")
    assert os.path.samefile(tmp_path / "target", place(artist.copies, sha(b"one")))
    assert not taken(artist, b"two", tmp_path / "other")


def test_a_damaged_copy_is_seen_and_thrown_away(artist: Artist, tmp_path: Path) -> None:
    artist.hand_over(artist.file("a", b"one"))
    copy = place(artist.copies, sha(b"one"))
    copy.chmod(0o644)
    copy.write_bytes(b"eno")
    assert not taken(artist, b"one", tmp_path / "target")
    assert not copy.exists()
    assert not (tmp_path / "target").exists()


def test_a_link_in_the_place_of_a_copy_is_not_followed(artist: Artist, tmp_path: Path) -> None:
    secret = artist.file("secret", b"one")
    copy = place(artist.copies, sha(b"one"))
    copy.parent.mkdir(parents=True)
    copy.symlink_to(secret)
    assert not taken(artist, b"one", tmp_path / "target")


def test_what_was_not_handed_over_is_asked_of_the_object_store(
    artist: Artist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(handed_over, "download", lambda file, *_: asked.append(file.sha256))
    artist.hand_over(artist.file("a", b"one"))
    fetch = handed_over.fetcher(artist.copies)
    for number, content in enumerate((b"one", b"two")):
        fetch(stored(content), tmp_path / f"target-{number}", threading.Event())
    assert asked == [sha(b"two")]


def test_stopping_ends_the_reading(artist: Artist, tmp_path: Path) -> None:
    artist.hand_over(artist.file("a", b"one"))
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Unavailable):
        handed_over.take(artist.copies, stored(b"one"), tmp_path / "target", stopped)


def test_the_memory_names_no_paths(artist: Artist) -> None:
    artist.hand_over(artist.file("secret-project", b"one"))
    assert b"secret" not in artist.memory.read_bytes()

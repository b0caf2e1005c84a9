# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene cache: limits, hostile listings, sharing, kills and full disks."""

import hashlib
import os
import threading
import time
from dataclasses import replace

import pytest

from farm_protocol.errors import InvalidInput, Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.ids import SceneId
from farm_protocol.node_answers import LeasedScene
from farm_protocol.transfer import LinkExpired
from gpu_worker.slot.scene_cache import CacheFull, SceneCache, Stopped

NEVER = threading.Event()


class Store:
    """Blobs by content, and how often each was fetched."""

    def __init__(self):
        self.bodies, self.fetched = {}, []
        self.pause = threading.Event()
        self.pause.set()

    def listing(self, scene, files, main=None):
        stored = {}
        for name, body in files.items():
            digest = hashlib.sha256(body).hexdigest()
            self.bodies[digest] = body
            stored[name] = StoredFile(name, digest, len(body), f"http://store/{digest}")
        return LeasedScene(scene, main or next(iter(files)), stored)

    def download(self, file, target, stopped):
        self.fetched.append(file.name)
        self.pause.wait(10)
        target.write_bytes(self.bodies[file.sha256])


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def cache(tmp_path, store):
    return SceneCache(tmp_path / "cache", 1000, store.download)


def hold(cache, store, scene, files, **options):
    return cache.hold(SceneId(scene), lambda: store.listing(scene, files, **options), NEVER)


def leftovers(cache):
    return list((cache.root / "incoming").iterdir())


def test_a_scene_is_laid_out_under_its_paths(cache, store, tmp_path):
    held = hold(cache, store, "s", {"a/main.blend": b"blend", "a/tex/wood.png": b"wood"})
    main = held.assemble(tmp_path / "out")
    assert main == tmp_path / "out" / "a" / "main.blend"
    assert main.read_bytes() == b"blend"
    assert (tmp_path / "out/a/tex/wood.png").read_bytes() == b"wood"
    assert os.stat(main).st_nlink == 2, "hard links cost no disk"
    assert os.stat(main).st_mode & 0o222 == 0
    held.release()


def test_blobs_are_fetched_once_also_across_scenes(cache, store):
    hold(cache, store, "one", {"main": b"1", "shared": b"same"}).release()
    hold(cache, store, "one", {"main": b"1", "shared": b"same"}).release()
    hold(cache, store, "two", {"main": b"2", "other name": b"same", "again": b"same"}).release()
    assert sorted(store.fetched) == ["main", "main", "shared"]


def test_a_cached_scene_needs_no_listing(cache, store):
    hold(cache, store, "s", {"main": b"1"}).release()

    def listing():
        raise AssertionError

    cache.hold(SceneId("s"), listing, NEVER).release()


def test_what_was_used_longest_ago_goes_first(cache, store):
    for number, name in enumerate("abc"):
        hold(cache, store, name, {name: name.encode() * 300}).release()
        os.utime(cache._record(SceneId(name)), (number, number))
    hold(cache, store, "a", {}).release()
    hold(cache, store, "d", {"d": b"d" * 300}).release()
    held = {name for name in "abcd" if cache._complete(SceneId(name))}
    assert held == {"a", "c", "d"}
    assert cache.used() == 900


def test_scenes_in_use_stay_and_what_does_not_fit_is_refused(cache, store):
    held = hold(cache, store, "a", {"a": b"a" * 600})
    with pytest.raises(CacheFull, match="--cache-size"):
        hold(cache, store, "b", {"b": b"b" * 600})
    assert cache._complete(SceneId("a"))
    assert not cache._complete(SceneId("b"))
    assert store.fetched == ["a"]
    held.release()
    hold(cache, store, "b", {"b": b"b" * 600}).release()
    assert not cache._complete(SceneId("a"))


def test_shared_blobs_survive_the_eviction_of_one_of_their_scenes(cache, store):
    hold(cache, store, "a", {"own": b"a" * 500, "shared": b"s" * 100}).release()
    os.utime(cache._record(SceneId("a")), (1, 1))
    held = hold(cache, store, "b", {"b": b"b" * 100, "shared": b"s" * 100})
    hold(cache, store, "c", {"c": b"c" * 700}).release()
    assert not cache._complete(SceneId("a"))
    assert cache._complete(SceneId("b"))
    held.release()


@pytest.mark.parametrize(
    "name", ["/etc/cron.d/x", "../escape", "a/../../escape", "a\\b", "C:/x", "a\0b", "", "a//b", "x" * 300]
)
def test_paths_that_leave_the_folder_are_refused_before_anything_is_fetched(cache, store, name):
    with pytest.raises(InvalidInput):
        hold(cache, store, "s", {"main": b"1", name: b"2"})
    assert store.fetched == []


def test_listings_that_contradict_themselves_are_refused(cache, store):
    with pytest.raises(InvalidInput, match="main"):
        hold(cache, store, "s", {"a": b"1"}, main="b")
    with pytest.raises(InvalidInput, match="below the file 'a'"):
        hold(cache, store, "s", {"a": b"1", "a/b": b"2"})


def test_a_failed_download_leaves_nothing(cache, store):
    def fail(file, target, stopped):
        target.write_bytes(b"half")
        raise Unavailable("The store is away.")

    cache._download = fail
    with pytest.raises(Unavailable):
        hold(cache, store, "s", {"a": b"1", "b": b"2"})
    assert (cache.used(), leftovers(cache)) == (0, [])
    assert list((cache.root / "scenes").iterdir()) == []
    cache._download = store.download
    hold(cache, store, "s", {"a": b"1", "b": b"2"}).release()


def test_a_damaged_blob_is_fetched_again(cache, store):
    held = hold(cache, store, "s", {"a": b"whole"})
    blob = next((cache.root / "blobs").glob("*/*"))
    blob.chmod(0o644)
    blob.write_bytes(b"cut")
    held.release()
    hold(cache, store, "s", {"a": b"whole"}).release()
    assert blob.read_bytes() == b"whole"


def test_two_slots_that_want_the_same_scene_fetch_it_once(cache, store):
    store.pause.clear()
    helds = []

    def want():
        helds.append(hold(SceneCache(cache.root, 1000, store.download), store, "s", {"a": b"1"}))

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not store.fetched:
        time.sleep(0.01)
    store.pause.set()
    for thread in threads:
        thread.join(10)
    assert len(helds) == 3
    assert store.fetched == ["a"]
    for held in helds:
        held.release()


def test_waiting_for_another_slots_fetch_can_be_stopped(cache, store):
    store.pause.clear()
    thread = threading.Thread(target=lambda: hold(cache, store, "s", {"a": b"1"}).release())
    thread.start()
    while not store.fetched:
        time.sleep(0.01)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Stopped):
        SceneCache(cache.root, 1000, store.download).hold(SceneId("s"), lambda: None, stopped)
    store.pause.set()
    thread.join(10)


def test_files_of_a_process_that_died_are_swept(cache, store):
    old, young = cache.root / "incoming" / "old", cache.root / "incoming" / "young"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    hold(cache, store, "s", {"a": b"1"}).release()
    assert leftovers(cache) == [young]


def test_scene_ids_cannot_name_files(cache, store):
    hold(cache, store, "../../../escape", {"a": b"1"}).release()
    assert len(list((cache.root / "scenes").iterdir())) == 1


def test_odd_names_and_colours_lie_where_the_scene_expects_them(cache, store, tmp_path):
    files = {"sh~k~ot.blend": b"scene", "_ocio/config.ocio": b"colors"}
    listing = replace(store.listing("s", files), color_config="_ocio/config.ocio")
    held = cache.hold(SceneId("s"), lambda: listing, NEVER)
    assert held.assemble(tmp_path / "scene") == tmp_path / "scene" / "sh\not.blend"
    assert held.color_config(tmp_path / "scene") == str(tmp_path / "scene" / "_ocio" / "config.ocio")
    again = cache.hold(SceneId("s"), lambda: pytest.fail("asked again"), NEVER)
    assert again.manifest.color_config == "_ocio/config.ocio"


def test_colours_from_outside_the_scene_are_refused(cache, store):
    listing = replace(store.listing("s", {"a.blend": b"x"}), color_config="/etc/passwd")
    with pytest.raises(InvalidInput):
        cache.hold(SceneId("s"), lambda: listing, NEVER)


class Hasty(Store):
    """A store whose links work for one file each time they are asked for."""

    def __init__(self):
        super().__init__()
        self.asked, self.left = 0, 0

    def listing(self, scene, files, main=None):
        self.asked, self.left = self.asked + 1, 1
        return super().listing(scene, files, main)

    def download(self, file, target, stopped):
        self.left -= 1
        if self.left < 0:
            raise LinkExpired("The object store refused the link.")
        super().download(file, target, stopped)


def test_links_that_run_out_in_the_middle_of_a_scene_are_asked_for_again(tmp_path):
    store = Hasty()
    cache = SceneCache(tmp_path / "cache", 1000, store.download)
    files = {f"{name}.blend": name.encode() for name in "abcde"}
    hold(cache, store, "scene", files)
    assert sorted(store.fetched) == sorted(files)
    assert store.asked >= 5


def test_links_that_never_work_are_given_up(tmp_path):
    store = Hasty()
    cache = SceneCache(tmp_path / "cache", 1000, lambda *_: store.download(*_) if store.fetched else refuse())

    def refuse():
        raise LinkExpired("The object store refused the link.")

    with pytest.raises(LinkExpired):
        hold(cache, store, "scene", {"a.blend": b"a"})
    assert store.asked == 2


def test_a_scene_that_changes_while_it_is_fetched_is_refused(tmp_path):
    store = Hasty()
    cache = SceneCache(tmp_path / "cache", 1000, store.download)
    other = iter(({"a": b"a", "b": b"b"}, {"a": b"a", "b": b"evil"}))
    with pytest.raises(InvalidInput, match="other files"):
        cache.hold(SceneId("scene"), lambda: store.listing("scene", next(other)), NEVER)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded store's file as a power cut leaves it, written by the real server."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
import redis

from render_farm.embedded import append_only, valkey
from render_farm.embedded.append_only import StoreDamaged

COUNT = 200


@contextmanager
def server(folder, number=signal.SIGKILL):
    """A real server on `folder`, ended by `number`."""
    with subprocess.Popen(valkey.command(folder), stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 30
            while not valkey.ready(folder):
                assert process.poll() is None, "the server does not start"
                assert time.monotonic() < end
                time.sleep(0.01)
            yield redis.Redis.from_url(valkey.url(folder))
        finally:
            process.send_signal(number)


@pytest.fixture
def written(tmp_path):
    """A base, and a file of changes after it: the last one a transaction."""
    with server(tmp_path) as store:
        for number in range(COUNT):
            store.hset(f"before:{number}", mapping={"state": "ready", "number": number})
        store.bgrewriteaof()
        while store.info("persistence")["aof_rewrite_in_progress"] or len(aof(tmp_path)) < 2:
            time.sleep(0.01)
        for number in range(COUNT):
            store.hset(f"after:{number}", mapping={"state": "ready", "number": number})
        store.eval("redis.call('SET', 'one', 1); redis.call('SET', 'two', 2)", 0)
    return tmp_path


def aof(folder):
    return sorted(path for path in (folder / append_only.FOLDER).iterdir() if path.suffix != ".manifest")


def changes(folder):
    """The file that changes are appended to."""
    return max(path for path in aof(folder) if ".incr." in path.name)


def mend(folder, **options):
    return append_only.mend(folder, valkey.binary(), **options)


def counts(folder):
    with server(folder) as store:
        return len(store.keys("before:*")), len(store.keys("after:*")), store.exists("one", "two")


def test_a_whole_file_is_left_alone(written):
    before = changes(written).read_bytes()
    assert mend(written) is None
    assert changes(written).read_bytes() == before
    assert counts(written) == (COUNT, COUNT, 2)


def test_an_empty_folder_is_none_to_mend(tmp_path):
    assert mend(tmp_path) is None


@pytest.mark.parametrize(
    "tail",
    [b"\0" * 10, b"\0" * 70_000, os.urandom(5000), b"*3\r\n$3\r\nSET\r\n$1", b"\xff" * 4096, b"\r\n" * 100],
    ids=["zeros", "many zeros", "garbage", "a torn change", "ones", "lines"],
)
def test_what_is_no_change_at_the_end_is_cut_and_kept(written, tail):
    whole = changes(written).read_bytes()
    changes(written).write_bytes(whole + tail)
    cut = mend(written)
    assert cut is not None
    assert (cut.at, cut.size) == (len(whole), len(tail))
    assert cut.copy.read_bytes() == tail
    assert str(cut.copy) in cut.sentence
    assert changes(written).read_bytes() == whole
    assert mend(written) is None
    assert counts(written) == (COUNT, COUNT, 2)


@pytest.mark.parametrize("zeros", [0, 5000])
@pytest.mark.parametrize("torn", [3, 30, 60])
def test_a_torn_transaction_goes_as_a_whole(written, torn, zeros):
    whole = changes(written).read_bytes()
    begin = whole.rindex(b"*1\r\n$5\r\nMULTI\r\n")
    assert len(whole) - begin > 60
    changes(written).write_bytes(whole[:-torn] + b"\0" * zeros)
    cut = mend(written)
    assert cut is not None
    assert cut.at == begin
    assert counts(written) == (COUNT, COUNT, 0)


def test_damage_inside_is_told_and_cut_only_when_asked_for(written):
    whole = changes(written).read_bytes()
    middle = whole.index(b"after:100")
    changes(written).write_bytes(whole[:middle] + b"\0" * 50 + whole[middle + 50 :])
    before = changes(written).read_bytes()
    with pytest.raises(StoreDamaged, match="--cut-store") as caught:
        mend(written)
    assert str(changes(written)) in caught.value.sentence
    assert changes(written).read_bytes() == before
    cut = mend(written, anyway=True)
    assert cut is not None
    assert changes(written).read_bytes() + cut.copy.read_bytes() == before
    assert counts(written) == (COUNT, 100, 0)


def test_a_damaged_list_of_files_is_named(written):
    manifest = written / append_only.FOLDER / append_only.MANIFEST
    manifest.write_bytes(b"\0" * manifest.stat().st_size)
    with pytest.raises(StoreDamaged, match="manifest"):
        mend(written)


def test_a_missing_file_is_named(written):
    changes(written).rename(written / "elsewhere")
    with pytest.raises(StoreDamaged, match=r"incr\.aof is missing"):
        mend(written)

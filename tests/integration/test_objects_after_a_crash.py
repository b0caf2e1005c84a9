# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded object store's files as a power cut leaves them, written by the real server."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import boto3
import pytest
from botocore.config import Config

from render_farm.embedded import seaweed, volume_index

COUNT = 20
KEY, SECRET = "key", "secret-secret"


@contextmanager
def server(folder):
    """A real server on `folder`, killed at the end; a client of its S3."""
    port = seaweed.free_port()
    line = seaweed.command(folder, port)
    environment = os.environ | seaweed.environment(KEY, SECRET)
    quiet = subprocess.DEVNULL
    with subprocess.Popen(line, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            end = time.monotonic() + 60
            while not seaweed.ready(port):
                assert process.poll() is None, "the server does not start"
                assert time.monotonic() < end
                time.sleep(0.02)
            yield boto3.client(
                "s3",
                endpoint_url=seaweed.url(port),
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET,
                region_name="us-east-1",
                config=Config(retries={"max_attempts": 3}),
            )
        finally:
            process.kill()


def body(number):
    return bytes([number]) * (10_000 + number)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    volume_index.set_aside_torn(folder)
    with server(folder) as client:
        client.create_bucket(Bucket="farm")
        for number in range(COUNT):
            client.put_object(Bucket="farm", Key=f"k{number}", Body=body(number))
        client.delete_object(Bucket="farm", Key="k0")
    return folder


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def read_all(folder):
    with server(folder) as client:
        there = {one["Key"] for one in client.list_objects_v2(Bucket="farm")["Contents"]}
        for number in range(1, COUNT):
            assert client.get_object(Bucket="farm", Key=f"k{number}")["Body"].read() == body(number)
        client.put_object(Bucket="farm", Key="new", Body=b"new")
    assert there == {f"k{number}" for number in range(1, COUNT)}


def index_of(folder):
    (index,) = folder.glob("*.idx")
    return index


def zero_the_end(path):
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 2 * volume_index.ENTRY] + bytes(2 * volume_index.ENTRY))


@pytest.mark.parametrize(
    "tear",
    [
        lambda path: path.write_bytes(path.read_bytes() + bytes(160)),
        lambda path: path.write_bytes(path.read_bytes() + bytes(10 * volume_index.ENTRY)),
        lambda path: path.write_bytes(path.read_bytes() + os.urandom(volume_index.ENTRY)),
        lambda path: path.write_bytes(path.read_bytes() + b"\xff" * 100),
        lambda path: os.truncate(path, path.stat().st_size - 7),
        zero_the_end,
    ],
    ids=["zeros", "zero entries", "an entry of garbage", "ones", "cut short", "a zeroed end"],
)
def test_a_torn_index_is_made_again_from_the_objects(copy, tear):
    tear(index_of(copy))
    (torn,) = volume_index.set_aside_torn(copy)
    assert torn.name.startswith("farm_")
    read_all(copy)


def test_a_whole_index_is_kept(copy):
    assert volume_index.set_aside_torn(copy) == []
    read_all(copy)


def test_after_a_power_cut_no_index_is_believed(copy):
    (copy / volume_index.MARK).write_text("another boot")
    assert len(volume_index.set_aside_torn(copy)) == 1
    assert volume_index.set_aside_torn(copy) == []
    read_all(copy)


def test_after_a_clean_stop_another_boot_is_no_power_cut(copy):
    volume_index.stopped_cleanly(copy)
    assert volume_index.set_aside_torn(copy) == []

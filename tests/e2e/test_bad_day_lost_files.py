# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store loses a scene: who watches the job sends it again, and its frames equal Blender's."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.e2e.conftest import COMMAND_SECONDS, SAMPLES, LiveFarm, running
from tests.support.reference import Plain, assert_same_picture, render_plainly
from tests.support.token_files import token_file

pytestmark = [pytest.mark.farm, pytest.mark.timeout(900)]

SETTINGS = {"samples": 4, "resolution_percentage": 15}
OPTIONS = ("--samples", 4, "--resolution-percentage", 15, "--slots", 1)


def bucket(farm: LiveFarm) -> Any:
    """The farm's own object store."""
    secrets = json.loads((farm.state / "secrets.json").read_text())
    port = json.loads((farm.state / "ports.json").read_text())["seaweed"]
    return boto3.resource(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=secrets["s3_key"],
        aws_secret_access_key=secrets["s3_secret"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    ).Bucket("farm")


def from_afar(farm: LiveFarm) -> tuple[str, ...]:
    """Options of a command on another machine: its scene goes through the object store."""
    url = json.loads((farm.state / "farm.json").read_text())["url"]
    token = json.loads((farm.state / "secrets.json").read_text())["admin_token"]
    return "--coordinator", url, "--token-file", token_file(farm.state, token)


def lose(farm: LiveFarm, prefix: str) -> int:
    """Delete all objects below a prefix; returns how many there were."""
    found = [one.key for one in bucket(farm).objects.filter(Prefix=prefix)]
    for key in found:
        bucket(farm).Object(key).delete()
    return len(found)


def forget_scenes(farm: LiveFarm) -> None:
    """A node that starts anew and has to fetch everything."""
    for name in ("blobs", "scenes"):
        shutil.rmtree(next(farm.state.glob(f"**/cache/{name}")), ignore_errors=True)
    os.kill(farm.parts()["node"], signal.SIGKILL)


def test_a_lost_scene_is_sent_again_by_the_command_that_watches(tmp_path: Path) -> None:
    scene, output = SAMPLES / "orbit.blend", tmp_path / "farm" / "####"
    with running(tmp_path / "state", "--slots", 1) as farm:
        afar = from_afar(farm)
        words = ("--output", output, *OPTIONS, *afar)
        farm.render(scene, tmp_path / "first", "--frames", "1", *OPTIONS, *afar)
        assert lose(farm, "blobs/") > 0
        forget_scenes(farm)
        # The scene counts as sent: only the node can notice that it is not there any more.
        render = farm.command("render", scene, "--frames", "2-3", *words, "--json")
        out, errors = render.communicate(timeout=COMMAND_SECONDS)
        assert render.returncode == 0, f"{errors}\n{farm.logs()}"
        assert "has lost" in errors
        assert "Sent again" in errors
        assert len(list(bucket(farm).objects.filter(Prefix="blobs/"))) > 0
        assert [frame["frame"] for frame in json.loads(out)["frames"]] == [2, 3]
        job = farm.json("job", "list", *afar)["jobs"][0]["job"]
        assert lose(farm, f"results/{job}/") > 0
        fetched = farm.command("job", "download", job, "--output", tmp_path / "again" / "####", *afar)
        _, said = fetched.communicate(timeout=COMMAND_SECONDS)
        assert fetched.returncode == 1
        assert "has lost 0002.png" in said
    render_plainly(Plain(scene, tmp_path / "plain", (2, 3), **SETTINGS))
    for frame in (2, 3):
        name = f"{frame:04d}.png"
        assert_same_picture(tmp_path / "farm" / name, tmp_path / "plain" / name)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Schemathesis asks everything the API describes, as each kind of caller, in right and wrong ways.

The seed is fixed, and so is how much is asked. A failure says how to send its request again by curl.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm_protocol.records import JobSpec
from tests import servers
from tests.api_calls import FACTS, Api

EXAMPLES = 2
"""Of each call."""

CALLERS = ("admin", "owner", "node", "nobody")
ENDLESS = "/events$"
"""Streams do not end by themselves."""


@pytest.fixture(scope="module")
def farm(tmp_path_factory, seaweed_server):
    folder = tmp_path_factory.mktemp("fuzz")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(folder / "process", store.url, seaweed_server) as running,
    ):
        yield running


@dataclass
class There:
    """Tokens by caller, and names of what there is, for addresses."""

    tokens: dict
    names: dict


@pytest.fixture(scope="module")
def there(farm):
    """Something of everything, so that callers get beyond the first look."""
    admin = Api(farm.url, farm.admin_token)
    owner, node = admin.owner(), admin.node(own=True)
    scene = owner.scene()
    done = owner.job(scene)
    node.work()
    owner.job(scene)
    quote = owner.ok("POST", "/quotes", {"spec": JobSpec(scene, (1,), "1x1"), "facts": FACTS})["quote"]
    lease = node.lease(kinds=("render", "finish"))[0]["task"]["id"]
    tokens = {"admin": admin.token, "owner": owner.token, "node": node.token, "nobody": ""}
    names = {"job": done, "frame": 1, "quote": quote, "task": lease, "node": node.id, "scene": scene}
    return There(tokens, names)


@pytest.mark.parametrize("caller", CALLERS)
def test_whatever_is_asked_the_coordinator_does_not_stumble(farm, there, caller, tmp_path):
    lines = [f'"path.{name}" = {json.dumps(value)}' for name, value in there.names.items()]
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"{farm.url}/api/v1/openapi.json"]
    words += ["--url", farm.url, "--seed", "1", "--max-examples", str(EXAMPLES)]
    words += ["--checks", "not_a_server_error", "--exclude-path-regex", ENDLESS, "--no-shrink"]
    words += ["--request-timeout", "40", "--warnings", "off", "--phases", "fuzzing"]
    words += ["--header", f"Authorization: Bearer {there.tokens[caller]}"] if there.tokens[caller] else []
    before = len(Path(farm.log).read_text())
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    said = Path(farm.log).read_text()[before:]
    assert "request_crashed" not in said, said[-4000:]
    assert "Traceback" not in said, said[-4000:]
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search("[1-9][0-9]* generated", done.stdout), done.stdout[-2000:]
    assert Api(farm.url, "").ok("GET", "/health")["status"] == "ok"

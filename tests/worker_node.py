# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole node as a process, on a real local Ray, with a fake child; and leases for it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, TaskId
from farm_protocol.records import Blob, Lease, Manifest, RenderSettings, Task, TaskKind
from farm_protocol.scene_ids import scene_id
from tests.fakes.fake_coordinator import FARM, TOKEN

FAKES = Path(__file__).parent / "fakes"

WHOLE = Tile(0, 0, 32, 16)


class Node:
    """A `gpu-worker run`, its log, and what it started."""

    def __init__(self, farm, state, *options, **environment):
        farm.address = None  # each node of this file is new to the farm
        command = [sys.executable, "-m", "gpu_worker", "run", "--coordinator", farm.url, "--own"]
        command += [
            "--slots",
            "2",
            "--threads-per-slot",
            "1",
            "--state-dir",
            str(state),
            "--memory-limit",
            "300MB",
        ]
        # For a machine that gives no sandbox.
        command += ["--trust-farm", FARM, "--owner", "o"]
        command += ["--child-program", str(FAKES / "fake_child.py"), *options]
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"FARM_NODE_TOKEN": TOKEN} | environment,
            # A group of its own, as a terminal gives it.
            start_new_session=True,
        )
        self.events = []
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "text", "text": line}
            with self.news:
                self.events.append(event)
                self.news.notify_all()

    def wait_for(self, event, seconds, **fields):
        """Wait until the node has logged an event of that name, with those fields; the last such event."""
        wanted = {"event": event, **fields}

        def last():
            return next((one for one in reversed(self.events) if wanted.items() <= one.items()), None)

        with self.news:
            happened = self.news.wait_for(last, seconds)
        assert happened, self.events[-20:]
        return happened

    def below(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def finish(self, number=signal.SIGTERM, group=False):
        """Send a signal; the exit status. Nothing of the node may be left."""
        below = self.below() if self.process.poll() is None else []
        os.killpg(self.process.pid, number) if group else self.process.send_signal(number)
        status = self.process.wait(40)
        left = psutil.wait_procs(below, 10)[1]
        assert left == []
        self.reader.join(10)
        self.process.stderr.close()
        return status


def lease_of(farm, scene, number, kind=TaskKind.RENDER, **behaviours):
    body = json.dumps({"called": scene, **behaviours}).encode()
    farm.add_scene(scene, body)
    blob = Blob(hashlib.sha256(body).hexdigest(), len(body))
    task = Task(TaskId(f"{scene}:{number}"), JobId("j"), kind, 7, WHOLE)
    settings = RenderSettings(4, 0, 100, "PNG")
    made = scene_id(Manifest("scene.blend", {"scene.blend": blob}))
    return Lease(task, LeaseToken(3), "", 30.0, made, OwnerId("o"), settings, 32, 16, WHOLE, WHOLE)

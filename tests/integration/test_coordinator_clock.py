# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of the coordinator's machine is set while it works: it costs seconds, and is said."""

import time

import pytest

from tests.support import servers
from tests.support.coordinator_api import Api, events

DEVICE = "cpu:clock:bpy-5.0.1"
LIMIT = 60.0
"""Seconds for what costs ten minutes where the clock that was set is believed."""


class Clocked:
    """A coordinator on a machine whose clock a test can set."""

    def __init__(self, running, wrong):
        self.running, self._wrong = running, wrong
        self.admin = Api(running.url, running.admin_token)
        self.ann, self.own = self.admin.owner(), self.admin.node("own", own=True)

    def set_clock(self, seconds):
        draft = self._wrong.with_suffix(".new")
        draft.write_text(str(seconds))
        draft.rename(self._wrong)

    def notices(self):
        return self.admin.ok("GET", "/health")["notices"]

    def wait_for_notice(self, words):
        end = time.monotonic() + LIMIT
        while not any(words in one for one in self.notices()):
            assert time.monotonic() < end, self.notices()
            time.sleep(0.05)

    def renders(self, frames):
        """How long a job takes from its submission to its end: all of it is checked."""
        job, began = self.ann.job(frames=frames), time.monotonic()
        while self.ann.ok("GET", f"/jobs/{job}")["state"] != "complete":
            assert time.monotonic() - began < 4 * LIMIT, self.ann.ok("GET", f"/jobs/{job}/tasks")
            for lease in self.own.lease(wait=1.0):
                self.own.do(lease)
        return time.monotonic() - began


@pytest.fixture
def clocked(tmp_path, seaweed_server):
    wrong = tmp_path / "wrong"
    wrong.write_text("0")
    with servers.valkey(tmp_path / "valkey") as store:
        options = ("--audit-own", "1", "--beacon-period", "0.1", "--lease-seconds", "30")
        context = servers.coordinator(tmp_path / "c", store.url, seaweed_server, *options, clock=wrong)
        with context as running:
            yield Clocked(running, wrong)


def test_set_back_by_ten_minutes_work_is_accepted_within_seconds(clocked):
    clocked.renders((1,))
    clocked.set_clock(-600)
    clocked.wait_for_notice("s behind")
    assert clocked.renders((2, 3)) < LIMIT


def test_set_forward_no_lease_is_lost(clocked):
    job = clocked.ann.job(frames=(1,))
    (lease,) = clocked.own.lease()
    clocked.set_clock(600)
    clocked.wait_for_notice("forward")
    clocked.own.do(lease)
    assert clocked.renders((2,)) < LIMIT
    with events(clocked.ann, job) as stream:
        told = next(one for one in stream if one["event"] == "notice")
    assert "went forward by 600 s" in told["data"]["detail"]


def test_set_back_while_the_coordinator_is_away(clocked):
    job = clocked.ann.job(frames=(1,))
    (lease,) = clocked.own.lease()
    clocked.running.kill()
    clocked.set_clock(-600)
    clocked.running.start()
    clocked.own.do(lease)
    assert clocked.renders((2,)) < LIMIT
    clocked.own.work()
    assert clocked.ann.ok("GET", f"/jobs/{job}")["state"] == "complete"
    assert "behind the farm's time" in clocked.notices()[0]

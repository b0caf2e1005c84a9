# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is killed with -9 while a sandbox starts leaves no process behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gpu_worker.sandbox import bubblewrap
from gpu_worker.sandbox.bubblewrap import LAUNCHER

STUCK = """#!/bin/sh
sleep 300 &
echo $$ $! >"$0.pids.new"
mv "$0.pids.new" "$0.pids"
wait
"""
"""As bubblewrap is between its fork and the word to go on: its child has no death signal yet."""

NODE = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-I", "-S", {launcher!r}, str(os.getpid()), {bwrap!r}, "--", "x"],
                 stdin=subprocess.PIPE, start_new_session={session}).wait()
"""


@pytest.mark.parametrize("session", [True, False])
def test_a_sandbox_that_has_not_started_yet_ends_with_its_node(tmp_path, session):
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(STUCK)
    bwrap.chmod(0o755)
    program = NODE.format(launcher=str(LAUNCHER), bwrap=str(bwrap), session=session)
    pids = tmp_path / "bwrap.pids"
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as node:
        wait_for(pids, node)
        stuck = [psutil.Process(int(one)) for one in pids.read_text().split()]
        guard = [one for one in stuck[0].children() if one.pid != stuck[1].pid]
        node.kill()
    assert psutil.wait_procs([*stuck, *guard], 20)[1] == []
    assert len(guard) == 1


def wait_for(path: Path, node: "subprocess.Popen[bytes]") -> None:
    while not path.exists():
        assert node.poll() is None
        try:
            node.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


@pytest.mark.skipif(bubblewrap.unavailable() is not None, reason=str(bubblewrap.unavailable()))
def test_nothing_that_watched_the_start_is_left_once_the_sandbox_stands():
    program = "import json, os; print(json.dumps(os.listdir('/proc/self/fd')), flush=True); input()"
    command = bubblewrap.Sandbox().wrap([sys.executable, "-I", "-S", "-c", program])
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=bubblewrap.environment({}),
    ) as box:
        assert len(json.loads(box.stdout.readline())) == 4
        tree = psutil.Process(box.pid).children(recursive=True)
        alive = [one for one in tree if one.status() != psutil.STATUS_ZOMBIE]
        psutil.wait_procs([one for one in alive if "launch.py" in " ".join(one.cmdline())], 20)
        assert not any("launch.py" in " ".join(one.cmdline()) for one in alive if one.is_running())
        box.stdin.write(b"\n")
        box.stdin.close()
        assert box.wait(30) == 0

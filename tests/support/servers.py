# SPDX-License-Identifier: GPL-3.0-or-later
"""The real parts, started for tests: a store, an object store, and the coordinator as a process.

Each is a context manager that ends what it started. `killed` and `started` of a server let a test
take it down with -9 and bring it back on the same data.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from render_farm.embedded import seaweed as weed
from render_farm.embedded import valkey as store

READY_SECONDS = 120


def wait_until(ready: Callable[[], bool]) -> None:
    """Ask again and again until `ready` says so; RuntimeError where it never does."""
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError("It did not start.")
        time.sleep(0.02)


@dataclass
class Process:
    """A server process that can be killed and started again on the same data."""

    command: list[str]
    environment: dict[str, str]
    ready: Callable[[], bool]
    log: Path
    stdout: bool = False
    folder: Path | None = None
    child: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self.log.open("a") as log:
            self.child = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.stdout else log,
                stderr=log,
                text=True,
                cwd=self.folder,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready():
            if self.child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command[0]} did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """As kill -9 does."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            if self.child.stdout:
                self.child.stdout.close()
            self.child = None

    def stop(self) -> int | None:
        """As a supervisor does: asks first. Returns the exit status."""
        if self.child is None:
            return None
        self.child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(10)
        status = self.child.poll()
        self.kill()
        return status


@dataclass
class Store(Process):
    """A Valkey with its append-only file on."""

    url: str = ""


@dataclass
class ObjectStore(Process):
    """A SeaweedFS."""

    url: str = ""
    key: str = ""
    secret: str = ""


@dataclass
class Coordinator(Process):
    """The coordinator; `url` ends without a slash."""

    url: str = ""
    admin_token: str = ""
    options: list[str] = field(default_factory=list)


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[Store]:
    """A store on a loopback port, with its data in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = weed.free_port()
    command = store.command(folder, port=port)
    running = Store(command, {}, lambda: store.ready(folder, port=port), folder / "process.log")
    running.url = store.url(folder, port=port)
    running.start()
    try:
        yield running
    finally:
        running.kill()


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[ObjectStore]:
    """An object store on a loopback port, with its data in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port, key, secret = weed.free_port(), "farmtest", secrets.token_hex(16)
    command, environment = weed.command(folder, port), weed.environment(key, secret)
    running = ObjectStore(
        command, environment, lambda: weed.ready(port), folder / "process.log", folder=folder
    )
    running.url, running.key, running.secret = weed.url(port), key, secret
    running.start()
    try:
        yield running
    finally:
        running.kill()


@contextlib.contextmanager
def coordinator(
    folder: Path, redis_url: str, objects: ObjectStore, *options: str, clock: Path | None = None
) -> Iterator[Coordinator]:
    """A coordinator process on a store and an object store, with further command line `options`; the file
    `clock` says how wrong its machine's clock is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, token = weed.free_port(), secrets.token_hex(16)
    program = (
        ["render_farm.coordinator"] if clock is None else ["tests.support.clocked_coordinator", str(clock)]
    )
    command = [sys.executable, "-m", *program, "--port", str(port), "--redis-url", redis_url]
    # Most tests are about something else: they want own nodes' work accepted at once.
    command += ["--s3-endpoint", objects.url, "--audit-own", "0", *options]
    environment = {
        "FARM_ADMIN_TOKEN": token,
        "FARM_SIGNING_KEY": secrets.token_hex(32),
        "AWS_ACCESS_KEY_ID": objects.key,
        "AWS_SECRET_ACCESS_KEY": objects.secret,
    }
    running = Coordinator(
        command, environment, lambda: _listens(running), folder / "process.log", stdout=True
    )
    running.url, running.admin_token = f"http://127.0.0.1:{port}", token
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def unshaken_coordinator(folder: Path, objects: ObjectStore, *options: str) -> Iterator[Coordinator]:
    """A coordinator on a store of its own (`store`), whose log must hold no crash at the end."""
    with (
        valkey(folder / "valkey") as kept,
        coordinator(folder / "process", kept.url, objects, *options) as running,
    ):
        running.store = kept
        yield running
        log = Path(running.log).read_text()
        assert "request_crashed" not in log
        assert "Traceback" not in log


def _listens(running: Process) -> bool:
    assert running.child is not None
    assert running.child.stdout is not None
    line = running.child.stdout.readline()
    return bool(line) and "listening" in json.loads(line)

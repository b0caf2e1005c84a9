# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ray a node's slots run on: started or joined, watched, and started or joined anew when it is gone.

Everybody who speaks to Ray does so inside `RayCluster.use`, in calls of a few seconds, so that Ray can be
put away and started anew in this process while slots wait.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from farm_protocol.errors import FarmError, Unavailable
from gpu_worker.agent.orphan_reaper import end_writers
from gpu_worker.farm.coordinator import backoff

SOCKET_ROOM = len("/session_2026-11-23_00-35-18_204056_4194304/sockets/plasma_store")
"""Characters Ray appends to its folder for its longest socket; the path of a socket may have 107."""

SESSIONS = "s"
"""Where Ray works, below the folder only this user may enter: Ray lets everybody write there."""

OBJECT_STORE_BYTES = 80 << 20
"""Pictures never travel through Ray: the smallest store it accepts will do."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_worker_niceness": "0",
    "RAY_ROTATION_MAX_BYTES": "10000000",
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
"""Ray's own memory monitor would kill slots for the memory of Blenders, which are limited already, and its
niceness would be the Blenders', too. A call while Ray is away must not start another Ray."""

LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Of a node's own Ray: as on other systems than Linux, it takes the machine for one in no cluster, and all
its processes listen on loopback only. Asked for 127.0.0.1 without this, it takes the machine's outward
address and listens on all of them.
"""
LOOPBACK = "127.0.0.1"

PATIENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "180"}
"""Of a joined cluster: Ray ends this whole process after so long without the cluster's head. It is left
before."""

NEEDED = ("gcs_server", "raylet")
"""The processes of a local Ray without which nothing runs; the others only write logs and figures."""

ORPHAN_REAPER = Path(__file__).with_name("orphan_reaper.py")

log = structlog.get_logger()


class RayError(FarmError):
    """Ray cannot be started or joined."""

    code = "ray"


@dataclass(frozen=True, slots=True)
class RayPace:
    """How the cluster is watched, in seconds. It is looked at every `look`, and asked every `ask` whether its
    machines are there; without an answer for `silence` it counts as gone. `leave`: how long calls under way
    may take to end; `put_away`: how long Ray may take to let go.
    """

    look: float = 0.5
    ask: float = 5.0
    answer: float = 5.0
    silence: float = 20.0
    leave: float = 5.0
    put_away: float = 60.0
    retry: float = 10.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What the cluster has; `names` are those of its accelerators."""

    gpus: int
    cpus: int
    names: tuple[str, ...]
    local: bool


class RayCluster:
    """A local Ray of this node's own, or an existing one at `address`.

    `generation` grows each time Ray is started or joined anew: actors of an earlier one are gone.
    """

    def __init__(self, state: Path, address: str | None, cpus: int, pace: RayPace | None = None) -> None:
        self._address, self._cpus, self._pace = address, cpus, pace or RayPace()
        self._state = state
        self._folder: Path | None = None
        quiet = QUIET if address is None else QUIET | PATIENT
        os.environ.update({name: value for name, value in quiet.items() if name not in os.environ})
        if address is None:
            os.environ.update(LOCAL)
            self._folder = _private_folder(state)
            _private_token(self._folder)
            _watch_over(self._folder)
        # Late: importing takes a second, and reads the variables set above.
        import ray  # noqa: PLC0415

        self._ray: Any = ray
        self._generation = self._opened = self._users = 0
        self._news = threading.Condition()
        self._closed = threading.Event()
        self._suspicion = ""
        self._connect()
        self._open()

    # --- for the slots ----------------------------------------------------------------------------------

    @property
    def local(self) -> bool:
        """Whether this Ray is the node's own, and all its processes on this machine."""
        return self._folder is not None

    @property
    def generation(self) -> int:
        """Which Ray runs now; 0 while there is none."""
        return self._generation

    @contextlib.contextmanager
    def use(self, generation: int) -> Iterator[Any]:
        """The `ray` module, for calls of a few seconds to that generation. Raises Unavailable where it is
        gone, and for whatever Ray raises when it goes.
        """
        with self._news:
            if generation == 0 or generation != self._generation:
                raise Unavailable("The Ray of this node is being started anew.")
            self._users += 1
        try:
            yield self._ray
        except SystemExit as error:  # what Ray raises in threads that wait while it is put away
            raise Unavailable("The Ray of this node went away.") from error
        finally:
            with self._news:
                self._users -= 1
                self._news.notify_all()

    def suspect(self, generation: int, reason: str) -> None:
        """Slots of that generation cannot be started: a Ray of the node's own is started anew."""
        with self._news:
            if self.local and generation == self._generation:
                self._suspicion = reason

    def resources(self) -> Resources:
        """GPUs and CPUs of all machines of the cluster."""
        found: dict[str, float] = self._ray.cluster_resources()
        names = tuple(name.partition(":")[2] for name in found if name.startswith("accelerator_type:"))
        return Resources(int(found.get("GPU", 0)), int(found.get("CPU", 0)), names, self.local)

    # --- watching ---------------------------------------------------------------------------------------

    def watch(self, broken: Callable[[FarmError], None], renewed: Callable[[], None]) -> None:
        """From now on, start or join Ray anew when it is gone, and call `renewed` each time it was put away
        or started: Ray sets signal handlers then. `broken` is told where Ray does not even let go, so that
        the node must end. Call once.
        """

        def keep() -> None:
            try:
                self._keep(renewed)
            except FarmError as error:
                broken(error)

        threading.Thread(target=keep, name="ray-watch", daemon=True).start()

    def _keep(self, renewed: Callable[[], None]) -> None:
        doubt = _Doubt(self._pace)
        while not self._closed.wait(self._pace.look):
            reason = self._dead() or self._suspicion or doubt.reason(self._ask)
            if reason and not self._closed.is_set():
                self._renew(reason, renewed)
                doubt = _Doubt(self._pace)

    def _dead(self) -> str:
        """Which process of a local Ray has ended; '' while none has."""
        if not self.local:
            return ""
        # Not in Ray's public interface: the processes that ray.init() started.
        ended = [name for name, _ in self._ray._private.worker._global_node.dead_processes()]
        return next((f"Its {name} ended." for name in ended if name in NEEDED), "")

    def _ask(self) -> str:
        """Ask the cluster's head which machines are there; why nothing can run, or ''."""
        try:
            nodes = self._head.get_all_node_info(timeout=self._pace.answer)
        except Exception as error:
            return f"Its head does not answer: {str(error)[:200]}"
        # 0 is ALIVE in Ray's GcsNodeInfo.
        return "" if any(node.state == 0 for node in nodes.values()) else "None of its machines answers."

    def _renew(self, reason: str, renewed: Callable[[], None]) -> None:
        """Put Ray away, and start or join it until that succeeds."""
        log.warning("ray_lost", reason=reason, consequence="its slots are started anew")
        self._put_away()
        renewed()
        attempt = 0
        while not self._closed.is_set():
            attempt += 1
            try:
                self._connect()
            except RayError as error:
                if attempt == 1:
                    log.warning("ray_unreachable", reason=error.sentence, consequence="it is tried again")
                self._closed.wait(backoff(attempt + 2, self._pace.retry))
            else:
                renewed()
                self._open()
                log.info("ray_started", generation=self._generation)
                return

    def _open(self) -> None:
        with self._news:
            self._opened += 1
            self._generation, self._suspicion = self._opened, ""
            self._news.notify_all()

    def _put_away(self) -> None:
        """End this Ray. Raises RayError where it does not let go."""
        with self._news:
            self._generation = 0
            self._news.wait_for(lambda: self._users == 0, timeout=self._pace.leave)
        if self._folder is not None:
            # Whatever hangs is in the way of an orderly end.
            self._kill_processes()
            end_writers(self._folder, os.getpid())
        putting = threading.Thread(target=self._ray.shutdown, name="ray-shutdown", daemon=True)
        putting.start()
        putting.join(self._pace.put_away)
        if putting.is_alive():
            raise RayError("Ray on this node hangs and cannot be ended: the node must be started anew.")
        if self._folder is not None:
            shutil.rmtree(self._folder / SESSIONS, ignore_errors=True)

    def _kill_processes(self) -> None:
        node = self._ray._private.worker._global_node
        for _, process in node.live_processes() if node is not None else ():
            with contextlib.suppress(OSError):
                process.kill()

    # --- starting and ending ------------------------------------------------------------------------------

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            # Ray's workers look for modules in the folder a node is in, too: it must be nobody else's.
            with contextlib.chdir(self._state):
                self._join_or_start(quiet)
            # Not in Ray's public interface: what can be asked there has no time limit. Made while the head is
            # there, because making it has none either.
            head = self._ray.get_runtime_context().gcs_address
            self._head: Any = self._ray._raylet.GcsClient(address=head)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self._ray.shutdown()
            address = self._address
            where = f"the Ray cluster at {address} cannot be joined" if address else "Ray does not start"
            raise RayError(f"On this node {where}: {str(error)[:500]}") from error

    def _join_or_start(self, quiet: dict[str, Any]) -> None:
        if self._folder is not None:
            self._start(self._folder, quiet)
        elif self._address is not None:
            _require_listening(self._address)
            self._ray.init(address=self._address, **quiet)

    def _start(self, folder: Path, quiet: dict[str, Any]) -> None:
        """Start a Ray of the node's own. Raises RayError where others could reach it."""
        sessions = folder / SESSIONS
        sessions.mkdir(exist_ok=True)
        self._ray.init(
            num_cpus=self._cpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(sessions),
            **quiet,
        )
        address = self._ray.util.get_node_ip_address()
        if address != LOOPBACK:
            self._ray.shutdown()
            raise RayError(f"Ray on this node listens on {address}, where others reach it: it was ended.")

    def close(self) -> None:
        """End the local Ray and everything in it, or leave the joined one."""
        self._closed.set()
        self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Doubt:
    """Whether the cluster's head has been silent for too long; it is asked every now and then."""

    def __init__(self, pace: RayPace) -> None:
        self._pace = pace
        self._since = self._asked = time.monotonic()
        self._failures = 0

    def reason(self, ask: Callable[[], str]) -> str:
        """Why the cluster counts as gone; '' while it does not."""
        if time.monotonic() - self._asked < self._pace.ask:
            return ""
        before = time.monotonic()
        reason = ask()
        self._asked = time.monotonic()
        if not reason:
            self._since, self._failures = before, 0
            return ""
        self._failures += 1
        long_enough = self._asked - self._since >= self._pace.silence and self._failures >= 3
        return reason if long_enough else ""


def _require_listening(address: str) -> None:
    """Raise OSError where nobody listens at `host:port`: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            pass


def _private_folder(state: Path) -> Path:
    """A folder for Ray in the node's state folder, or where that is too deep for sockets, elsewhere. Only
    this user gets into it: what Ray makes inside it opens to everybody.
    """
    folder = state / "ray"
    if len(str(folder / SESSIONS)) + SOCKET_ROOM <= 107:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        return folder
    return Path(tempfile.mkdtemp(prefix="farm-"))


def _private_token(folder: Path) -> None:
    """A token only this node's Ray knows: nobody else on the machine may run code in it."""
    token = folder / "token"
    with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)})


def _watch_over(folder: Path) -> None:
    """What of Ray outlives a killed node is found by the files it holds open."""
    command = [sys.executable, "-I", "-S", str(ORPHAN_REAPER), str(os.getpid()), str(folder.resolve())]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env={}, close_fds=True)

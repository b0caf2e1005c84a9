# SPDX-License-Identifier: GPL-3.0-or-later
"""Slots as Ray actors: one per GPU, or per share of CPU threads, and one that finishes frames."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from frame_splitter.errors import FarmError, Unavailable
from frame_splitter.records import FailureCode, Lease, Progress, TaskFailure, TaskKind, TaskResult, Upload
from gpu_worker.actor import SlotActor, SlotOrder
from gpu_worker.checking import Rendered
from gpu_worker.slot import SlotInfo

T = TypeVar("T")

SOCKET_ROOM = len("/session_2026-11-23_00-35-18_204056_4194304/sockets/plasma_store")
"""Characters Ray appends to its folder for its longest socket; the path of a socket may have 107."""

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
}
"""Ray's own memory monitor would kill slots for the memory of Blenders, which are limited already, and its
niceness would be the Blenders', too."""

ASK_SECONDS = 2.0
"""A slot that does not say its progress in time must not hold up the heartbeat of the others."""

UNDERTAKER = Path(__file__).with_name("undertaker.py")

log = structlog.get_logger()


class RayError(FarmError):
    """Ray cannot be started or joined."""

    code = "ray"


@dataclass(frozen=True, slots=True)
class Resources:
    """What the cluster has; `names` are those of its accelerators."""

    gpus: int
    cpus: int
    names: tuple[str, ...]
    local: bool


class RayCluster:
    """A local Ray of this node's own, or an existing one at `address`."""

    def __init__(self, state: Path, address: str | None, cpus: int) -> None:
        self._ray: Any
        self._folder: Path | None = None
        os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
        if address is None:
            self._folder = _socket_folder(state)
            _private_token(self._folder)
            _watch_over(self._folder)
        # Late: importing takes a second, and reads the variables set above.
        import ray  # noqa: PLC0415

        self._ray = ray
        self._start(address, cpus)

    def _start(self, address: str | None, cpus: int) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if address is not None:
                self._ray.init(address=address, **quiet)
                return
            self._ray.init(
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self._folder),
                **quiet,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"the Ray cluster at {address} cannot be joined" if address else "Ray does not start"
            raise RayError(f"On this node {where}: {str(error)[:500]}") from error

    def resources(self) -> Resources:
        """GPUs and CPUs of all machines of the cluster."""
        found: dict[str, float] = self._ray.cluster_resources()
        names = tuple(name.partition(":")[2] for name in found if name.startswith("accelerator_type:"))
        return Resources(int(found.get("GPU", 0)), int(found.get("CPU", 0)), names, self._folder is not None)

    def slot(self, order: SlotOrder, cpus: float, gpus: float) -> "RaySlot":
        """Start an actor for `order`; it is replaced when it dies."""
        remote = self._ray.remote(concurrency_groups={"deliver": 4, "ask": 4})
        actor = remote(_with_groups(self._ray)).options(num_cpus=cpus, num_gpus=gpus, max_concurrency=1)
        return RaySlot(self._ray, order, lambda fresh: actor.remote(order, fresh))

    def close(self) -> None:
        """End the local Ray and everything in it, or leave the joined one."""
        self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class RaySlot:
    """A slot in an actor; the agent's `RunningSlot`."""

    def __init__(self, ray: Any, order: SlotOrder, start: Callable[[bool], Any]) -> None:
        self.name: str = order.plan.name
        self.kinds: tuple[TaskKind, ...] = order.plan.kinds
        self._ray = ray
        self._start = start
        self._lock = threading.Lock()
        self._actor = start(True)

    def describe(self) -> SlotInfo:
        """Wait until the actor and its Blender are there."""
        info: SlotInfo = self._ask(lambda actor: actor.describe.remote())
        return info

    def run(self, lease: Lease) -> Rendered | TaskFailure:
        """Do a task; an actor that dies on it is replaced."""
        actor = self._actor
        try:
            answer: Rendered | TaskFailure = self._ray.get(actor.run.remote(lease))
            return answer
        except self._ray.exceptions.RayActorError:
            self._replace(actor)
            return TaskFailure(FailureCode.NODE, "The process of this slot died; it was started again.")
        except self._ray.exceptions.RayError as error:
            raise _farm_error(error) from error

    def settle(self, lease: Lease, rendered: Rendered) -> TaskResult | TaskFailure:
        """Check what a task left on the actor's disk."""
        outcome: TaskResult | TaskFailure = self._ask(lambda actor: actor.settle.remote(lease, rendered))
        return outcome

    def deliver(self, lease: Lease, uploads: tuple[Upload, ...]) -> None:
        """Upload from the actor's disk."""
        self._ask(lambda actor: actor.deliver.remote(lease, uploads))

    def discard(self, lease: Lease) -> None:
        """Forget the files on the actor's disk."""
        self._actor.discard.remote(lease)

    def progress(self) -> Progress:
        """How far the current task is."""
        progress: Progress = self._ask(lambda actor: actor.progress.remote(), ASK_SECONDS)
        return progress

    def cancel(self, lease: Lease) -> None:
        """Stop a task."""
        self._actor.cancel.remote(lease)

    def pid(self) -> int:
        """The actor's process, on whatever machine it is."""
        return int(self._ask(lambda actor: actor.pid.remote()))

    def _ask(self, question: Callable[[Any], Any], timeout: float | None = None) -> Any:
        actor = self._actor
        try:
            return self._ray.get(question(actor), timeout=timeout)
        except self._ray.exceptions.RayActorError as error:
            # Finished files wait on the disk for the next actor.
            self._replace(actor)
            raise Unavailable("The process of this slot died; it was started again.") from error
        except self._ray.exceptions.RayError as error:
            raise _farm_error(error) from error

    def _replace(self, dead: Any) -> None:
        with self._lock:
            if self._actor is dead:
                log.warning("slot_replaced", slot=self.name)
                self._ray.kill(dead)
                self._actor = self._start(False)


def _with_groups(ray: Any) -> type[SlotActor]:
    """SlotActor with each method in its concurrency group; `run` stays alone in the default one."""
    groups = {
        "settle": "deliver",
        "deliver": "deliver",
        "discard": "deliver",
        "progress": "ask",
        "cancel": "ask",
        "pid": "ask",
    }
    methods = {
        name: ray.method(concurrency_group=group)(_own(getattr(SlotActor, name)))
        for name, group in groups.items()
    }
    return type("Slot", (SlotActor,), methods)


def _own(method: Callable[..., T]) -> Callable[..., T]:
    """A function of its own, because Ray marks the one it is given."""

    def call(self: SlotActor, *arguments: Any) -> T:
        return method(self, *arguments)

    return call


def _farm_error(error: Exception) -> FarmError:
    """The farm's own error where the actor raised one, else a sentence about what it raised."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FarmError):
        return cause
    return FarmError(f"The slot failed: {str(cause or error)[:1000]}")


def _socket_folder(state: Path) -> Path:
    """A folder for Ray in the node's state folder, or where that is too deep for sockets, elsewhere."""
    folder = state / "ray"
    if len(str(folder)) + SOCKET_ROOM <= 107:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o700)
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
    command = [sys.executable, "-I", "-S", str(UNDERTAKER), str(os.getpid()), str(folder.resolve())]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env={}, close_fds=True)

# SPDX-License-Identifier: GPL-3.0-or-later
"""How long others wait while somebody attacks the coordinator.

    python benchmarks/attacks.py [--seconds 15] [--only deep_manifest,...] [--json]

The store, the object store and the coordinator are the real ones, started for the run. While an attack goes
on in a process of its own, three others ask: somebody whether the farm is well, an idle node for work, and a
client for its job. The figures are their waits in milliseconds; the aim is that 99 of 100 are below 250.
Refusals of the attacker are what is wanted; calls of the others that are not answered count as failed.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

import urllib3

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from farm_protocol.fields import encode
from farm_protocol.records import Blob, JobSpec, LeaseRequest, Manifest, OutputFile, SlotOffer, TaskKind
from tests import servers
from tests.api_calls import FACTS, Answer, Api, under

AIM = 250.0
"""Milliseconds."""

HEALTH, LEASES, JOB = "health", "leases", "job"
LEAST_CALLS = 100


@dataclass(frozen=True)
class Target:
    """The coordinator, and whom the attacker plays."""

    url: str
    admin: str
    owner: str
    node: str
    scene: str
    lease: str
    job: str


@dataclass(frozen=True)
class Waits:
    """What others waited during an attack, in milliseconds; `failed`: calls that were not answered well."""

    attack: str
    call: str
    calls: int
    median: float
    p99: float
    most: float
    failed: int


# --- the attacks: each goes on until it is told to stop ----------------------------------------------


def nothing(target: Target, stop: Event) -> None:
    """Nobody attacks."""
    stop.wait()


def deep_manifest(target: Target, stop: Event) -> None:
    """28,000 names of 500 folders, 29 MB, again and again."""
    deep, blob = "/".join("d" for _ in range(500)), Blob("0" * 64, 5)
    body = encode(Manifest(f"{deep}/0", {f"{deep}/{number}": blob for number in range(28_000)}))
    _post(target, stop, "/scenes", body, at_once=4)


def wide_manifest(target: Target, stop: Event) -> None:
    """100,000 names that may be, 15 MB: each wants a link."""
    names = (f"{number % 30}/{number}" for number in range(100_000))
    body = encode(Manifest("0/0", {name: Blob(f"{place:064x}", 5) for place, name in enumerate(names)}))
    _post(target, stop, "/scenes", body, at_once=4)


def many_links(target: Target, stop: Event) -> None:
    """1000 upload links a call, 8 calls at a time."""
    files = tuple(OutputFile(f"{number}.exr", "0" * 64, 1) for number in range(1000))
    _post(target, stop, target.lease, encode({"files": files}), at_once=8, token=target.node)


def slow_headers(target: Target, stop: Event) -> None:
    """3000 connections whose headers do not end; new ones for those that were ended."""
    held: list[socket.socket] = []
    host, _, port = target.url.removeprefix("http://").partition(":")
    while not stop.is_set():
        try:
            link = socket.create_connection((host, int(port)), timeout=5)
            link.sendall(b"GET /api/v1/health HTTP/1.1\r\nX: ")
            held.append(link)
        except OSError:
            stop.wait(0.01)
        if len(held) > 3000:
            held.pop(0).close()


def slow_bodies(target: Target, stop: Event) -> None:
    """100 bodies that come a byte at a time."""
    host, _, port = target.url.removeprefix("http://").partition(":")
    head = f"POST /api/v1/scenes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.owner}\r\n"
    links = [socket.create_connection((host, int(port))) for _ in range(100)]
    for link in links:
        link.sendall(f"{head}Content-Length: 30000000\r\n\r\n".encode())
    while not stop.wait(0.1):
        for link in links:
            _quietly(partial(link.sendall, b" "))


def many_frames(target: Target, stop: Event) -> None:
    """Jobs of 99,000 frames, each cancelled when it is made."""
    spec = JobSpec(target.scene, tuple(range(99_000)), "1x1")
    body = encode({"spec": spec, "facts": FACTS})
    api = Api(target.url, target.owner)
    while not stop.is_set():
        made = _quietly(partial(api.call, "POST", "/jobs", body))
        if isinstance(made, Answer) and made.status == 201:
            _quietly(partial(api.call, "POST", f"/jobs/{made.body['job']}/cancel"))


def deep_json(target: Target, stop: Event) -> None:
    """400,000 brackets."""
    _post(target, stop, "/jobs", b"[" * 400_000, at_once=4)


def many_items(target: Target, stop: Event) -> None:
    """16 million numbers in 32 MB."""
    _post(target, stop, "/jobs", b'{"spec":{"frames":[' + b"1," * (15 << 20) + b"1]}}", at_once=4)


def large_bodies(target: Target, stop: Event) -> None:
    """31 MB of blanks, 16 at a time."""
    _post(target, stop, "/jobs", b" " * (31 << 20), at_once=16)


def event_streams(target: Target, stop: Event) -> None:
    """As many event streams as there are, none of them read."""
    headers = {"Authorization": f"Bearer {target.owner}"}
    http = urllib3.PoolManager(retries=False, timeout=5.0, maxsize=1000)
    url, held = f"{target.url}/api/v1/jobs/{target.job}/events", []
    ask = partial(http.request, "GET", url, headers=headers, preload_content=False)
    while not stop.is_set():
        held.append(_quietly(ask))


def quotes(target: Target, stop: Event) -> None:
    """Quotes as fast as they are answered, 8 at a time."""
    body = encode({"spec": JobSpec(target.scene, (1,), "1x1"), "facts": FACTS})
    _post(target, stop, "/quotes", body, at_once=8)


def odd_requests(target: Target, stop: Event) -> None:
    """20,000 requests in one go, and headers without end."""
    host, _, port = target.url.removeprefix("http://").partition(":")
    requests = b"GET /api/v1/farm HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000
    headers = b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 50_000
    while not stop.is_set():
        for sent in (requests, headers):
            link = socket.create_connection((host, int(port)), timeout=5)
            _quietly(partial(link.sendall, sent))
            link.close()


ATTACKS: dict[str, Callable[[Target, Event], None]] = {
    attack.__name__: attack
    for attack in (
        nothing,
        deep_manifest,
        wide_manifest,
        many_links,
        slow_headers,
        slow_bodies,
        many_frames,
        deep_json,
        many_items,
        large_bodies,
        event_streams,
        quotes,
        odd_requests,
    )
}


def _post(
    target: Target, stop: Event, path: str, body: bytes, at_once: int, token: str | None = None
) -> None:
    def again() -> None:
        api = Api(target.url, target.owner if token is None else token)
        while not stop.is_set():
            _quietly(partial(api.call, "POST", path, body))

    threads = [threading.Thread(target=again) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _quietly(work: Callable[[], object]) -> object:
    try:
        return work()
    except (OSError, ValueError, urllib3.exceptions.HTTPError):
        return None


# --- the others --------------------------------------------------------------------------------------


def others(target: Target, seconds: float) -> list[Waits]:
    """Ask in turns for so long."""
    idle = LeaseRequest((SlotOffer("slot", (TaskKind.RENDER,), "no such device"),), 0.0, True)
    client, node = Api(target.url, target.admin), Api(target.url, target.node)
    calls: dict[str, Callable[[], int]] = {
        HEALTH: lambda: client.call("GET", "/health").status,
        LEASES: lambda: node.call("POST", "/leases", idle).status,
        JOB: lambda: client.call("GET", f"/jobs/{target.job}").status,
    }
    waits: dict[str, list[float]] = {name: [] for name in calls}
    failed = dict.fromkeys(calls, 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(waits[HEALTH]) < LEAST_CALLS:
        for name, call in calls.items():
            began = time.perf_counter()
            failed[name] += _quietly(call) != 200
            waits[name].append((time.perf_counter() - began) * 1000)
    return [_summary("", name, waits[name], failed[name]) for name in calls]


def _summary(attack: str, call: str, waits: list[float], failed: int) -> Waits:
    ordered = sorted(waits)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Waits(attack, call, len(ordered), statistics.median(ordered), p99, ordered[-1], failed)


def measure(name: str, target: Target, seconds: float) -> list[Waits]:
    """What others wait while one attack goes on."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    attacker = context.Process(target=_attack, args=(name, target, stop))
    attacker.start()
    try:
        time.sleep(min(4.0, seconds))  # it makes its bodies
        return [Waits(name, *list(asdict(one).values())[1:]) for one in others(target, seconds)]
    finally:
        stop.set()
        attacker.join(10)
        attacker.kill()
        attacker.join()


def _attack(name: str, target: Target, stop: Event) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ATTACKS[name](target, stop)


def prepared(running: servers.Coordinator) -> Target:
    """An attacker with an owner's and a node's token, and a job of somebody else's."""
    admin = Api(running.url, running.admin_token)
    attacker, job = admin.owner("attacker"), admin.job(frames=(1,))
    node = attacker.node()
    mine = attacker.job(frames=(1,))
    lease = node.lease()[0]
    scene, path = attacker.scene(), f"{under(lease)}/uploads?token={lease['token']}"
    return Target(running.url, admin.token, attacker.token, node.token, scene, path, mine or job)


def main() -> int:
    """Measure, print a table; fails where the aim is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="how long others ask during each attack")
    parser.add_argument("--only", default=",".join(ATTACKS), help="attacks, comma between")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    chosen = parser.parse_args()
    found: list[Waits] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.valkey(Path(folder) / "valkey") as store,
        servers.seaweed(Path(folder) / "seaweed") as objects,
        servers.coordinator(Path(folder) / "coordinator", store.url, objects) as running,
    ):
        for name in chosen.only.split(","):
            found += measure(name, prepared(running), chosen.seconds)
            if not chosen.json:
                _print(found[-3:])
    if chosen.json:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()}
        print(json.dumps(machine | {"waits": [asdict(one) for one in found]}, indent=1))
    return int(any(one.p99 > AIM for one in found))


def _print(waits: list[Waits]) -> None:
    for one in waits:
        missed = "" if one.p99 <= AIM else "  above the aim"
        print(
            f"{one.attack:14} {one.call:7} {one.calls:6} calls  median {one.median:7.1f} ms  "
            f"p99 {one.p99:8.1f} ms  most {one.most:8.1f} ms  {one.failed} failed{missed}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())

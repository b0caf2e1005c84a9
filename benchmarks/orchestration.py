# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tasks a second the farm hands out and takes back, when rendering costs nothing.

    python benchmarks/orchestration.py [--tasks 2000] [--clients 8] [--size 65536] [--runs 5]

The store, the object store and the coordinator are the real ones, started for the run. Each client is
a process that leases one task at a time, asks for an upload link, PUTs a result of `--size` random
bytes, signs it and submits it for a signed receipt; nothing is drawn for an audit. Nothing is rendered,
so the time of a task is what the farm adds to it.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import urllib3

from farm_protocol.appointments import AuditTerms
from farm_protocol.facts import Adaptive, FileFormat, SceneFacts
from farm_protocol.fields import decode, encode
from farm_protocol.ids import DeviceClass
from farm_protocol.records import (
    Blob,
    JobSpec,
    LeaseRequest,
    Manifest,
    OutputFile,
    SlotOffer,
    TaskKind,
    TaskResult,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from farm_protocol import documents, typed_data
from tests.support import servers
from verification.protocol import attestation

STEPS = ("lease", "uploads", "put", "terms", "submit")
TILES = 9
TRIES = 5
DEVICE = DeviceClass("benchmark")
KINDS = (TaskKind.RENDER, TaskKind.FINISH)


@dataclass(frozen=True)
class Api:
    """One client's keep-alive connection."""

    url: str
    token: str
    http: urllib3.PoolManager

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One call's status and answer."""
        answer = self.http.request(
            method,
            f"{self.url}/api/v1{path}",
            headers={"Authorization": f"Bearer {self.token}"},
            body=None if body is None else encode(body),
        )
        return answer.status, json.loads(answer.data)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One call; anything but success ends the run."""
        status, told = self.ask(method, path, body)
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {told}")
        return told


@contextmanager
def farm(folder: Path) -> Iterator[tuple[servers.Coordinator, dict[str, psutil.Process]]]:
    """The three real parts, and their processes by name."""
    with (
        servers.valkey(folder / "valkey") as store,
        servers.seaweed(folder / "seaweed") as objects,
        servers.coordinator(folder / "coordinator", store.url, objects) as coordinator,
    ):
        parts = {"store": store, "object store": objects, "coordinator": coordinator}
        yield (
            coordinator,
            {name: psutil.Process(part.child.pid) for name, part in parts.items() if part.child},
        )


def facts() -> SceneFacts:
    """Those of a plain Cycles scene of 96x96 pixels."""
    file = FileFormat("PNG", "RGBA", "8", ".png", False)
    adaptive = Adaptive(False, 0.01, 0)
    rest: dict[str, Any] = dict.fromkeys(
        ("file_outputs", "whole_only", "final_only", "approximate", "refused", "notes", "scripts", "drivers"),
        (),
    )
    return SceneFacts(
        scene="Scene",
        saved_with="5.0.1",
        blender="5.0.1",
        engine="CYCLES",
        frame_start=1,
        frame_end=250,
        frame_step=1,
        resolution_x=96,
        resolution_y=96,
        resolution_percentage=100,
        border=None,
        crop=False,
        samples=4,
        seed=0,
        adaptive=adaptive,
        auto_tile=0,
        denoise=False,
        view_layers=("ViewLayer",),
        compositing=False,
        file=file,
        output_path="//",
        camera=True,
        assets=(),
        simulations=(),
        **rest,
    )


def start_job(owner: Api, tasks: int) -> str:
    """A sealed scene of one small file, and a job of about so many tasks."""
    content = os.urandom(1000)
    blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
    scene = owner.call("POST", "/scenes", Manifest("scene.blend", {"scene.blend": blob}))
    for missing in scene["missing"]:
        owner.http.request("PUT", missing["url"], headers=missing["headers"], body=content)
    owner.call("POST", f"/scenes/{scene['scene']}/seal")
    frames = tuple(range(1, max(1, round(tasks / (TILES + 1))) + 1))
    spec = JobSpec(scene["scene"], frames, tiles="3x3", name="orchestration")
    return str(owner.call("POST", "/jobs", {"spec": spec, "facts": facts()})["job"])


def enrol(api: Api, key: bytes) -> str:
    """Bind the client's address; returns the farm's."""
    known = api.call("GET", "/nodes/self")
    address = typed_data.address_of(key)
    signature = attestation.sign(documents.Enrolment(known["node"], address), known["farm"], key)
    api.call("POST", "/nodes/self", {"address": address, "signature": signature})
    return str(known["farm"])


def work(url: str, token: str, size: int, start: Any, done: Any) -> None:
    """One client: leases until nothing is left. Reports its steps' times and its CPU seconds."""
    api, store, key = Api(url, token, urllib3.PoolManager()), urllib3.PoolManager(), os.urandom(32)
    farm_address = enrol(api, key)
    padding, rows = os.urandom(size), []
    offer = SlotOffer("slot", KINDS, DEVICE)
    start.wait()
    while True:
        times = [time.perf_counter()]
        leases = api.call("POST", "/leases", LeaseRequest((offer,), 1.0, True))["leases"]
        if not leases:
            break
        times.append(time.perf_counter())
        lease = f"/leases/{leases[0]['task']['id']}"
        token_of = f"token={leases[0]['token']}"
        content = os.urandom(16) + padding[16:]
        file = OutputFile("tile.exr", hashlib.sha256(content).hexdigest(), size)
        upload = api.call("POST", f"{lease}/uploads?{token_of}", {"files": [file]})["uploads"][0]
        times.append(time.perf_counter())
        stored = store.request("PUT", upload["url"], headers=upload["headers"], body=content)
        assert stored.status == 200, stored.data
        times.append(time.perf_counter())
        result = TaskResult((file,), 0.0, 0.0, DEVICE, pixel_root=file.sha256)
        message = attestation.attest(leases[0]["task"]["id"], leases[0]["token"], result)
        signed = replace(result, signature=attestation.sign(message, farm_address, key))
        drawn = leases[0]["task"]["kind"] == TaskKind.RENDER
        for attempt in range(1, TRIES + 1):
            if drawn:
                terms = api.call("GET", f"{lease}/terms?{token_of}&attempt={attempt}")
                one = attestation.appoint(message, decode(encode(terms), AuditTerms), attempt, farm_address)
                proof = attestation.sign(one, farm_address, key)
                signed = replace(signed, appointment=one, appointment_signature=proof)
            times[4:] = [time.perf_counter()]
            status, told = api.ask("POST", f"{lease}/result?{token_of}", signed)
            if status < 300:
                break
            # On a busy machine the log may be closed for the round by the time this arrives.
            assert told["code"] == "round_closed", told
            assert attempt < TRIES, told
        times.append(time.perf_counter())
        rows.append(times)
    done.put((rows, time.process_time()))


def measure(tasks: int, clients: int, size: int) -> dict[str, Any]:
    """One run."""
    with tempfile.TemporaryDirectory() as folder, farm(Path(folder)) as (coordinator, parts):
        admin = Api(coordinator.url, coordinator.admin_token, urllib3.PoolManager())
        body = [{"name": f"client {number}", "own": True} for number in range(clients)]
        tokens = [admin.call("POST", "/nodes", one)["token"] for one in body]
        start, done = multiprocessing.Event(), multiprocessing.Queue()
        workers = [
            multiprocessing.Process(target=work, args=(coordinator.url, token, size, start, done))
            for token in tokens
        ]
        for worker in workers:
            worker.start()
        job = start_job(admin, tasks)
        before = _cpu(parts)
        start.set()
        reports = [done.get() for _ in workers]
        after = _cpu(parts)
        for worker in workers:
            worker.join()
        state = admin.call("GET", f"/jobs/{job}")["state"]
        memory = parts["coordinator"].memory_info().rss / 2**20
    assert state == "complete", state
    used = {name: after[name] - before[name] for name in parts} | {"clients": sum(cpu for _, cpu in reports)}
    return _figures([row for rows, _ in reports for row in rows], used, memory)


def _cpu(parts: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: sum(part.cpu_times()[:2]) for name, part in parts.items()}


def _figures(rows: list[list[float]], cpu: dict[str, float], memory: float) -> dict[str, Any]:
    wall = max(row[-1] for row in rows) - min(row[0] for row in rows)
    steps = {
        name: statistics.median(row[index + 1] - row[index] for row in rows) * 1000
        for index, name in enumerate(STEPS)
    }
    return {
        "tasks": len(rows),
        "seconds": round(wall, 2),
        "tasks_per_second": round(len(rows) / wall, 1),
        "median_overhead_ms": round(statistics.median(row[-1] - row[0] for row in rows) * 1000, 2),
        "median_step_ms": {name: round(value, 2) for name, value in steps.items()},
        "cpu_ms_per_task": {name: round(value / len(rows) * 1000, 2) for name, value in cpu.items()},
        "coordinator_mb": round(memory),
    }


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--size", type=int, default=65536, help="bytes of a result")
    parser.add_argument("--runs", type=int, default=1, help="how often; the median run is printed")
    chosen = parser.parse_args()
    runs = [measure(chosen.tasks, chosen.clients, chosen.size) for _ in range(chosen.runs)]
    speeds = [run["tasks_per_second"] for run in runs]
    median = sorted(runs, key=lambda run: run["tasks_per_second"])[len(runs) // 2]
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    told = {"clients": chosen.clients, "size": chosen.size, "all_runs": speeds, **median, "machine": machine}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a node together: Ray, slots, agent, signals."""

import contextlib
import fcntl
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from farm_protocol.addresses import require_encrypted
from farm_protocol.errors import Conflict, InvalidInput, Unavailable
from farm_protocol.ids import DeviceClass
from farm_protocol.links import Links, links, trusted_links
from farm_protocol.records import TaskKind
from gpu_worker.agent.agent import Agent
from gpu_worker.agent.ray_cluster import RayCluster, Resources
from gpu_worker.agent.ray_slots import RaySlot
from gpu_worker.agent.records import Bench, Pace
from gpu_worker.blender.devices import backend_for
from gpu_worker.blender.libraries import install_line, missing_libraries
from gpu_worker.blender.process import ChildLimits, Device
from gpu_worker.config import NodeConfig, cores, default_memory, default_slots, default_threads
from gpu_worker.earnings.earnings_journal import EarningsJournal
from gpu_worker.earnings.funding_verifier import chain_verifier
from gpu_worker.earnings.operator import load_operator
from gpu_worker.earnings.selling import Operator, Selling, stop_selling
from gpu_worker.farm.coordinator import Coordinator, NodeSelf
from gpu_worker.farm.identity import Identity, enrol, load_identity, meet
from gpu_worker.farm.log_watch import LogWatch
from gpu_worker.farm.pins import pinned_objects
from gpu_worker.farm.result_signer import Notary
from gpu_worker.farm.trust import Proof, Trust, required_trust
from gpu_worker.folders import private_folder
from gpu_worker.sandbox import bubblewrap
from gpu_worker.slot.actor import SlotOrder
from gpu_worker.slot.child_workspace import ChildPlan
from gpu_worker.slot.kernels import KERNELS
from gpu_worker.slot.slot import SlotPlan

log = structlog.get_logger()

ALIVE_FILE = "alive"
"""In the node's folder: its time of change is when the node was last known to work."""


def run_node(config: NodeConfig) -> int:
    """Run until SIGTERM, Ctrl-C, or an error that no waiting helps. The exit status."""
    require_encrypted(config.coordinator, "The farm's address", config.insecure)
    _check_libraries()
    with _state_folder(config.state), _life_of_parent(config.die_with_parent):
        sandboxed = _sandboxed(config.sandbox)
        trust = None if sandboxed else required_trust(config.trusted_farm, config.owner)
        identity = load_identity(config.state)
        _quit_on_signals()
        cluster = RayCluster(config.state, config.ray_address, cpus=_cpus(config))
        _quit_on_signals()  # Ray takes SIGTERM for itself, and waits for its actors first
        try:
            return _serve(config, cluster, identity, trust)
        finally:
            cluster.close()


def _serve(config: NodeConfig, cluster: RayCluster, identity: Identity, trust: Trust | None) -> int:
    plans = _Plans(config, cluster.resources(), trust, _links(config))
    slots = [RaySlot(cluster, order, plans.cpus, plans.gpus) for order in plans.rendering()]
    slots += [RaySlot(cluster, order, 0, 0) for order in plans.finishing()]
    proof = Proof(trust.farm) if trust else None
    coordinator = Coordinator(config.coordinator, config.token, ca_file=config.ca_file, proof=proof)
    # While the slots' Blenders load.
    known = enrol(coordinator, config.coordinator, identity, config.state)
    log.info("node_enrolled", node=known.node, address=identity.address, farm=known.farm)
    # The operator's password opens its wallet while the slots' Blenders load, too.
    operator = load_operator(config.selling) if config.selling else None
    benches, late = _benches(slots, cluster)
    selling = _selling(config, coordinator, operator, known, identity.address, benches) if operator else None
    if selling is None:
        stop_selling(coordinator, config.state)
    watch = LogWatch(coordinator, known.farm, config.state)
    notary = Notary(identity, known.farm, config.state, selling, watch)
    pace = Pace(silence=config.silence_seconds)
    agent = Agent(coordinator, benches, notary, pace, selling, _sign_of_life(config.state))
    watch.fail = agent.fail
    with (
        _stopped_by_signals(agent) as stop_on_signals,
        _selling_meanwhile(selling),
        _watching(watch),
    ):
        log.info(
            "node_started",
            slots=[bench.slot.name for bench in benches],
            backend=plans.backend,
            sandboxed=trust is None,
            links=plans.links.origins,
        )
        for slot in late:
            agent.expect(slot)
        cluster.watch(agent.fail, lambda: agent.do_in_run(stop_on_signals))
        agent.run()
    return 0


def _links(config: NodeConfig) -> Links:
    """Where this farm's links may lead: to the object stores that its user named, or that the farm names and
    named when the node joined it.
    """
    farm = Coordinator(config.coordinator, config.token, ca_file=config.ca_file)
    named = config.objects or pinned_objects(config.state, config.coordinator, meet(farm).objects)
    for one in named:
        require_encrypted(one, "The farm's object store", config.insecure)
    log.info("links_lead_to", origins=named)
    if config.objects:
        return trusted_links(named, config.ca_file)
    return links(named, config.coordinator, farm.peer, config.ca_file)


def _benches(slots: list[RaySlot], cluster: RayCluster) -> tuple[list[Bench], list[RaySlot]]:
    """The slots that can be had now, and on somebody else's cluster those that cannot. Raises what a slot of
    the node's own Ray does not start with.
    """
    benches: list[Bench] = []
    late: list[RaySlot] = []
    while not benches:
        late = []
        for slot in slots:
            try:
                benches.append(Bench(slot, slot.describe()))
            except Unavailable as error:
                if cluster.local:
                    raise
                log.warning("slot_unreachable", slot=slot.name, reason=error.sentence)
                late.append(slot)
    return benches, late


def _sign_of_life(state: Path) -> Callable[[], None]:
    """Touches a file, by which whoever runs this node sees that it has not hung."""
    file = state / ALIVE_FILE

    def touch() -> None:
        # A full disk is no reason to end.
        with contextlib.suppress(OSError):
            file.touch()

    return touch


def _selling(
    config: NodeConfig,
    coordinator: Coordinator,
    operator: Operator,
    known: NodeSelf,
    address: str,
    benches: list[Bench],
) -> Selling:
    device_class = _one_class(benches)
    journal, url = EarningsJournal(config.state), config.selling.chain_url if config.selling else ""
    verifier = chain_verifier(url, operator.network, operator.address) if url else None
    return Selling(
        coordinator, operator, journal, address, known.farm, device_class, own=known.own, verifier=verifier
    )


def _one_class(benches: list[Bench]) -> DeviceClass:
    """What a node's offer is for. Raises InvalidInput for a node of several kinds: its price would be for
    one of them, and tiles of the others would be none of the offer's.
    """
    classes = {bench.info.device_class for bench in benches if TaskKind.RENDER in bench.slot.kinds}
    if len(classes) > 1:
        raise InvalidInput(
            f"This node's slots are of {len(classes)} device classes ({', '.join(sorted(classes))}), and a "
            f"node sells work of one: run a node for each, with CUDA_VISIBLE_DEVICES (HIP_VISIBLE_DEVICES, "
            f"ONEAPI_DEVICE_SELECTOR) and a --state-dir of its own."
        )
    return classes.pop() if classes else benches[0].info.device_class


@contextlib.contextmanager
def _selling_meanwhile(selling: Selling | None) -> Iterator[None]:
    if selling is None:
        yield
        return
    selling.start()
    try:
        yield
    finally:
        selling.stop()


@contextlib.contextmanager
def _watching(watch: LogWatch) -> Iterator[None]:
    watch.start()
    try:
        yield
    finally:
        watch.stop()


class _Plans:
    """Which slots a node has."""

    def __init__(self, config: NodeConfig, resources: Resources, trust: Trust | None, allowed: Links) -> None:
        self._config, self._trust, self.links = config, trust, allowed
        self.backend = backend_for(config.device, resources.gpus, resources.names)
        on_gpu = self.backend != "CPU"
        self._slots = (
            self._shares(resources) if not on_gpu else min(config.slots or resources.gpus, resources.gpus)
        )
        self._threads = config.threads_per_slot or default_threads(self._slots)
        if not on_gpu and self._slots * self._threads > resources.cpus:
            raise InvalidInput(
                f"{self._slots} slots of {self._threads} threads do not fit the {resources.cpus} CPUs of the "
                f"Ray cluster: give fewer --slots or --threads-per-slot."
            )
        self.gpus = 1 if on_gpu else 0
        self.cpus = 0 if on_gpu else self._threads

    def _shares(self, resources: Resources) -> int:
        if self._config.slots:
            return self._config.slots
        if resources.local:
            return default_slots(0)
        return max(1, resources.cpus // (self._config.threads_per_slot or 4))

    def rendering(self) -> list[SlotOrder]:
        """The slots that render."""
        kind = "gpu" if self.gpus else "cpu"
        device = Device(self.backend, 0, self._threads)
        kinds = (TaskKind.RENDER, TaskKind.AUDIT, TaskKind.PROBE)
        return [self._order(f"{kind}-{number}", kinds, device) for number in range(self._slots)]

    def finishing(self) -> list[SlotOrder]:
        """The slot of an own node that finishes frames and looks at submitted tiles: short work, so it may
        use every core but one for each GPU, which stands still while nobody feeds it.
        """
        if not self._config.own:
            return []
        threads = max(1, cores() - self.gpus * self._slots)
        return [self._order("finish-0", (TaskKind.FINISH, TaskKind.CHECK), Device("CPU", 0, threads))]

    def _order(self, name: str, kinds: tuple[TaskKind, ...], device: Device) -> SlotOrder:
        config = self._config
        memory = config.memory_per_slot or default_memory(self._slots)
        limits = ChildLimits(memory, config.stall_seconds, config.task_seconds)
        child = ChildPlan(device, limits, self._trust is None, config.child_program)
        plan = SlotPlan(
            name,
            kinds,
            config.state / "slots" / name,
            child,
            picture_memory=default_memory(2),
            kernels=config.state / KERNELS,
            owner=self._trust.owner if self._trust else None,
        )
        cache, farm = config.state / "cache", (config.coordinator, config.token)
        return SlotOrder(plan, cache, config.cache_bytes, *farm, config.handed_over, self.links)


def _cpus(config: NodeConfig) -> int:
    """What a local Ray is told it has: room for the slots, and one more, because Ray starts as many
    processes at a time, and the slot that finishes frames should not have to wait.
    """
    slots = config.slots or default_slots(0)
    return slots * (config.threads_per_slot or default_threads(slots)) + 1


def _sandboxed(wanted: bool) -> bool:
    reason = bubblewrap.unavailable() if wanted else "--no-sandbox"
    if reason is not None:
        log.warning("no_sandbox", consequence="only scenes of this node's own user are opened", reason=reason)
    return reason is None


def _check_libraries() -> None:
    missing = missing_libraries()
    if missing:
        raise InvalidInput(f"Blender needs {', '.join(missing)}. Install them with: {install_line(missing)}")


@contextlib.contextmanager
def _state_folder(folder: Path) -> Iterator[None]:
    """The node's folder, for this node and its user alone."""
    private_folder(folder)
    try:
        lock = os.open(folder / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(f"The state folder cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Conflict(f"Another node runs in {folder}: give this one its own --state-dir.") from error
    finally:
        os.close(lock)


@contextlib.contextmanager
def _life_of_parent(bound: bool) -> Iterator[None]:
    """Where `bound`: SIGTERM to this process when the one that started it ends, however it ends."""
    if bound:
        parent = os.pidfd_open(os.getppid())

        def watch() -> None:
            select.select([parent], [], [])
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    yield


@contextlib.contextmanager
def _stopped_by_signals(agent: Agent) -> Iterator[Callable[[], None]]:
    """The first SIGTERM or Ctrl-C drains the node, the second ends it at once. Yields what sets that up
    again, in the main thread: a Ray that is put away or started takes the signals for itself.
    """

    def stop(number: int, _: object) -> None:
        _quit_on_signals()
        # Not from the handler itself: it may have interrupted the very lock that stopping needs.
        threading.Thread(target=agent.stop, name="stop").start()

    def install() -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, stop)

    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    install()
    try:
        yield install
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _quit_on_signals() -> None:
    """End at once where there is nothing to give back yet; the orphan reaper sees to the rest."""
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, _quit)


def _quit(number: int, _: object) -> None:
    os._exit(128 + number)

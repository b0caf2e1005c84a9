# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded farm: store, object store, coordinator and one own node, kept running together.

    with Farm(Folder(path), FarmOptions(slots=2), print).running() as farm:
        print(farm.url, farm.token)

Outside parts replace embedded ones by their addresses. Everything stops when the block is left, and
dies with the process whatever ends it.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import structlog

from farm_protocol import handed_over
from farm_protocol.ids import OPERATOR
from render_farm.embedded import append_only, money, seaweed, valkey, volume_index
from render_farm.embedded.addresses import EVERYWHERE, LOOPBACK, parse_bind, public_host, require_free
from render_farm.embedded.health import Patience, TouchedFile, http_question, patience_of, said_listening
from render_farm.embedded.money import Outside
from render_farm.embedded.own_node import OwnNodeStart
from render_farm.embedded.part import PYTHON, Part, Program, end_leftovers
from render_farm.embedded.state import Folder, Process, RunningFarm
from render_farm.tls import Certificate, require_cover

log = structlog.get_logger()

NODE_GOODBYE = 1.5
"""Seconds the node has for giving back its leases before the coordinator ends."""

INSIDE = "coordinator inside"
"""The port that this machine's own parts know a farm with a certificate by."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FarmOptions:
    """What `render-farm up` can change. Empty addresses mean the embedded part.

    `bind` is `host` or `host:port`, other than loopback only with a `certificate` or where that may be
    `insecure`; `slots` and `threads` are the own node's, None lets it choose;
    `rules` are options of the coordinator about audits, with their values. With `money` the farm takes
    paid jobs: on its own chain, or on `chain`. A part that answers nothing for `silence` seconds is killed
    and started again. With `cut_store` damage inside the embedded store's file is cut off with what follows.
    """

    redis_url: str = ""
    s3_endpoint: str = ""
    s3_public_endpoint: str = ""
    bind: str = ""
    public_url: str = ""
    slots: int | None = None
    threads: int | None = None
    node: bool = True
    temporary: bool = False
    rules: tuple[tuple[str, str], ...] = ()
    money: bool = False
    chain: Outside | None = None
    silence: float = Patience().silence
    cut_store: bool = False
    certificate: Certificate | None = None
    insecure: bool = False


class Farm:
    """The parts of one farm on one folder. `say` gets sentences about how the start goes."""

    def __init__(self, folder: Folder, options: FarmOptions, say: Say) -> None:
        self.folder, self.options, self._say = folder, options, say
        self._parts: dict[str, Part] = {}
        self._patience = patience_of(options.silence)
        self._announcing = threading.Lock()
        self._started = self._stopping = False
        self._host, self._port = parse_bind(options.bind)
        self.url = ""
        self.public_url = ""
        self.token = ""

    @contextmanager
    def running(self) -> Iterator["Farm"]:
        """Start everything up to the coordinator, and stop it all at the end.

        The own node starts too, but is not waited for (`wait_for_node`). Raises FolderInUse or
        PartFailed.
        """
        self.folder.create()
        with ExitStack() as stack:
            stack.enter_context(self.folder.locked())
            require_free(self._host, self._port)
            require_cover(self._host, self.options.certificate, self.options.insecure)
            end_leftovers(self.folder.announced())
            stack.callback(self._stop)
            services = self._start_services()
            if self.options.money:
                self._start_money(services)
            # All at once: the coordinator loads longer than the others take to answer, and waits for them.
            for part in (*services, self._start_coordinator()):
                part.wait()
            if self._shares_objects:
                self._add("relay", self._relay_program()).wait()
            if self.options.node:
                self._add("node", self._node_program())
            self._started = True
            self._announce()
            yield self

    def wait_for_node(self) -> None:
        """Wait until the own node has said hello. Raises PartFailed where it cannot start."""
        if "node" in self._parts:
            self._parts["node"].wait()

    def wait_for_money(self) -> None:
        """Wait until chain and settler are at work. Raises PartFailed where one cannot start."""
        for name in ("chain", "settler"):
            if name in self._parts:
                self._parts[name].wait()

    @property
    def chain_url(self) -> str:
        """Where the embedded chain answers; empty where there is none."""
        return money.chain_url(self.folder) if "chain" in self._parts else ""

    @property
    def is_local(self) -> bool:
        """Whether the coordinator listens to this machine only."""
        return self._host in LOOPBACK

    def part(self, name: str) -> Part:
        """One of the parts by name: valkey, seaweed, chain, settler, coordinator or node."""
        return self._parts[name]

    def _add(self, name: str, program: Program) -> Part:
        part = self._parts[name] = Part(program, self._announce, self._patience)
        part.start()
        return part

    def _start_services(self) -> list[Part]:
        self._say("Starting the farm ...")
        services = []
        if not self.options.redis_url:
            services.append(self._add("valkey", self._valkey_program()))
        if not self.options.s3_endpoint:
            services.append(self._add("seaweed", self._seaweed_program()))
        return services

    def _start_money(self, services: list[Part]) -> None:
        """Start chain and settler. Only the first start waits for them: they make the contracts then, whose
        addresses the coordinator must know.
        """
        home = money.money_folder(self.folder)
        needs = [part for part in services if part.program.name == "valkey"]
        home.create()
        if self.options.chain is None:
            needs.append(self._add("chain", money.chain_program(self.folder)))
        settler = money.settler_program(self.folder, self._redis_url(), tuple(needs), self.options.chain)
        part = self._add("settler", settler)
        if self.options.chain is None and not home.network.exists():
            self._say("Setting up the farm's own chain, once ...")
            part.wait()

    def _redis_url(self) -> str:
        embedded = valkey.url(self.folder.path / "valkey", socket_path=self.folder.valkey_socket())
        return self.options.redis_url or embedded

    def _network(self) -> dict[str, str]:
        """The coordinator's option for the contracts it signs for."""
        if not self.options.money:
            return {}
        chain = self.options.chain
        return {"--chain": str(chain.network if chain else money.money_folder(self.folder).network)}

    def _start_coordinator(self) -> Part:
        self._port = self._port or self.folder.choose_port("coordinator", self._host or "127.0.0.1")
        host = "127.0.0.1" if self._host in ("", *EVERYWHERE) else self._host
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._port}"
        if self.options.certificate:
            # This machine's own parts need no certificate to know each other by.
            self.url = f"http://127.0.0.1:{self.folder.choose_port(INSIDE)}"
        at = f"{self._scheme}://{public_host(self._host, self.options.public_url)}:{self._port}"
        self.public_url = self.options.public_url.rstrip("/") or at
        self.token = self.folder.secrets().admin_token
        return self._add("coordinator", self._coordinator_program())

    def _valkey_program(self) -> Program:
        folder, socket_path = self.folder.path / "valkey", self.folder.valkey_socket()

        def line() -> list[str]:
            cut = append_only.mend(folder, valkey.binary(), self.options.cut_store)
            if cut is not None:
                self._say(cut.sentence)
            return valkey.command(folder, socket_path=socket_path)

        return Program(
            name="valkey",
            command=line,
            # It reads all its changes back.
            start_seconds=600.0,
            advice=valkey.advice(folder),
            log=self.folder.log("valkey"),
            ready=lambda _: valkey.ready(folder, socket_path=socket_path),
            answers=lambda seconds: valkey.answers(folder, socket_path=socket_path, timeout=seconds),
        )

    def _seaweed_program(self) -> Program:
        secrets, port = self.folder.secrets(), self.folder.choose_port("seaweed")
        folder = self.folder.path / "seaweed"

        def line() -> list[str]:
            for index in volume_index.set_aside_torn(folder):
                self._say(
                    f"The object store's index {index} may be torn, as after a power cut: it is made again "
                    "from the objects; a copy is beside it."
                )
            return seaweed.command(folder, port)

        return Program(
            name="seaweed",
            command=line,
            environment=lambda: seaweed.environment(secrets.s3_key, secrets.s3_secret),
            # It may have to read all its objects.
            start_seconds=600.0,
            folder=folder,
            log=self.folder.log("seaweed"),
            ready=lambda _: seaweed.ready(port),
            answers=lambda seconds: seaweed.ready(port, seconds),
        )

    def _coordinator_program(self) -> Program:
        given, secrets = self.options, self.folder.secrets()
        endpoint = given.s3_endpoint or seaweed.url(self.folder.port("seaweed"))
        options = {
            "--bind": self._host or "127.0.0.1",
            "--port": str(self._port),
            "--redis-url": self._redis_url(),
            "--s3-endpoint": endpoint,
            "--s3-public-endpoint": self._objects,
            "--public-url": self.public_url,
            "--handed-over": str(self.folder.path / handed_over.FOLDER),
            **dict(given.rules),
            **self._network(),
        }
        environment = {"FARM_ADMIN_TOKEN": secrets.admin_token, "FARM_SIGNING_KEY": secrets.signing_key}
        # Nobody's settings decide whether this farm takes paid jobs: it has a settler, or it has none.
        environment["FARM_CHAIN"] = ""
        if not given.s3_endpoint:
            environment |= {"AWS_ACCESS_KEY_ID": secrets.s3_key, "AWS_SECRET_ACCESS_KEY": secrets.s3_secret}
        words = [word for pair in options.items() for word in pair] + ["--insecure"] * given.insecure
        if given.certificate:
            words += [*given.certificate.words, "--local-port", str(self.folder.port(INSIDE))]
        return Program(
            name="coordinator",
            command=lambda: [*PYTHON, "render_farm.serve", *words],
            environment=lambda: environment,
            log=self.folder.log("coordinator"),
            ready=said_listening,
            speaks=True,
            # What it answers by itself: it is not to blame for a store that hangs.
            answers=http_question(f"{self.url}/api/v1/farm"),
        )

    @property
    def _scheme(self) -> str:
        return "https" if self.options.certificate else "http"

    @cached_property
    def _objects(self) -> str:
        """Where nodes and clients reach the object store. Asked for before anybody listens there."""
        given = self.options
        embedded = given.s3_endpoint or seaweed.url(self.folder.port("seaweed"))
        return given.s3_public_endpoint or self._public_objects() or embedded

    @property
    def _shares_objects(self) -> bool:
        """Whether other machines are let in and the embedded object store is to be reached by them."""
        return not (self.is_local or self.options.s3_endpoint or self.options.s3_public_endpoint)

    def _public_objects(self) -> str:
        """The embedded object store as other machines reach it; empty when they do not."""
        if not self._shares_objects:
            return ""
        host, port = (
            public_host(self._host, self.options.public_url),
            self.folder.choose_port("relay", self._host),
        )
        return f"{self._scheme}://{host}:{port}"

    def _relay_program(self) -> Program:
        target = self.folder.port("seaweed")
        words = [self._host, str(self.folder.port("relay")), str(target)]
        if found := self.options.certificate:
            words += [str(found.cert), str(found.key)]
        here = http_question(f"{self._objects}/healthz")

        def answers(seconds: float) -> bool:
            # It passes on: nobody can tell while there is nothing behind it.
            return here(seconds) or not seaweed.ready(target, seconds)

        return Program(
            name="relay",
            command=lambda: [*PYTHON, "render_farm.embedded.relay", *words],
            log=self.folder.log("relay"),
            ready=said_listening,
            speaks=True,
            answers=answers,
        )

    def _node_program(self) -> Program:
        start = OwnNodeStart(self.folder, self.url, self.token)
        words = ["run", "--coordinator", self.url, "--own", "--state-dir", str(self.folder.path / "node")]
        words += ["--handed-over", str(self.folder.path / handed_over.FOLDER)]
        # Its own farm's word for what it may do, however its own machine is set up.
        words += ["--objects", self._objects, "--owner", OPERATOR, "--insecure"]
        if self.options.slots:
            words += ["--slots", str(self.options.slots)]
        if self.options.threads:
            words += ["--threads-per-slot", str(self.options.threads)]
        words += ["--silence-seconds", f"{2 * self.options.silence:g}"]
        environment: dict[str, str] = {}
        if self.options.money and self.options.chain is None:
            selling, environment = money.selling_options(self.folder)
            words += selling

        def line() -> list[str]:
            start.begin(self._say)
            return [*PYTHON, "gpu_worker", *words]

        return Program(
            name="node",
            command=line,
            environment=lambda: {
                **environment,
                "FARM_NODE_TOKEN": start.token,
                "FARM_TRUST_FARM": self.folder.farm_address(),
            },
            log=self.folder.log("node"),
            ready=lambda _: start.is_online(),
            start_seconds=180.0,
            looks_every=0.1,
            stop_seconds=20.0,
            answers=TouchedFile(self.folder.path / "node" / "alive"),
            # It has children of its own to end, Blenders and Ray: it is told, not killed.
            death_signal=signal.SIGTERM,
        )

    def _announce(self) -> None:
        """Write down where the farm answers and which processes are its."""
        with self._announcing:
            running = {name: part.process() for name, part in self._parts.items()}
            if self._stopping or not self._started:
                return
            me = psutil.Process()
            parts = {name: process for name, process in running.items() if process is not None}
            farm = RunningFarm(
                self.url,
                self.public_url,
                self.token,
                Process(me.pid, me.create_time()),
                parts,
                self.options.temporary,
                self.chain_url,
            )
            try:
                self.folder.announce(farm)
            except OSError as error:
                # No part is to end because the disk is full: commands find the farm by what was said before.
                log.warning("not_announced", reason=str(error))

    def _stop(self) -> None:
        """Stop the parts in reverse, so that each still has what it stands on while it ends."""
        with self._announcing:
            self._stopping = True
            self.folder.withdraw()
        if "node" in self._parts:
            # It gives back its leases at once; a call for work that the coordinator holds open for it
            # is answered when the coordinator ends.
            self._parts["node"].ask_to_stop(patience=NODE_GOODBYE)
        if "coordinator" in self._parts:
            self._parts["coordinator"].stop()
        for part in self._parts.values():
            part.ask_to_stop()
        for part in self._parts.values():
            part.stop()
        if "seaweed" in self._parts and self._parts["seaweed"].ended_by_itself:
            with suppress(OSError):
                volume_index.stopped_cleanly(self.folder.path / "seaweed")
        log.info("farm_stopped", folder=str(self.folder.path))


def state_folder(path: Path) -> Folder:
    """The folder at `path`, absolute."""
    return Folder(path.expanduser().absolute())

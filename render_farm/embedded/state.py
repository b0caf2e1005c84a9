# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder an embedded farm lives in: its data, its secrets, and how others find it running.

lock          held (flock) by the process that runs the farm
farm.json     where the running farm answers, its operator's token, its processes
secrets.json  generated once; mode 0600
own-node.json how often the own node was enrolled again
address.json  what the farm signs as, by the digest of its key
version       of what the farm keeps in its store
ports.json    loopback ports, chosen once, kept so that a restart answers where it did before
valkey/ seaweed/ node/ bundles/ logs/
chain/        the farm's own chain, its wallets, and what names its contracts
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import msgspec
import structlog

from farm_protocol.errors import Conflict, FarmError
from farm_protocol.fields import encode
from farm_protocol.files import hold, write_private
from render_farm.embedded.files import DamagedFile, private_folder, read_record
from render_farm.embedded.seaweed import free_port

log = structlog.get_logger()

SECRETS_ADVICE = (
    "Put a copy of it back. Without one, move it away: the farm then makes new secrets, so that clients need "
    "its new token, nodes must be added again, and what it signed before was signed with another key."
)
VERSION = "2"
"""Of what a farm keeps in its store."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
_LOOKS, _LOOK = 5, 0.05
"""Another command that only looks whether a farm runs holds the lock for an instant: look again."""


class FolderInUse(Conflict):
    """Another process runs a farm on this folder."""

    code = "folder_in_use"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the parts prove themselves to each other with. Never on a command line. With `signing_key`
    (64 hexadecimal digits) the farm signs its receipts.
    """

    admin_token: str
    s3_key: str
    s3_secret: str
    instance: str
    signing_key: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, by number and start time, so that a reused number is not taken for it."""

    pid: int
    started: float


@dataclass(frozen=True, slots=True)
class RunningFarm:
    """How a command reaches the farm that runs on a folder; other machines by `public_url`.
    `temporary`: it ends with the command that started it. `chain` is the URL of its own chain.
    """

    url: str
    public_url: str
    token: str
    process: Process
    parts: dict[str, Process] = field(default_factory=dict)
    temporary: bool = False
    chain: str = ""


@dataclass(frozen=True, slots=True)
class OwnNode:
    """How often the own node was enrolled again, because its folder with its key was gone."""

    enrolled_anew: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """The state folder. Nothing is made before `create`."""

    path: Path

    def create(self) -> None:
        """Make the folder, for its owner only. Raises FarmError where that cannot be, or where the farm in it
        was one of another version.
        """
        private_folder(self.path)
        self._require_version()
        for name in ("valkey", "seaweed", "node", "bundles", "logs"):
            private_folder(self.path / name)

    def _require_version(self) -> None:
        file, store = self.path / "version", self.path / "valkey"
        known = file.read_bytes().decode(errors="replace") if file.exists() else ""
        if known == VERSION:
            return
        if store.exists() and any(store.iterdir()):
            raise FarmError(
                f"The farm in {self.path} was made by another version, whose jobs this one cannot read. Use "
                f"another folder (--state-dir DIR), or move that one away; its wallets and keys stay in it."
            )
        write_private(file, VERSION.encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises FolderInUse at once when another has it."""
        with self._lock_file() as handle:
            if not _insist(handle):
                raise FolderInUse(f"A farm already runs on {self.path}.")
            yield

    def in_use(self) -> bool:
        """Whether some process runs a farm here."""
        if not (self.path / "lock").exists():
            return False
        with self._lock_file() as handle:
            return not _try_lock(handle)

    @contextmanager
    def _lock_file(self) -> Iterator[int]:
        try:
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FarmError(f"The farm's folder {self.path} cannot be used: {error.strerror}.") from error
        try:
            yield handle
        finally:
            os.close(handle)

    def secrets(self) -> Secrets:
        """The farm's secrets, generated the first time. A folder made before farms signed gets its key.
        Raises DamagedFile.
        """
        path = self.path / "secrets.json"
        known = read_record(path, Secrets, SECRETS_ADVICE) or _new_secrets()
        if not known.signing_key:
            known = replace(known, signing_key=secrets.token_hex(32))
            write_private(path, encode(known))
        return known

    def farm_address(self) -> str:
        """What the farm signs as. It is kept: to work it out takes half a second of loading."""
        path, key = self.path / "address.json", self.secrets().signing_key
        digest = hashlib.sha256(key.encode()).hexdigest()
        with contextlib.suppress(DamagedFile):
            known = read_record(path, dict[str, str], "") or {}
            if digest in known:
                return known[digest]
        from farm_protocol.typed_data import address_of  # noqa: PLC0415

        address = address_of(bytes.fromhex(key))
        write_private(path, json.dumps({digest: address}).encode())
        return address

    def choose_port(self, name: str, host: str = "127.0.0.1") -> int:
        """The port a part is to listen on: the remembered one, or where somebody else took
        that, a new one.
        """
        ports = self._ports()
        if name not in ports or not port_is_free(ports[name], host):
            ports[name] = free_port()
            write_private(self.path / "ports.json", json.dumps(ports).encode())
        return ports[name]

    def port(self, name: str) -> int:
        """The remembered port of a part that runs."""
        return self._ports()[name]

    def _ports(self) -> dict[str, int]:
        try:
            return read_record(self.path / "ports.json", dict[str, Port], "") or {}
        except DamagedFile as error:
            log.warning("ports_chosen_anew", reason=error.sentence.strip())
            return {}

    def valkey_socket(self) -> Path:
        """Where the store listens: in the folder, or, where its path is too long for a socket, in a
        private folder of the system's temporary one, which is remembered.
        """
        here = self.path / "valkey" / "valkey.sock"
        if len(os.fsencode(here)) < 100:
            return here
        memory = self.path / "socket-folder"
        if not _is_private_folder(known := _text(memory)):
            known = tempfile.mkdtemp(prefix="render-farm-")
            write_private(memory, known.encode())
        return Path(known) / "valkey.sock"

    def own_node(self) -> "OwnNode":
        """Which of the farm's own nodes runs here."""
        advice = "Remove it: then the own node is enrolled anew where its key is another."
        return read_record(self.path / "own-node.json", OwnNode, advice) or OwnNode()

    def remember_own_node(self, node: "OwnNode") -> None:
        """For the next start."""
        write_private(self.path / "own-node.json", encode(node))

    def announce(self, farm: RunningFarm) -> None:
        """Tell other commands where the farm answers."""
        write_private(self.path / "farm.json", encode(farm))

    def withdraw(self) -> None:
        """The farm no longer runs."""
        (self.path / "farm.json").unlink(missing_ok=True)

    def announced(self) -> RunningFarm | None:
        """The last announcement, whether or not that farm still runs."""
        try:
            return read_record(self.path / "farm.json", RunningFarm, "")
        except DamagedFile:
            return None

    def log(self, part: str) -> Path:
        """The file a part's output goes to."""
        return self.path / "logs" / f"{part}.log"


def _new_secrets() -> Secrets:
    # A token is given on command lines too: it must not begin with a minus, as an option does.
    words = (secrets.token_hex(32), f"farm{secrets.token_hex(8)}", secrets.token_urlsafe(32))
    return Secrets(*words, secrets.token_hex(8))


def _text(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text()
    return ""


def _is_private_folder(text: str) -> bool:
    """Whether a folder made for the store's socket is still there, and still this user's alone."""
    if "\0" in text or not os.path.isabs(text):
        return False
    try:
        found = os.lstat(text)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _try_lock(handle: int) -> bool:
    try:
        hold(handle)
    except BlockingIOError:
        return False
    return True


def _insist(handle: int) -> bool:
    for _ in range(_LOOKS):
        if _try_lock(handle):
            return True
        time.sleep(_LOOK)
    return False


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    return port_problem(port, host) is None


def port_problem(port: int, host: str = "127.0.0.1") -> int | None:
    """Why no server could listen there now, as a number of `errno`; None where one could."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return errno.EADDRNOTAVAIL
    with socket.socket(family, kind) as probe:
        # Connections of the last run that linger in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            return error.errno or errno.EADDRNOTAVAIL
    return None

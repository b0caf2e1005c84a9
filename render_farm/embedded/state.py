# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder an embedded farm lives in: its data, its secrets, and how others find it running.

lock          held (flock) by the process that runs the farm
farm.json     where the running farm answers, its operator's token, its processes
secrets.json  generated once; mode 0600
ports.json    loopback ports, chosen once, kept so that a restart answers where it did before
valkey/ seaweed/ node/ bundles/ logs/
chain/        the farm's own chain, its wallets, and what names its contracts
"""

import contextlib
import fcntl
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from frame_splitter.errors import Conflict, FarmError
from frame_splitter.fields import decode, encode
from render_farm.embedded.seaweed import free_port

_LIMIT = 1 << 20
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
class Folder:
    """The state folder. Nothing is made before `create`."""

    path: Path

    def create(self) -> None:
        """Make the folder, for its owner only. Raises FarmError where that cannot be."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("valkey", "seaweed", "node", "bundles", "logs"):
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FarmError(f"The farm's folder {self.path} cannot be made: {error.strerror}.") from error

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
        """The farm's secrets, generated the first time. A folder made before farms signed gets its key."""
        path = self.path / "secrets.json"
        known = decode(_read(path), Secrets) if path.exists() else _new_secrets()
        if not known.signing_key:
            known = replace(known, signing_key=secrets.token_hex(32))
            write_private(path, encode(known))
        return known

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
        path = self.path / "ports.json"
        return decode(_read(path), dict[str, int]) if path.exists() else {}

    def valkey_socket(self) -> Path:
        """Where the store listens: in the folder, or, where its path is too long for a socket, in a
        private folder of the system's temporary one, which is remembered.
        """
        here = self.path / "valkey" / "valkey.sock"
        if len(os.fsencode(here)) < 100:
            return here
        memory = self.path / "socket-folder"
        if not memory.exists() or not Path(memory.read_text()).is_dir():
            write_private(memory, tempfile.mkdtemp(prefix="render-farm-").encode())
        return Path(memory.read_text()) / "valkey.sock"

    def announce(self, farm: RunningFarm) -> None:
        """Tell other commands where the farm answers."""
        write_private(self.path / "farm.json", encode(farm))

    def withdraw(self) -> None:
        """The farm no longer runs."""
        (self.path / "farm.json").unlink(missing_ok=True)

    def announced(self) -> RunningFarm | None:
        """The last announcement, whether or not that farm still runs."""
        try:
            return decode(_read(self.path / "farm.json"), RunningFarm)
        except (OSError, FarmError):
            return None

    def log(self, part: str) -> Path:
        """The file a part's output goes to."""
        return self.path / "logs" / f"{part}.log"


def _new_secrets() -> Secrets:
    # A token is given on command lines too: it must not begin with a minus, as an option does.
    words = (secrets.token_hex(32), f"farm{secrets.token_hex(8)}", secrets.token_urlsafe(32))
    return Secrets(*words, secrets.token_hex(8))


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _insist(handle: int) -> bool:
    for _ in range(_LOOKS):
        if _try_lock(handle):
            return True
        time.sleep(_LOOK)
    return False


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LIMIT)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file's contents at once, readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True

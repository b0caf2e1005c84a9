# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an embedded farm listens, and as what others reach it."""

import errno
import os
import socket
from urllib.parse import urlsplit

from farm_protocol.errors import InvalidInput
from render_farm.embedded.part import PartFailed
from render_farm.embedded.state import port_problem

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
LOOPBACK = ("", "127.0.0.1", "localhost", "::1")


def parse_bind(bind: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]:port` or `:port`; 0 where no port is given."""
    host, separator, port = bind.rpartition(":")
    if not separator or bind.endswith("]"):
        host, port = bind, "0"
    if not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"'{bind}' is no address to bind to: write host or host:port.")
    return host.strip("[]"), int(port)


def require_free(host: str, port: int) -> None:
    """Raise PartFailed where the coordinator could not listen at the port that was asked for."""
    where = host or "127.0.0.1"
    reason = port_problem(port, where)
    if reason == errno.EADDRINUSE:
        raise PartFailed(
            f"Port {port} of {where} is taken by another program: end that, or give another with "
            f"--bind {where}:PORT."
        )
    if reason is not None:
        raise PartFailed(f"The coordinator cannot listen at {where}: {os.strerror(reason)}.")


def outward_address() -> str:
    """The address this machine uses towards others. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def public_host(bound: str, public_url: str) -> str:
    """The machine's name for others: as the URL has it, or the address bound to, or the one that leads out
    of it; in brackets where it is of IPv6.
    """
    named = urlsplit(public_url).hostname or bound
    if named in EVERYWHERE and bound not in LOOPBACK:
        named = outward_address()
    named = named or "127.0.0.1"
    return f"[{named}]" if ":" in named else named

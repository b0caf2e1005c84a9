# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP as node and client speak it: urllib3, which looks at the address before it connects.

A name is looked up once, and what it gave is what is connected to: a name that gives another address the
next time gains nothing.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

from farm_protocol.errors import InvalidInput
from farm_protocol.links import LinkRefused

Allows = Callable[[str], bool]
"""Whether a numeric address may be connected to."""


def anywhere(_: str) -> bool:
    """For addresses that the machine's own user named."""
    return True


def nobody(_: str) -> None:
    """For those who need not know whom they met."""


def pool(
    *,
    maxsize: int = 8,
    ca_file: str = "",
    allows: Allows = anywhere,
    met: Callable[[str], None] = nobody,
) -> urllib3.PoolManager:
    """Connections that are made to addresses that `allows`, and by no proxy. `met` is told of each; https is
    checked by the certificates in `ca_file` ('': the system's). Requests raise LinkRefused where a name has
    no allowed address. Raises InvalidInput for a file without certificates.
    """
    _check_file(ca_file)

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, allows, met)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, allows, met)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    manager = urllib3.PoolManager(maxsize=maxsize, retries=False, ca_certs=ca_file or None)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}
    return manager


def distrusted(error: BaseException | None, url: str) -> str:
    """Why the certificate at `url` is not believed, as a sentence with its mend; '' for any other error."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        inner = [*error.args, getattr(error, "reason", None), error.__cause__]
        error = next((one for one in inner if isinstance(one, BaseException)), None)
    if error is None:
        return ""
    return (
        f"The certificate at {url} is not believed: {error.verify_message}. Where its authority is your own, "
        "name that one's certificate: FARM_CA_FILE=ca.pem (docs/tls.md)."
    )


def _check_file(ca_file: str) -> None:
    try:
        ssl.create_default_context(cafile=ca_file) if ca_file else None
    except OSError as error:  # an ssl.SSLError is one
        raise InvalidInput(
            f"FARM_CA_FILE names {ca_file}, which holds no certificates: {error.strerror}."
        ) from error


def _connected(link: HTTPConnection, allows: Allows, met: Callable[[str], None]) -> socket.socket:
    """A connection to the first allowed address that answers. Certificates are checked by the name."""
    allowed = [address for address in _addresses(link) if allows(address)]
    if not allowed:
        raise LinkRefused(
            f"The farm keeps its files at {link.host}, which is at an address inside a network that the farm "
            "itself is not in. If that is right, name it: --objects URL, or FARM_OBJECTS."
        )
    for address in allowed[:-1]:
        try:
            made = _connect(link, address)
        except urllib3.exceptions.HTTPError:
            continue
        met(address)
        return made
    made = _connect(link, allowed[-1])
    met(allowed[-1])
    return made


def _connect(link: HTTPConnection, address: str) -> socket.socket:
    more: Any = {"source_address": link.source_address, "socket_options": link.socket_options}
    try:
        return create_connection((address, link.port or 80), link.timeout, **more)
    except TimeoutError as error:
        raise ConnectTimeoutError(link, f"Connection to {link.host} timed out.") from error
    except OSError as error:
        raise NewConnectionError(link, f"Failed to establish a new connection: {error}") from error


def _addresses(link: HTTPConnection) -> list[str]:
    """What the host's name gives, each once, with the zone of a link-local one."""
    try:
        found = socket.getaddrinfo(link.host.strip("[]"), link.port, allowed_gai_family(), socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(link.host, link, error) from error
    except UnicodeError as error:
        raise NewConnectionError(link, f"'{link.host}' is no name of a host.") from error
    return list(dict.fromkeys(str(where[4][0]) for where in found))

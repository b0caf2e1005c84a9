# SPDX-License-Identifier: GPL-3.0-or-later
"""A farm's certificate, and whether it may be without one."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from farm_protocol.addresses import is_loopback_name
from farm_protocol.errors import InvalidInput

HANDSHAKE_SECONDS = 10.0
"""How long a connection may take until it is encrypted; until then it is counted nowhere."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: the certificate with those between it and its root, and its key."""

    cert: Path
    key: Path

    @property
    def words(self) -> tuple[str, str, str, str]:
        """As the coordinator is told it."""
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))

    def context(self) -> ssl.SSLContext:
        """What a server encrypts by. Raises InvalidInput for files that do not belong together."""
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            # Nobody is there to be asked for the password of a key.
            made.load_cert_chain(self.cert, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or error
            raise InvalidInput(
                f"--tls-cert {self.cert} and --tls-key {self.key} cannot be used: {reason}. They must be a "
                "certificate and its key without a password, in PEM."
            ) from error
        return made


def certificate(cert: str, key: str) -> Certificate | None:
    """The certificate that two options name, or None where neither does. Raises InvalidInput."""
    if not cert and not key:
        return None
    if not cert or not key:
        raise InvalidInput("A certificate needs its key: give both --tls-cert FILE and --tls-key FILE.")
    found = Certificate(Path(cert).expanduser().absolute(), Path(key).expanduser().absolute())
    found.context()
    return found


def require_cover(host: str, found: Certificate | None, insecure: bool) -> None:
    """Raises InvalidInput for a farm that other machines would talk to in clear."""
    if not is_loopback_name(host or "127.0.0.1") and found is None and not insecure:
        raise InvalidInput(
            f"--bind {host} would let other machines talk to this farm in clear: tokens, scenes and links "
            "could be read and changed on the way. Give it a certificate with --tls-cert FILE --tls-key "
            "FILE, or put a reverse proxy before it (docs/tls.md), or say --insecure (FARM_INSECURE=1) where "
            "the network itself is private, as a VPN is."
        )

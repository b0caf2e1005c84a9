# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may speak to the inner parts of the embedded object store: only whoever holds the key made here.

SeaweedFS is several servers in one process, which ask each other nothing by themselves: whoever reaches
their ports, another user of the machine or a page in a browser, reads and deletes everything. With the file
written here each of them takes only connections (gRPC and HTTP over TLS) that prove to hold the key.
"""

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from farm_protocol.files import write_private
from render_farm.embedded.files import private_folder

CERTIFICATE, KEY, SETTINGS = "certificate.pem", "key.pem", "security.toml"

_ALWAYS = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280's 'no well-defined expiration': a new key is made at every start, and a clock may be wrong."""

_GRPC = ("volume", "master", "filer", "s3", "admin", "worker", "client", "msg_broker", "msg_agent", "mq")
_HTTP = ("volume", "master", "filer", "admin")


def write_security(folder: Path) -> Path:
    """Make a new key and SeaweedFS's `security.toml` in `folder`, for this user only. Returns the folder.

    Raises OSError, or FarmError where the folder is not this user's.
    """
    private_folder(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(folder / CERTIFICATE, certificate)
    write_private(folder / KEY, secret)
    write_private(folder / SETTINGS, _settings(folder).encode())
    return folder


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """One certificate that is its own authority: nothing else is ever signed with the key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "render farm's embedded object store")])
    here = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    )
    begin, end = _ALWAYS
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )


def _settings(folder: Path) -> str:
    """SeaweedFS's settings: every inner server and client shows the certificate and asks for it."""
    certificate, key = (_quoted(folder / name) for name in (CERTIFICATE, KEY))
    pair = f"cert = {certificate}\nkey = {key}\n"
    whole = f"{pair}ca = {certificate}\n"
    sections = [("grpc", f"ca = {certificate}\n"), *((f"grpc.{part}", pair) for part in _GRPC)]
    sections += [("https.client", f"enabled = true\n{whole}"), *((f"https.{part}", whole) for part in _HTTP)]
    return "\n".join(f"[{name}]\n{lines}" for name, lines in sections)


def _quoted(path: Path) -> str:
    """A path as a basic string of TOML."""
    escaped = (
        f"\\u{ord(letter):04x}" if letter in '"\\' or not letter.isprintable() else letter
        for letter in str(path)
    )
    return f'"{"".join(escaped)}"'

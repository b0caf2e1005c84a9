# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of address somebody is at, and whether the way there leaves the machine in clear."""

import ipaddress
from enum import StrEnum

import psutil
import urllib3

from farm_protocol.errors import InvalidInput

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    {
        "169.254.169.254",  # AWS, Google, Azure and others
        "169.254.170.2",  # AWS's containers
        "169.254.170.23",  # AWS's pods
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google by IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
    }
)
"""Where clouds tell a machine its own secrets."""
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_WRAPPING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::ffff:0:0:0/96"))
"""NAT64 (RFC 6052) and translated addresses (RFC 2765), whose last four bytes are an IPv4 address."""
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
"""RFC 8215: what is inside, and where, is the network's own affair."""
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""RFC 5214: an interface's bytes before an IPv4 address."""


class Kind(StrEnum):
    """Who can be at an address. SHARED: a carrier's or an overlay network's (RFC 6598). NOBODY: multicast,
    unspecified, reserved, and the clouds' metadata services, where no farm is.
    """

    PUBLIC = "public"
    PRIVATE = "private"
    SHARED = "shared"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    NOBODY = "nobody"


def kind_of(address: str) -> Kind:
    """The kind of a numeric address, of that which is inside where IPv6 wraps IPv4."""
    try:
        ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return Kind.NOBODY
    if str(ip) in _METADATA or ip.is_multicast or ip.is_unspecified:
        return Kind.NOBODY
    kinds = {
        Kind.LOOPBACK: ip.is_loopback,
        Kind.LINK_LOCAL: ip.is_link_local,
        Kind.SHARED: ip.version == 4 and ip in _SHARED,
        Kind.PRIVATE: ip.version == 6 and ip in _LOCAL_NAT64,
        Kind.PUBLIC: ip.is_global and not getattr(ip, "is_site_local", False),
        Kind.NOBODY: ip.is_reserved or (ip.version == 4 and ip in _THIS_NETWORK),
    }
    return next((kind for kind, fits in kinds.items() if fits), Kind.PRIVATE)


def _unwrapped(ip: Ip) -> Ip:
    """The IPv4 address that an IPv6 one stands for: mapped, compatible, translated, 6to4, Teredo, ISATAP or
    NAT64.
    """
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    wraps = any(ip in network for network in _WRAPPING) or int(ip) >> 32 & 0xFFFFFFFF in _ISATAP
    if wraps or 1 < int(ip) < 1 << 32:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip


def is_this_machine(address: str) -> bool:
    """Whether a numeric address is one of this machine's own."""
    known = (one.address for ones in psutil.net_if_addrs().values() for one in ones)
    return address.partition("%")[0] in {one.partition("%")[0] for one in known}


def is_loopback_name(host: str) -> bool:
    """Whether a URL's host says by itself that it is this machine: no name is looked up."""
    host = host.strip("[]").lower()
    return host == "localhost" or kind_of(host) is Kind.LOOPBACK


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, in one form. Raises InvalidInput for what is no plain http(s) URL."""
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        parts = urllib3.util.Url()
    scheme, host = (parts.scheme or "").lower(), (parts.host or "").lower().rstrip(".")
    if (
        scheme not in ("http", "https")
        or not host
        or parts.auth
        or not url.isprintable()
        or {" ", "\\"} & {*url}
    ):
        raise InvalidInput(f"'{url[:200]}' is not an http:// or https:// address.")
    return f"{scheme}://{host}:{parts.port or (443 if scheme == 'https' else 80)}"


def checked_url(url: str) -> str:
    """`url`, if it names a host over http or https. Raises InvalidInput."""
    origin_of(url)
    return url


def is_clear(url: str) -> bool:
    """Whether what is said to `url` leaves this machine unencrypted."""
    parts = urllib3.util.parse_url(url)
    return parts.scheme == "http" and not is_loopback_name(parts.host or "")


def require_encrypted(url: str, whose: str, insecure: bool) -> None:
    """Raises InvalidInput for plain http beyond this machine. `whose` begins the sentence."""
    if is_clear(url) and not insecure:
        raise InvalidInput(
            f"{whose} {origin_of(url)} is plain http: everybody on the way could read and change tokens and "
            "scenes. Use its https:// address (docs/tls.md shows how a farm gets one), or say --insecure "
            "(FARM_INSECURE=1) where the network itself is private, as a VPN is."
        )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Where links may lead that a farm names: to the object store it named when one joined, and nowhere else.

A farm's word is not enough for a machine to ask inside its own network. So links lead to named origins only,
at addresses of a kind the farm itself is at, with headers out of a list.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from farm_protocol.addresses import Kind, is_loopback_name, is_this_machine, kind_of, origin_of
from farm_protocol.errors import FarmError, InvalidInput

MOST_ORIGINS = 8
LARGEST_OBJECT = 5 * 1000**3
"""Bytes. What S3 takes in a single PUT, so that no object of a farm is larger."""

_HEADERS = re.compile(
    r"content-length|content-type|content-md5|if-none-match|x-amz-checksum-[a-z0-9]{1,16}"
    r"|x-amz-content-sha256|x-amz-sdk-checksum-algorithm"
)
_VALUE = re.compile(r"[\x20-\x7e]{0,256}")


class LinkRefused(FarmError):
    """A link leads where none of this farm may."""

    code = "link_refused"
    status = 403


@dataclass(frozen=True, slots=True)
class Links:
    """`origins` (scheme://host:port) that links may lead to, beside public addresses at those of the kinds
    in `near`. Empty origins: any of the machine's own loopback, and nothing else. `ca_file` has the
    certificates that https is checked by ('': the system's).
    """

    origins: tuple[str, ...] = ()
    near: frozenset[Kind] = frozenset({Kind.LOOPBACK})
    ca_file: str = ""

    def checked(self, url: str) -> str:
        """The link, where it may be followed. Raises LinkRefused, and InvalidInput for what is no link."""
        origin = origin_of(url)
        if origin not in self.origins and (self.origins or not is_loopback_name(host_of(origin))):
            raise LinkRefused(
                f"The farm named a link to {origin}, which is not its object store "
                f"({' '.join(self.origins)}): it is not followed."
            )
        return url

    def allows(self, address: str) -> bool:
        """Whether a numeric address may be connected to."""
        kind = kind_of(address)
        if kind is Kind.NOBODY:
            return False
        if not self.origins:
            return kind is Kind.LOOPBACK
        here = Kind.LOOPBACK in self.near and is_this_machine(address)
        return kind is Kind.PUBLIC or kind in self.near or here


def links(named: tuple[str, ...], url: str, peer: str, ca_file: str = "") -> Links:
    """Where links of the farm at `url`, which answered from the address `peer`, may lead: to the origins it
    `named`, or to itself where it named none. Raises InvalidInput for names that are no addresses.
    """
    if len(named) > MOST_ORIGINS:
        raise InvalidInput(f"The farm names more than {MOST_ORIGINS} object stores.")
    origins = tuple(dict.fromkeys(origin_of(one) for one in named or (url,)))
    return Links(origins, frozenset({kind_of(peer)}) - {Kind.NOBODY}, ca_file)


def trusted_links(named: tuple[str, ...], ca_file: str = "") -> Links:
    """Links to origins that the machine's own user named: at whatever kind of address they are."""
    return Links(tuple(map(origin_of, named)), frozenset(Kind) - {Kind.NOBODY}, ca_file)


def host_of(origin: str) -> str:
    """An origin's host, without the brackets of IPv6."""
    return origin.partition("://")[2].rpartition(":")[0].strip("[]")


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a signed link, where all are of the kind that S3 signs. Raises LinkRefused."""
    for name, value in headers.items():
        if not _HEADERS.fullmatch(name.lower()) or not _VALUE.fullmatch(value):
            raise LinkRefused("The farm named a header that no upload needs.")
    return dict(headers)

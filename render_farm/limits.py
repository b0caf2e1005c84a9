# SPDX-License-Identifier: GPL-3.0-or-later
"""What one caller may take of the coordinator, and how long things are kept: options and their bounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from farm_protocol.errors import InvalidInput
from render_farm.doors import Limits as Connections

GIGABYTE, MEGABYTE = 1000**3, 1000**2
DAY = 86_400.0

FLAGS = {
    "max-connections": ("4096", "open connections in all, as far as this process may have files open"),
    "max-connections-per-address": ("512", "open connections of one address"),
    "head-seconds": ("10", "seconds that a request's headers may take to arrive"),
    "trusted-proxy": ("", "addresses of reverse proxies, comma between: their X-Forwarded-For is believed"),
    "quota-jobs": ("200", "unfinished jobs of an owner"),
    "quota-tasks": ("200000", "tasks of an owner's unfinished jobs"),
    "quota-gigabytes": ("500", "gigabytes of scenes that an owner has stored, or asked links for"),
    "quota-records": ("500", "megabytes of an owner's ended jobs in the store, beyond which the oldest go"),
    "quota-nodes": ("500", "nodes of an owner"),
    "quota-streams": ("20", "event streams of an owner at a time; the operator may have ten times as many"),
    "retention-days": ("30", "days after which ended jobs and unused scenes are deleted; 0 keeps them"),
}
"""Options of the coordinator with their defaults and meanings. The operator has no quotas."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one owner may have. `bytes` of scenes; `tasks` of unfinished jobs; `records`: bytes of ended jobs
    in the store, and half as many of the lists of scenes' files.
    """

    jobs: int = 200
    tasks: int = 200_000
    bytes: int = 500 * GIGABYTE
    nodes: int = 500
    records: int = 500 * MEGABYTE
    streams: int = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """All of it. `retention` in seconds, 0 for ever."""

    connections: Connections = field(default_factory=Connections)
    quota: Quota = field(default_factory=Quota)
    retention: float = 30 * DAY


def read(chosen: Mapping[str, str]) -> Limits:
    """Of options by their names with underscores. Raises InvalidInput."""
    quota = Quota(
        jobs=_count(chosen, "quota-jobs", 1_000_000),
        tasks=_count(chosen, "quota-tasks", 100_000_000),
        bytes=_count(chosen, "quota-gigabytes", 1_000_000) * GIGABYTE,
        records=_count(chosen, "quota-records", 1_000_000) * MEGABYTE,
        nodes=_count(chosen, "quota-nodes", 1_000_000),
        streams=_count(chosen, "quota-streams", 1_000),
    )
    connections = Connections(
        most=_count(chosen, "max-connections", 65_536),
        per_address=_count(chosen, "max-connections-per-address", 65_536),
        head_seconds=_count(chosen, "head-seconds", 3600),
        trusted=_addresses(chosen["trusted_proxy"]),
    )
    return Limits(connections, quota, _days(chosen["retention_days"]) * DAY)


def _count(chosen: Mapping[str, str], flag: str, most: int) -> int:
    text = chosen[flag.replace("-", "_")]
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise InvalidInput(f"--{flag} is '{text[:40]}', but must be a whole number from 1 to {most}.")
    return int(text)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= 36_500:
        raise InvalidInput(f"--retention-days is '{text[:40]}', but must be a number from 0 to 36500.")
    return days


def _addresses(text: str) -> frozenset[str]:
    named = [one.strip() for one in text.split(",") if one.strip()]
    try:
        return frozenset(str(ip_address(one)) for one in named)
    except ValueError as error:
        raise InvalidInput("--trusted-proxy takes IP addresses, comma between, as in 127.0.0.1.") from error

# SPDX-License-Identifier: GPL-3.0-or-later
"""What one caller may take of the coordinator, and how long things are kept: options and their bounds."""

from dataclasses import dataclass, field
from ipaddress import ip_address

from command_line.option_types import Number, Whole
from command_line.program import own_option, together
from farm_protocol.errors import InvalidInput
from render_farm.serving.connection_limits import Limits as Connections

GIGABYTE, MEGABYTE = 1000**3, 1000**2
DAY = 86_400.0


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


def _limits(
    *,
    max_connections: int,
    max_connections_per_address: int,
    head_seconds: int,
    trusted_proxy: str,
    quota_jobs: int,
    quota_tasks: int,
    quota_gigabytes: int,
    quota_records: int,
    quota_nodes: int,
    quota_streams: int,
    retention_days: float,
) -> Limits:
    connections = Connections(
        most=max_connections,
        per_address=max_connections_per_address,
        head_seconds=head_seconds,
        trusted=_addresses(trusted_proxy),
    )
    quota = Quota(
        jobs=quota_jobs,
        tasks=quota_tasks,
        bytes=quota_gigabytes * GIGABYTE,
        nodes=quota_nodes,
        records=quota_records * MEGABYTE,
        streams=quota_streams,
    )
    return Limits(connections, quota, retention_days * DAY)


def _addresses(text: str) -> frozenset[str]:
    named = [one.strip() for one in text.split(",") if one.strip()]
    try:
        return frozenset(str(ip_address(one)) for one in named)
    except ValueError as error:
        raise InvalidInput("--trusted-proxy takes IP addresses, comma between, as in 127.0.0.1.") from error


_KEPT = "what callers may take, and how long things are kept; the operator has no quotas"
_COUNTS = (
    ("max-connections", 4096, 65_536, "open connections in all, as far as this process may have files open"),
    ("max-connections-per-address", 512, 65_536, "open connections of one address"),
    ("head-seconds", 10, 3600, "seconds that a request's headers may take to arrive"),
    ("quota-jobs", 200, 1_000_000, "unfinished jobs of an owner"),
    ("quota-tasks", 200_000, 100_000_000, "tasks of an owner's unfinished jobs"),
    ("quota-gigabytes", 500, 1_000_000, "gigabytes of scenes that an owner has stored, or asked links for"),
    ("quota-records", 500, 1_000_000, "megabytes of an owner's ended jobs in the store; then the oldest go"),
    ("quota-nodes", 500, 1_000_000, "nodes of an owner"),
    (
        "quota-streams",
        20,
        1_000,
        "event streams of an owner at a time; ten times as many of the operator",
    ),
)
"""Options with their defaults, the most they may be, and meanings."""

limits_options = together(
    "limits",
    _limits,
    *(
        own_option(name, type=Whole(1, most), default=usual, section=_KEPT, help=f"{told} ({{default}})")
        for name, usual, most, told in _COUNTS
    ),
    own_option(
        "trusted-proxy",
        default="",
        section=_KEPT,
        help="addresses of reverse proxies, comma between: their X-Forwarded-For is believed",
    ),
    own_option(
        "retention-days",
        type=Number(0, 36_500),
        default=30.0,
        section=_KEPT,
        help="days after which ended jobs and unused scenes are deleted; 0 keeps them ({default})",
    ),
)
"""What the coordinator takes of all this."""

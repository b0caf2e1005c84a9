# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's settings: options first, then FARM_* variables, then defaults.

Secrets come from the environment or from files only, so that they show in no list of processes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from command_line import shared_options as shared
from command_line.option_types import FILE, Number, Url, Whole
from command_line.program import Command, answer, own_option, together, variable, version_option
from farm_protocol.addresses import require_encrypted
from farm_protocol.audits import MOST_CROPS
from farm_protocol.errors import InvalidInput
from farm_protocol.typed_data import read_key
from payments.messages import network
from payments.messages.network import Network
from payments.messages.statements import NOBODY
from render_farm.coordinator.limits import Limits, limits_options
from render_farm.coordinator.object_store import Place
from render_farm.policy import verification_rules as rules
from render_farm.policy.verification_rules import Arbiters, Rules
from render_farm.serving.tls import Certificate, certificate, require_cover
from verification.audit.rate import Rates
from verification.audit.sampling import MILLION, AuditPolicy
from verification.protocol.beacon import LOCAL

PROGRAM = "python -m render_farm.coordinator"
MOST_ARBITERS = 16
UNIT_PRICE = 10**16
"""A hundredth of a token that has 18 decimals, in its smallest unit."""

_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the coordinator is told when it starts."""

    bind: str
    port: int
    public_url: str
    redis_url: str
    objects: Place
    lease_seconds: float
    admin_token: str
    rules: Rules = field(repr=False)
    network: Network | None = None
    arbiters: Arbiters | None = None
    unit_price: int = UNIT_PRICE
    handed_over: Path | None = None
    certificate: Certificate | None = None
    local_port: int | None = None
    limits: Limits = field(default_factory=Limits)


def read(arguments: Sequence[str]) -> Config:
    """Merge options and environment. Raises InvalidInput for what cannot be used."""
    found: Config = answer(_configured, arguments, PROGRAM)
    return found


# --- the object store -----------------------------------------------------------------------------


def _place(
    *, s3_endpoint: str, s3_public_endpoint: str, s3_bucket: str, s3_region: str, key: str, secret: str
) -> Place:
    return Place(
        endpoint=s3_endpoint,
        public=s3_public_endpoint or s3_endpoint,
        bucket=s3_bucket,
        region=s3_region,
        key=_needed("AWS_ACCESS_KEY_ID", key),
        secret=_needed("AWS_SECRET_ACCESS_KEY", secret),
    )


_place_options = together(
    "objects",
    _place,
    shared.s3_endpoint(
        default="http://127.0.0.1:8333", help="the object store as the coordinator reaches it"
    ),
    shared.s3_public_endpoint(),
    own_option("s3-bucket", default="farm", help="bucket for scenes and results; made when missing"),
    own_option("s3-region", default="us-east-1", help="region the bucket is in"),
    variable("key", "AWS_ACCESS_KEY_ID"),
    variable("secret", "AWS_SECRET_ACCESS_KEY"),
)


# --- audits ---------------------------------------------------------------------------------------


def _rules(
    *,
    signing_key: str,
    beacon: str,
    beacon_period: float,
    audit_floor: str | None,
    audit_own: str | None,
    audit_own_first: str | None,
    audit_repeat: str | None,
    audit_halving: int,
    audit_crops: int,
    audit_suspects: int,
    audit_sparse_samples: int,
) -> Rules:
    key = read_key(_needed("FARM_SIGNING_KEY", signing_key), "FARM_SIGNING_KEY")
    rates = replace(Rates(), halving=audit_halving, **_shares(floor=audit_floor, own=audit_own))
    policy = replace(
        AuditPolicy(),
        crops=audit_crops,
        suspects=audit_suspects,
        sparse_samples=audit_sparse_samples,
        **_shares(own_first=audit_own_first, repeat=audit_repeat),
    )
    if beacon == LOCAL:
        return rules.local(key, beacon_period, policy, rates)
    return rules.drand(key, beacon.split(","), policy, rates)


def _shares(**given: str | None) -> dict[str, int]:
    """Those that were given, as chances in a million."""
    return {name: round(float(text) * MILLION) for name, text in given.items() if text is not None}


class _Beacon(Url):
    """`local`, or URLs with a comma between."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        for one in () if value == LOCAL else str(value).split(","):
            super().convert(one or "nothing", param, ctx)
        return str(value)


_AUDITS = "how work is verified (docs/verification.md)"
_COUNTS = (
    ("halving", 1, 1_000_000, Rates().halving, "passed audits after which a node is audited half as often"),
    ("crops", 1, MOST_CROPS, AuditPolicy().crops, "crops of an audit drawn at random"),
    ("suspects", 0, MOST_CROPS, AuditPolicy().suspects, "crops of an audit where its sparse pass fits least"),
    ("sparse-samples", 1, 1024, AuditPolicy().sparse_samples, "samples of an audit's sparse pass"),
)
_rules_options = together(
    "rules",
    _rules,
    variable("signing_key", "FARM_SIGNING_KEY"),
    shared.beacon(section=_AUDITS, type=_Beacon("http", "https"), default=LOCAL),
    own_option(
        "beacon-period",
        type=Number(0.01, 3600),
        default=0.5,
        section=_AUDITS,
        help="seconds between two rounds of a local beacon",
    ),
    *shared.shares(_AUDITS),
    *(
        own_option(f"audit-{name}", type=Whole(least, most), default=usual, section=_AUDITS, help=told)
        for name, least, most, usual, told in _COUNTS
    ),
)


# --- money ----------------------------------------------------------------------------------------


def _arbiters(*, arbiters: str, arbiter_threshold: int) -> Arbiters | None:
    """The arbiters named, or None for the farm itself."""
    named = tuple(name.strip() for name in arbiters.split(",") if name.strip())
    if len(named) > MOST_ARBITERS or len({name.lower() for name in named}) != len(named):
        raise InvalidInput(f"--arbiters takes at most {MOST_ARBITERS} addresses, each once.")
    for name in named:
        if not _ADDRESS.fullmatch(name) or name == NOBODY:
            raise InvalidInput(f"--arbiters names '{name}', which is no address.")
    if arbiter_threshold > max(1, len(named)):
        raise InvalidInput(
            f"--arbiter-threshold is {arbiter_threshold}, which is more than there are arbiters."
        )
    return Arbiters(named, arbiter_threshold) if named else None


_arbiters_options = together(
    "arbiters",
    _arbiters,
    own_option(
        "arbiters",
        default="",
        help="addresses that decide about stake, comma between; by default the farm's own",
    ),
    own_option(
        "arbiter-threshold",
        type=Whole(1, MOST_ARBITERS),
        default=1,
        help="how many of the arbiters must agree",
    ),
)


# --- all of it ------------------------------------------------------------------------------------


@click.command(PROGRAM, cls=Command, help="the coordinator")
@version_option
@shared.bind(default="127.0.0.1", help="address to listen on")
@own_option("port", type=Whole(0, 65_535), default=8700, help="port to listen on; 0 picks a free one")
@shared.public_url()
@together("encrypted", certificate, shared.tls_cert(), shared.tls_key())
@own_option(
    "local-port",
    type=Whole(1, 65_535),
    help="with a certificate: also listen on this port of 127.0.0.1, without",
)
@shared.insecure()
@shared.redis_url(default="redis://127.0.0.1:6379/0", help="the store: redis://, rediss:// or unix://")
@_place_options
@own_option(
    "lease-seconds", type=Number(0.2, 3600), default=30.0, help="how long a lease lasts without a heartbeat"
)
@shared.chain(help="the chain's TOML file: with it the farm takes paid jobs")
@_arbiters_options
@shared.unit_price(default=UNIT_PRICE)
@own_option(
    "handed-over", type=FILE, help="the folder where commands on this machine leave scenes for its own node"
)
@own_option("admin-token-file", default="", help="file that holds the operator's token (or FARM_ADMIN_TOKEN)")
@variable("admin_token", "FARM_ADMIN_TOKEN")
@_rules_options
@limits_options
def _configured(
    bind: str,
    port: int,
    public_url: str,
    encrypted: Certificate | None,
    insecure: bool,
    objects: Place,
    chain: Path | None,
    admin_token_file: str,
    admin_token: str,
    **rest: Any,
) -> Config:
    require_cover(bind, encrypted, insecure)
    if objects.public != objects.endpoint:
        require_encrypted(objects.public, "--s3-public-endpoint", insecure)
    return Config(
        bind=bind,
        port=port,
        public_url=public_url.rstrip("/"),
        objects=objects,
        certificate=encrypted,
        network=network.load(chain) if chain else None,
        admin_token=_admin_token(admin_token_file, admin_token),
        **rest,
    )


def _admin_token(file: str, token: str) -> str:
    if not file:
        return _needed("FARM_ADMIN_TOKEN", token)
    try:
        found = Path(file).read_text().strip()
    except OSError as error:
        raise InvalidInput(f"The admin token cannot be read from {file}: {error.strerror}.") from error
    if not found:
        raise InvalidInput(f"The file {file} holds no admin token.")
    return found


def _needed(name: str, value: str) -> str:
    if not value:
        raise InvalidInput(f"The coordinator needs {name} in its environment.")
    return value

# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's settings: flags first, then FARM_* variables, then defaults.

Secrets come from the environment or from files only, so that they show in no list of processes.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from farm_protocol.addresses import require_encrypted
from farm_protocol.audits import MOST_CROPS
from farm_protocol.errors import InvalidInput
from farm_protocol.typed_data import address_of
from payments import network
from payments.network import Network
from payments.statements import NOBODY
from render_farm import limits, rules
from render_farm.limits import Limits
from render_farm.objects import Place
from render_farm.rules import Arbiters, Rules
from render_farm.tls import Certificate, certificate, require_cover
from verification.beacon import LOCAL
from verification.rate import Rates
from verification.sampling import MILLION, AuditPolicy

MOST_ARBITERS = 16
UNIT_PRICE = 10**16
"""A hundredth of a token that has 18 decimals, in its smallest unit."""

MOST_PRICE = 1 << 96
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")
_FLAGS = {
    "beacon": ("local", "where chance comes from: local, or addresses of drand servers, comma between"),
    "beacon-period": ("0.5", "seconds between two rounds of a local beacon"),
    "audit-floor": ("", "least share of a proven node's tiles that is audited, 0 to 1"),
    "audit-own": ("", "share of the own nodes' tiles that is audited, 0 to 1"),
    "audit-own-first": ("", "share of the audits that an own node does, and no stranger, 0 to 1"),
    "audit-repeat": ("", "share of the audits that an own node repeats, 0 to 1"),
    "audit-halving": ("", "passed audits after which a node is audited half as often"),
    "audit-crops": ("", "crops of an audit drawn at random"),
    "audit-suspects": ("", "crops of an audit where its sparse pass fits least"),
    "audit-sparse-samples": ("", "samples of an audit's sparse pass"),
    "bind": ("127.0.0.1", "address to listen on"),
    "tls-cert": ("", "the certificate to listen with, in PEM, with those between it and its root"),
    "tls-key": ("", "its key, in PEM, without a password"),
    "local-port": ("", "with a certificate: also listen on this port of 127.0.0.1, without"),
    "port": ("8700", "port to listen on; 0 picks a free one"),
    "public-url": ("", "the address by which clients and nodes reach this coordinator"),
    "redis-url": ("redis://127.0.0.1:6379/0", "the store: redis://, rediss:// or unix://"),
    "s3-endpoint": ("http://127.0.0.1:8333", "the object store as the coordinator reaches it"),
    "s3-public-endpoint": ("", "the object store as clients and nodes reach it, if that is another"),
    "s3-bucket": ("farm", "bucket for scenes and results; made when missing"),
    "s3-region": ("us-east-1", "region the bucket is in"),
    "lease-seconds": ("30", "how long a lease lasts without a heartbeat"),
    "chain": ("", "the chain's TOML file: with it the farm takes paid jobs"),
    "arbiters": ("", "addresses that decide about stake, comma between; by default the farm's own"),
    "arbiter-threshold": ("1", "how many of the arbiters must agree"),
    "unit-price": (str(UNIT_PRICE), "what quotes say a render unit costs where no node sells"),
    "handed-over": ("", "the folder where commands on this machine leave scenes for its own node"),
    "admin-token-file": ("", "file that holds the operator's token (or FARM_ADMIN_TOKEN)"),
    **limits.FLAGS,
}


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


def read(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Config:
    """Merge flags and environment. Raises InvalidInput for what cannot be used."""
    known = os.environ if environment is None else environment
    chosen = vars(_parser(known).parse_args(list(arguments)))
    local = chosen["local_port"]
    return Config(
        bind=chosen["bind"],
        port=int(_number(chosen["port"], "port", 0, 65_535)),
        public_url=chosen["public_url"].rstrip("/"),
        redis_url=_url(chosen["redis_url"], "redis-url", ("redis", "rediss", "unix")),
        objects=_place(chosen, known),
        lease_seconds=_number(chosen["lease_seconds"], "lease-seconds", 0.2, 3600),
        admin_token=_admin_token(chosen["admin_token_file"], known),
        rules=_rules(chosen, _signing_key(known)),
        network=network.load(Path(chosen["chain"])) if chosen["chain"] else None,
        arbiters=_arbiters(chosen),
        unit_price=_price(chosen["unit_price"]),
        handed_over=Path(chosen["handed_over"]) if chosen["handed_over"] else None,
        certificate=_certificate(chosen),
        local_port=int(_number(local, "local-port", 1, 65_535)) if local else None,
        limits=limits.read(chosen),
    )


def _certificate(chosen: dict[str, Any]) -> Certificate | None:
    found = certificate(chosen["tls_cert"], chosen["tls_key"])
    require_cover(chosen["bind"], found, chosen["insecure"])
    if chosen["s3_public_endpoint"]:
        require_encrypted(chosen["s3_public_endpoint"], "--s3-public-endpoint", chosen["insecure"])
    return found


def _parser(known: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m render_farm.serve", description="The coordinator.")
    for name, (default, meaning) in _FLAGS.items():
        variable = "FARM_" + name.upper().replace("-", "_")
        parser.add_argument(
            f"--{name}", default=known.get(variable) or default, help=f"{meaning} [{variable}]"
        )
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=known.get("FARM_INSECURE", "") not in ("", "0"),
        help="plain http beyond this machine, in a network that is private itself [FARM_INSECURE=1]",
    )
    return parser


def _place(chosen: dict[str, str], known: Mapping[str, str]) -> Place:
    endpoint = _url(chosen["s3_endpoint"], "s3-endpoint", ("http", "https"))
    public = chosen["s3_public_endpoint"]
    return Place(
        endpoint=endpoint,
        public=_url(public, "s3-public-endpoint", ("http", "https")) if public else endpoint,
        bucket=chosen["s3_bucket"],
        region=chosen["s3_region"],
        key=_secret(known, "AWS_ACCESS_KEY_ID"),
        secret=_secret(known, "AWS_SECRET_ACCESS_KEY"),
    )


def _admin_token(file: str, known: Mapping[str, str]) -> str:
    if not file:
        return _secret(known, "FARM_ADMIN_TOKEN")
    try:
        token = Path(file).read_text().strip()
    except OSError as error:
        raise InvalidInput(f"The admin token cannot be read from {file}: {error.strerror}.") from error
    if not token:
        raise InvalidInput(f"The file {file} holds no admin token.")
    return token


def _signing_key(known: Mapping[str, str]) -> bytes:
    text = _secret(known, "FARM_SIGNING_KEY").strip().removeprefix("0x")
    try:
        key = bytes.fromhex(text)
        if len(key) != 32:
            raise ValueError("a key has 32 bytes")
        address_of(key)
    except Exception as error:  # the library has many names for numbers that are no key
        # Neither the key nor the library's words about it belong into a log.
        raise InvalidInput("FARM_SIGNING_KEY is no private key: it must be 64 hexadecimal digits.") from error
    return key


def _rules(chosen: dict[str, str], key: bytes) -> Rules:
    rates, policy = Rates(), AuditPolicy()
    rates = replace(
        rates,
        floor=_share(chosen, "audit-floor", rates.floor),
        own=_share(chosen, "audit-own", rates.own),
        halving=_count(chosen, "audit-halving", rates.halving, 1, 1_000_000),
    )
    policy = replace(
        policy,
        own_first=_share(chosen, "audit-own-first", policy.own_first),
        repeat=_share(chosen, "audit-repeat", policy.repeat),
        crops=_count(chosen, "audit-crops", policy.crops, 1, MOST_CROPS),
        suspects=_count(chosen, "audit-suspects", policy.suspects, 0, MOST_CROPS),
        sparse_samples=_count(chosen, "audit-sparse-samples", policy.sparse_samples, 1, 1024),
    )
    if chosen["beacon"] != LOCAL:
        urls = [_url(url, "beacon", ("http", "https")) for url in chosen["beacon"].split(",")]
        return rules.drand(key, urls, policy, rates)
    period = _number(chosen["beacon_period"], "beacon-period", 0.01, 3600)
    return rules.local(key, period, policy, rates)


def _arbiters(chosen: dict[str, str]) -> Arbiters | None:
    """The arbiters named, or None for the farm itself."""
    named = tuple(name.strip() for name in chosen["arbiters"].split(",") if name.strip())
    threshold = _count(chosen, "arbiter-threshold", 1, 1, max(1, len(named)))
    if len(named) > MOST_ARBITERS or len({name.lower() for name in named}) != len(named):
        raise InvalidInput(f"--arbiters takes at most {MOST_ARBITERS} addresses, each once.")
    for name in named:
        if not _ADDRESS.fullmatch(name) or name == NOBODY:
            raise InvalidInput(f"--arbiters names '{name}', which is no address.")
    return Arbiters(named, threshold) if named else None


def _price(text: str) -> int:
    if not re.fullmatch("[0-9]{1,29}", text) or int(text) >= MOST_PRICE:
        raise InvalidInput(f"--unit-price is '{text[:40]}', but must be an amount in its smallest unit.")
    return int(text)


def _share(chosen: dict[str, str], flag: str, otherwise: int) -> int:
    """A share from 0 to 1 as a chance in a million."""
    text = chosen[flag.replace("-", "_")]
    return round(_number(text, flag, 0, 1) * MILLION) if text else otherwise


def _count(chosen: dict[str, str], flag: str, otherwise: int, least: int, most: int) -> int:
    text = chosen[flag.replace("-", "_")]
    return int(_number(text, flag, least, most)) if text else otherwise


def _secret(known: Mapping[str, str], name: str) -> str:
    if not known.get(name):
        raise InvalidInput(f"The coordinator needs {name} in its environment.")
    return known[name]


def _url(text: str, flag: str, schemes: tuple[str, ...]) -> str:
    if urlsplit(text).scheme not in schemes:
        raise InvalidInput(
            f"--{flag} is '{text}', but must start with {' or '.join(f'{s}://' for s in schemes)}"
        )
    return text


def _number(text: str, flag: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise InvalidInput(f"--{flag} is '{text}', but must be a number from {least:g} to {most:g}.")
    return value

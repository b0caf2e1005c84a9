# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several programs take: their names, variables and types, once. What they are for there is said
by whoever takes them.
"""

from functools import partial
from typing import Any

from frame_splitter.command_line import Decorator, option, variable
from frame_splitter.option_types import FILE, Share, Url, Whole

MOST_PRICE = (1 << 96) - 1

coordinator = partial(option, "--coordinator", metavar="URL", default="", envvar="FARM_COORDINATOR")
token_file = partial(option, "--token-file", metavar="FILE", default="")
objects = partial(
    option,
    "--objects",
    metavar="URL",
    multiple=True,
    envvar="FARM_OBJECTS",
    help="the farm's object store, where it is at a private address and the farm itself is not",
)
insecure = partial(
    option,
    "--insecure",
    is_flag=True,
    envvar="FARM_INSECURE",
    help="plain http beyond this machine, in a network that is private itself",
)
ca_file = variable("ca_file", "FARM_CA_FILE")

redis_url = partial(
    option, "--redis-url", metavar="URL", type=Url("redis", "rediss", "unix"), envvar="FARM_REDIS_URL"
)
s3_endpoint = partial(
    option, "--s3-endpoint", metavar="URL", type=Url("http", "https"), envvar="FARM_S3_ENDPOINT"
)
s3_public_endpoint = partial(
    option,
    "--s3-public-endpoint",
    metavar="URL",
    type=Url("http", "https"),
    default="",
    envvar="FARM_S3_PUBLIC_ENDPOINT",
    help="the object store as clients and nodes reach it, if that is another",
)
bind = partial(option, "--bind", metavar="HOST", envvar="FARM_BIND")
public_url = partial(
    option,
    "--public-url",
    metavar="URL",
    default="",
    envvar="FARM_PUBLIC_URL",
    help="the coordinator as clients and nodes reach it",
)
tls_cert = partial(
    option,
    "--tls-cert",
    metavar="FILE",
    default="",
    envvar="FARM_TLS_CERT",
    help="the certificate to listen with, in PEM, with those between it and its root (docs/tls.md)",
)
tls_key = partial(
    option,
    "--tls-key",
    metavar="FILE",
    default="",
    envvar="FARM_TLS_KEY",
    help="its key, in PEM, without a password",
)

chain = partial(option, "--chain", metavar="FILE", type=FILE, envvar="FARM_CHAIN")
chain_url = variable("chain_url", "FARM_CHAIN_URL")
wallet = partial(option, "--wallet", metavar="FILE", type=FILE, envvar="FARM_WALLET")
password_file = partial(
    option, "--password-file", metavar="FILE", type=FILE, envvar="FARM_WALLET_PASSWORD_FILE"
)
signer_url = variable("signer_url", "FARM_SIGNER_URL")

beacon = partial(
    option,
    "--beacon",
    metavar="URLS",
    envvar="FARM_BEACON",
    help="where chance comes from: servers of a public drand beacon, comma between, or local: the farm's own",
)
unit_price = partial(
    option,
    "--unit-price",
    metavar="N",
    type=Whole(0, MOST_PRICE),
    envvar="FARM_UNIT_PRICE",
    help="what quotes say a render unit costs where no node sells, in the token's smallest unit",
)


def shares(section: str) -> tuple[Decorator[Any], ...]:
    """The shares of work that is audited, and by whom; None where nothing is said."""
    return tuple(
        option(
            f"--audit-{name}",
            metavar="SHARE",
            type=Share(),
            envvar=f"FARM_AUDIT_{name.upper().replace('-', '_')}",
            section=section,
            help=f"{meaning}, 0 to 1",
        )
        for name, meaning in (
            ("floor", "least share of a proven node's tiles that is audited"),
            ("own", "share of the own nodes' tiles that is audited"),
            ("own-first", "share of the audits that an own node does, and no stranger"),
            ("repeat", "share of the audits that an own node repeats"),
        )
    )

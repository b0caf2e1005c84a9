# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several programs take: their names, variables and types, once. What they are for there is said
by whoever takes them.
"""

from functools import partial
from typing import Any

from command_line.option_types import FILE, Share, Url, Whole
from command_line.program import Decorator, option, own_option, variable

MOST_PRICE = (1 << 96) - 1

coordinator = partial(own_option, "coordinator", metavar="URL", default="")
token_file = partial(option, "--token-file", metavar="FILE", default="")
objects = partial(
    own_option,
    "objects",
    metavar="URL",
    multiple=True,
    help="the farm's object store, where it is at a private address and the farm itself is not",
)
insecure = partial(
    own_option,
    "insecure",
    is_flag=True,
    help="plain http beyond this machine, in a network that is private itself",
)
ca_file = variable("ca_file", "FARM_CA_FILE")

redis_url = partial(own_option, "redis-url", metavar="URL", type=Url("redis", "rediss", "unix"))
s3_endpoint = partial(own_option, "s3-endpoint", metavar="URL", type=Url("http", "https"))
s3_public_endpoint = partial(
    own_option,
    "s3-public-endpoint",
    metavar="URL",
    type=Url("http", "https"),
    default="",
    help="the object store as clients and nodes reach it, if that is another",
)
bind = partial(own_option, "bind", metavar="HOST")
public_url = partial(
    own_option, "public-url", metavar="URL", default="", help="the coordinator as clients and nodes reach it"
)
tls_cert = partial(
    own_option,
    "tls-cert",
    metavar="FILE",
    default="",
    help="the certificate to listen with, in PEM, with those between it and its root (docs/tls.md)",
)
tls_key = partial(
    own_option, "tls-key", metavar="FILE", default="", help="its key, in PEM, without a password"
)

chain = partial(own_option, "chain", metavar="FILE", type=FILE)
chain_url = variable("chain_url", "FARM_CHAIN_URL")
wallet = partial(own_option, "wallet", metavar="FILE", type=FILE)
password_file = partial(
    option, "--password-file", metavar="FILE", type=FILE, envvar="FARM_WALLET_PASSWORD_FILE"
)
signer_url = variable("signer_url", "FARM_SIGNER_URL")

beacon = partial(
    own_option,
    "beacon",
    metavar="URLS",
    help="where chance comes from: servers of a public drand beacon, comma between, or local: the farm's own",
)
unit_price = partial(
    own_option,
    "unit-price",
    metavar="N",
    type=Whole(0, MOST_PRICE),
    help="what quotes say a render unit costs where no node sells, in the token's smallest unit",
)


def shares(section: str) -> tuple[Decorator[Any], ...]:
    """The shares of work that is audited, and by whom; None where nothing is said."""
    return tuple(
        own_option(f"audit-{name}", metavar="SHARE", type=Share(), section=section, help=f"{meaning}, 0 to 1")
        for name, meaning in (
            ("floor", "least share of a proven node's tiles that is audited"),
            ("own", "share of the own nodes' tiles that is audited"),
            ("own-first", "share of the audits that an own node does, and no stranger"),
            ("repeat", "share of the audits that an own node repeats"),
        )
    )

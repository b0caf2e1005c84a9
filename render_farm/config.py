# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's settings: flags first, then FARM_* variables, then defaults.

Secrets come from the environment or from files only, so that they show in no list of processes.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from frame_splitter.errors import InvalidInput
from render_farm.objects import Place

_FLAGS = {
    "bind": ("127.0.0.1", "address to listen on"),
    "port": ("8700", "port to listen on; 0 picks a free one"),
    "public-url": ("", "the address by which clients and nodes reach this coordinator"),
    "redis-url": ("redis://127.0.0.1:6379/0", "the store: redis://, rediss:// or unix://"),
    "s3-endpoint": ("http://127.0.0.1:8333", "the object store as the coordinator reaches it"),
    "s3-public-endpoint": ("", "the object store as clients and nodes reach it, if that is another"),
    "s3-bucket": ("farm", "bucket for scenes and results; made when missing"),
    "s3-region": ("us-east-1", "region the bucket is in"),
    "lease-seconds": ("30", "how long a lease lasts without a heartbeat"),
    "admin-token-file": ("", "file that holds the operator's token (or FARM_ADMIN_TOKEN)"),
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


def read(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Config:
    """Merge flags and environment. Raises InvalidInput for what cannot be used."""
    known = os.environ if environment is None else environment
    chosen = vars(_parser(known).parse_args(list(arguments)))
    return Config(
        bind=chosen["bind"],
        port=int(_number(chosen["port"], "port", 0, 65_535)),
        public_url=chosen["public_url"].rstrip("/"),
        redis_url=_url(chosen["redis_url"], "redis-url", ("redis", "rediss", "unix")),
        objects=_place(chosen, known),
        lease_seconds=_number(chosen["lease_seconds"], "lease-seconds", 0.2, 3600),
        admin_token=_admin_token(chosen["admin_token_file"], known),
    )


def _parser(known: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m render_farm.serve", description="The coordinator.")
    for name, (default, meaning) in _FLAGS.items():
        variable = "FARM_" + name.upper().replace("-", "_")
        parser.add_argument(
            f"--{name}", default=known.get(variable) or default, help=f"{meaning} [{variable}]"
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's settings: options first, then the environment, then defaults that suit the machine."""

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from farm_protocol.addresses import checked_url
from farm_protocol.errors import InvalidInput
from farm_protocol.token_file import LONGEST, read_token
from gpu_worker.blender import CHILD_PROGRAM
from gpu_worker.devices import Choice
from payments.wallets import is_remote

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
RESERVED = 0.1
"""The part of the machine's memory that Blenders together leave alone."""


@dataclass(frozen=True, slots=True)
class SellingConfig:
    """What a node's operator asks: `price` of a render unit as it was written, in the token of the network
    that the file `network` names; `payee` '' for the wallet itself. With `chain_url` the node looks at the
    chain before it works for a job.
    """

    price: str
    wallet: Path
    password: Path
    network: Path
    payee: str
    capacity: int
    days: float
    chain_url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What `gpu-worker run` was asked for. Sizes in bytes, times in seconds; None: as suits the machine.

    Without a sandbox only scenes of `owner` are opened, at the farm that signs as `trusted_farm`. `objects`
    are object stores that the node's user named; `insecure`: plain http is allowed beyond this machine.
    """

    coordinator: str
    token: str
    state: Path
    device: Choice
    own: bool
    sandbox: bool
    ray_address: str | None
    slots: int | None
    threads_per_slot: int | None
    cache_bytes: int
    memory_per_slot: int | None
    stall_seconds: float
    task_seconds: float
    silence_seconds: float
    child_program: Path
    die_with_parent: bool
    selling: SellingConfig | None = None
    handed_over: Path | None = None
    trusted_farm: str = ""
    owner: str = ""
    objects: tuple[str, ...] = ()
    insecure: bool = False
    ca_file: str = ""


def node_config(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> NodeConfig:
    """Options and environment as one record. Raises InvalidInput naming what is wrong or missing."""
    token = _token(arguments.token_file, environment)
    coordinator = arguments.coordinator or environment.get("FARM_COORDINATOR", "")
    if not coordinator:
        raise InvalidInput("Which farm? Give --coordinator URL, or set FARM_COORDINATOR.")
    return NodeConfig(
        coordinator=checked_url(coordinator),
        token=token,
        state=state_folder(arguments.state_dir, environment),
        device=Choice(arguments.device),
        own=arguments.own,
        sandbox=not arguments.no_sandbox,
        ray_address=arguments.ray_address,
        slots=_positive("--slots", arguments.slots),
        threads_per_slot=_positive("--threads-per-slot", arguments.threads_per_slot),
        cache_bytes=size_bytes("--cache-size", arguments.cache_size),
        memory_per_slot=arguments.memory_limit and size_bytes("--memory-limit", arguments.memory_limit),
        stall_seconds=arguments.stall_seconds,
        task_seconds=arguments.task_seconds,
        silence_seconds=arguments.silence_seconds,
        child_program=Path(arguments.child_program or CHILD_PROGRAM).absolute(),
        die_with_parent=arguments.die_with_parent,
        selling=_selling(arguments, environment),
        handed_over=arguments.handed_over and Path(arguments.handed_over).absolute(),
        trusted_farm=arguments.trust_farm or environment.get("FARM_TRUST_FARM", ""),
        owner=arguments.owner or environment.get("FARM_NODE_OWNER", ""),
        objects=tuple(map(checked_url, arguments.objects or environment.get("FARM_OBJECTS", "").split())),
        insecure=arguments.insecure or environment.get("FARM_INSECURE", "") not in ("", "0"),
        ca_file=environment.get("FARM_CA_FILE", ""),
    )


def _token(file: str | None, environment: Mapping[str, str]) -> str:
    """The option first, then the environment's file, then the token in it."""
    if file or environment.get("FARM_NODE_TOKEN_FILE"):
        return read_token(file or environment["FARM_NODE_TOKEN_FILE"])
    token = environment.get("FARM_NODE_TOKEN", "")
    if not token or not token.isprintable() or len(token) > LONGEST:
        raise InvalidInput(
            "This node has no token: give --token-file FILE (- is standard input), or set FARM_NODE_TOKEN. "
            "`render-farm node add NAME` makes one."
        )
    return token


def wallet_files(
    arguments: argparse.Namespace, environment: Mapping[str, str]
) -> tuple[Path, Path | None, Path]:
    """Keystore, its password's file, and the network's file. A wallet that is named by its address has no
    password. Raises InvalidInput naming what is missing.
    """
    wanted = {
        "--wallet": (arguments.wallet, "FARM_WALLET"),
        "--password-file": (arguments.password_file, "FARM_WALLET_PASSWORD_FILE"),
        "--chain": (arguments.chain, "FARM_CHAIN"),
    }
    found = {option: given or environment.get(known, "") for option, (given, known) in wanted.items()}
    remote = is_remote(found["--wallet"])
    for option, path in found.items():
        if not path and not (remote and option == "--password-file"):
            variable = wanted[option][1]
            raise InvalidInput(f"A node that is paid needs {option} FILE, or {variable} in its environment.")
    wallet, password, network = (Path(path).expanduser().absolute() for path in found.values())
    return (Path(found["--wallet"]), None, network) if remote else (wallet, password, network)


def _selling(arguments: argparse.Namespace, environment: Mapping[str, str]) -> SellingConfig | None:
    if arguments.price is None:
        return None
    wallet, password, network = wallet_files(arguments, environment)
    if password is None:
        raise InvalidInput(
            "A node that sells signs offers itself: its --wallet must be a keystore file, not an address."
        )
    if not 0 < arguments.offer_days <= 365:
        raise InvalidInput("--offer-days must be more than 0, and at most 365.")
    capacity = _positive("--capacity", arguments.capacity, most=1 << 40)
    return SellingConfig(
        price=arguments.price,
        wallet=wallet,
        password=password,
        network=network,
        payee=arguments.payee or "",
        capacity=capacity or 0,
        days=arguments.offer_days,
        chain_url=environment.get("FARM_CHAIN_URL", ""),
    )


def size_bytes(option: str, text: str) -> int:
    """`20GB`, `512M` or a plain number as bytes. Raises InvalidInput."""
    match = re.fullmatch(r"(\d{1,15})(?:\.(\d{1,3}))? ?([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if match is None or (match[4] and not match[3]):
        raise InvalidInput(f"{option} {text[:50]} is not a size: write for example 20GB.")
    unit = UNITS[match[3].upper()]
    if match[4]:
        unit = 1024 ** list(UNITS).index(match[3].upper())
    size = int(float(f"{match[1]}.{match[2] or 0}") * unit)
    if size <= 0:
        raise InvalidInput(f"{option} must be more than nothing.")
    return size


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def default_slots(gpus: int) -> int:
    """All GPUs; without any, slots of about four threads, which is where Blender still scales well."""
    return gpus or max(1, cores() // 4)


def default_threads(slots: int) -> int:
    """The machine's cores shared evenly."""
    return max(1, cores() // slots)


def default_memory(slots: int) -> int:
    """Bytes one of `slots` Blenders may hold."""
    return int(_memory() * (1 - RESERVED) / max(1, slots))


def _memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of memory this machine, or the container this is, may use."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):
        return total


def state_folder(given: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Where a node keeps its key, receipts, scenes and work."""
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(given or Path(base) / "render-farm" / "node").expanduser().absolute()


def _positive(option: str, value: int | None, most: int = 10_000) -> int | None:
    if value is not None and not 1 <= value <= most:
        raise InvalidInput(f"{option} must be a number from 1 to {most}.")
    return value

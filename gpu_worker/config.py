# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's settings: options first, then the environment, then defaults that suit the machine."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from farm_protocol.addresses import checked_url
from farm_protocol.errors import InvalidInput
from farm_protocol.token_file import LONGEST, read_token
from gpu_worker.blender.devices import Choice
from gpu_worker.blender.process import CHILD_PROGRAM
from payments.wallet.wallets import is_remote

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


@dataclass(frozen=True, slots=True)
class MoneyChoice:
    """An operator's wallet, and the contracts it is used on, as they were named; the answer `as_json`."""

    state_dir: Path | None
    as_json: bool
    wallet: Path | None
    password_file: Path | None
    chain: Path | None
    chain_url: str = field(repr=False)
    signer_url: str = field(repr=False)


def node_config(
    *,
    coordinator: str,
    token_file: str,
    token: str,
    device: str,
    slots: int | None,
    threads_per_slot: int | None,
    ray_address: str | None,
    own: bool,
    state_dir: Path | None,
    cache_size: int,
    memory_limit: int | None,
    stall_seconds: float,
    task_seconds: float,
    silence_seconds: float,
    price: str | None,
    wallet: Path | None,
    password_file: Path | None,
    chain: Path | None,
    chain_url: str,
    payee: str,
    capacity: int,
    offer_days: float,
    no_sandbox: bool,
    trust_farm: str,
    owner: str,
    objects: tuple[str, ...],
    insecure: bool,
    ca_file: str,
    die_with_parent: bool,
    handed_over: Path | None,
    child_program: Path | None,
) -> NodeConfig:
    """Options and environment as one record. Raises InvalidInput naming what is wrong or missing."""
    known = _token(token_file, token)
    if not coordinator:
        raise InvalidInput("Which farm? Give --coordinator URL, or set FARM_COORDINATOR.")
    selling = None
    if price is not None:
        files = wallet_files(wallet, password_file, chain)
        selling = _selling(price, files, payee, capacity, offer_days, chain_url)
    return NodeConfig(
        coordinator=checked_url(coordinator),
        token=known,
        state=state_folder(state_dir),
        device=Choice(device),
        own=own,
        sandbox=not no_sandbox,
        ray_address=ray_address,
        slots=slots,
        threads_per_slot=threads_per_slot,
        cache_bytes=cache_size,
        memory_per_slot=memory_limit,
        stall_seconds=stall_seconds,
        task_seconds=task_seconds,
        silence_seconds=silence_seconds,
        child_program=(child_program or CHILD_PROGRAM).absolute(),
        die_with_parent=die_with_parent,
        selling=selling,
        handed_over=handed_over and handed_over.absolute(),
        trusted_farm=trust_farm,
        owner=owner,
        objects=tuple(map(checked_url, objects)),
        insecure=insecure,
        ca_file=ca_file,
    )


def _token(file: str, token: str) -> str:
    """A file's first, then that of the environment."""
    if file:
        return read_token(file)
    if not token or not token.isprintable() or len(token) > LONGEST:
        raise InvalidInput(
            "This node has no token: give --token-file FILE (- is standard input), or set FARM_NODE_TOKEN. "
            "`render-farm node add NAME` makes one."
        )
    return token


def wallet_files(
    wallet: Path | None, password_file: Path | None, chain: Path | None
) -> tuple[Path, Path | None, Path]:
    """Keystore, its password's file, and the network's file. A wallet that is named by its address has no
    password. Raises InvalidInput naming what is missing.
    """
    remote = wallet is not None and is_remote(wallet)
    for found, option, variable in (
        (wallet, "--wallet", "FARM_WALLET"),
        (password_file or remote, "--password-file", "FARM_WALLET_PASSWORD_FILE"),
        (chain, "--chain", "FARM_CHAIN"),
    ):
        if not found:
            raise InvalidInput(f"A node that is paid needs {option} FILE, or {variable} in its environment.")
    assert wallet is not None
    assert chain is not None
    network = chain.expanduser().absolute()
    if remote or password_file is None:
        return wallet, None, network
    return wallet.expanduser().absolute(), password_file.expanduser().absolute(), network


def _selling(
    price: str, files: tuple[Path, Path | None, Path], payee: str, capacity: int, days: float, chain_url: str
) -> SellingConfig:
    wallet, password, network = files
    if password is None:
        raise InvalidInput(
            "A node that sells signs offers itself: its --wallet must be a keystore file, not an address."
        )
    if not 0 < days <= 365:
        raise InvalidInput("--offer-days must be more than 0, and at most 365.")
    return SellingConfig(price, wallet, password, network, payee, capacity, days, chain_url)


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


def state_folder(given: Path | None) -> Path:
    """Where a node keeps its key, receipts, scenes and work."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return (given or Path(base) / "render-farm" / "node").expanduser().absolute()

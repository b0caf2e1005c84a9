# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job revoke`, `job appoint`: which keys may sign orders and vouchers for a paid job."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from eth_utils.address import to_checksum_address

from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.ids import JobId
from farm_protocol.wording import counted
from render_farm.cli.paid.client_wallet import ClientWallet


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A key that signs nothing new; what it signed is paid until `valid_until`, seconds since the epoch."""

    key: str
    valid_until: int
    transaction: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """The answer of `job revoke --json`. `left`: keys that may sign for the job still."""

    job: JobId
    number: int
    keys: tuple[RevokedKey, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Appointed:
    """The answer of `job appoint --json`. `keys`: all that may sign for the job now."""

    job: JobId
    number: int
    key: str
    keys: tuple[str, ...]
    transaction: str


def checked_key(text: str) -> str:
    """A key's address with its checksum. Raises InvalidInput for what is none."""
    try:
        return to_checksum_address(text)
    except ValueError as error:
        raise InvalidInput(f"'{text[:60]}' is no key's address: 0x and 40 hexadecimal digits.") from error


def revoke(
    purse: ClientWallet, job: JobId, number: int, key: str | None, say: Callable[[str], None]
) -> Revoked:
    """Revoke a key of a job, or all that it has. Raises Conflict where it has none, or not this one."""
    known = purse.session_keys(number)
    if key is not None and key not in known:
        raise Conflict(f"{key} signs nothing for job {job}: {_named(known)}.")
    if not known:
        raise Conflict(f"No key signs for job {job} any more.")
    done = []
    for one in known if key is None else (key,):
        sent = purse.revoke(job, number, one)
        say(f"Revoked {one}: transaction {sent}.")
        done.append(RevokedKey(one, purse.session(number, one), sent))
    return Revoked(job, number, tuple(done), purse.session_keys(number))


def appoint(purse: ClientWallet, job: JobId, number: int, key: str) -> Appointed:
    """Let a key sign for a job. Raises Conflict where it does already."""
    if key in purse.session_keys(number):
        raise Conflict(f"{key} signs for job {job} already.")
    sent = purse.appoint(job, number, key)
    return Appointed(job, number, key, purse.session_keys(number), sent)


def revoked_in_words(revoked: Revoked) -> str:
    """The answer for people."""
    ends = datetime.fromtimestamp(max(one.valid_until for one in revoked.keys), UTC)
    keys = counted(len(revoked.keys), "key")
    said = f"{keys} revoked. What was signed until now is paid until {ends:%Y-%m-%d %H:%M:%S} UTC."
    if revoked.left:
        return f"{said} {_named(revoked.left).capitalize()}."
    return (
        f"{said} Nothing new is begun; where that was the farm's key, it cancels the job. "
        f"`render-farm job refund {revoked.job}` takes back what nobody earned."
    )


def appointed_in_words(appointed: Appointed) -> str:
    """The answer for people."""
    others = len(appointed.keys) - 1
    beside = f", beside {counted(others, 'other key')}" if others else ""
    return (
        f"{appointed.key} signs for job {appointed.job} from now on{beside}: transaction "
        f"{appointed.transaction}. Whoever holds it can promise all that is left of the job's money: "
        f"`render-farm job revoke {appointed.job} --key {appointed.key}` ends that."
    )


def _named(keys: tuple[str, ...]) -> str:
    return f"still signing: {', '.join(keys)}" if keys else "no key does any more"

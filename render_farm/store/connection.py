# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that speaks Redis: plain commands, reads in one round trip, and the scripts.

A script is called by the hash of its text, which is sent once after each start of the store. The store's
functions (FUNCTION LOAD) would outlive a coordinator of another version, and be taken for this one's.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import redis.asyncio as redis
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as TooSlow

from farm_protocol.errors import Unavailable
from render_farm.store.calls import Call, Keep, script_of
from render_farm.store.states import as_lua

Argument = str | bytes | int | float

STORE_AWAY = "The farm's store does not answer. Nothing is lost; try again in a moment."
STORE_FULL = "The farm's store cannot write, its disk or memory may be full. Nothing was changed."
STORE_AT_LIMIT = (
    "The farm's store is full: nothing was changed. What was begun goes on, but nothing new can begin until "
    "jobs were deleted: the operator can shorten --retention-days, or give the store more memory (maxmemory)."
)
ANSWER_SECONDS = 20.0
"""Starting or cancelling a job of a hundred thousand tasks takes the store seconds."""

MAX_CONNECTIONS = 512


_EVENT_ID = re.compile("[0-9]{1,20}(-[0-9]{1,20})?")


def is_event_id(text: str) -> bool:
    """Whether it can be the id of a stream's entry: one or two numbers of 64 bits."""
    return _EVENT_ID.fullmatch(text) is not None and all(int(part) < 1 << 64 for part in text.split("-"))


class StoreFull(Unavailable):
    """The store has as much as it may hold."""

    code = "storage_full"
    status = 507


BEGINS = frozenset({"add_tasks", "create_job", "enrol", "announce", "put_scene"})
"""Scripts that begin something new. All others may go beyond the store's memory, so that what was begun, or
is deleted, comes to its end."""

ARGUMENT = "local arg = cjson.decode(ARGV[1])"


@cache
def script_text(name: str) -> str:
    """A script with the functions it shares with others before it."""
    folder = files("render_farm.store") / "scripts"
    own = (folder / f"{name}.lua").read_text()
    shared = ["holding", "shared"]
    if own.startswith("-- uses verification.lua\n"):
        shared.append("verification")
    flags = "" if name in BEGINS else "#!lua flags=allow-oom\n"
    parts = [(folder / f"{part}.lua").read_text() for part in shared]
    return flags + "\n".join([as_lua(), *parts, ARGUMENT, own])


@cache
def script_hash(name: str) -> str:
    """What the server knows the script by."""
    return hashlib.sha1(script_text(name).encode(), usedforsecurity=False).hexdigest()


class Connection:
    """A pool of connections. Every method raises Unavailable when the store does not answer."""

    def __init__(self, url: str) -> None:
        # Nothing is sent twice on its own: a script whose answer was lost may have run.
        self._redis: Any = redis.Redis.from_url(
            url,
            decode_responses=True,
            protocol=2,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=2.0,
            max_connections=MAX_CONNECTIONS,
            retry=None,
        )

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self._redis.aclose()

    async def do(self, *command: Argument) -> Any:
        """One command and its answer."""
        with _translated():
            return await self._redis.execute_command(*command)

    async def keep(self, command: str, key: str, *rest: Argument) -> Any:
        """One command that writes, for what was begun before: done though the store is full."""
        return await self.call(Keep(command, key, [_word(one) for one in rest]))

    async def read(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Several reads in one round trip."""
        if not commands:
            return []
        with _translated():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return list(await pipeline.execute())

    async def hash(self, key: str) -> dict[str, str]:
        """A whole hash, empty where there is none."""
        return dict(await self.do("HGETALL", key))

    async def hashes(self, keys: Sequence[str]) -> list[dict[str, str]]:
        """Several whole hashes in one round trip."""
        return [dict(found) for found in await self.read([("HGETALL", key) for key in keys])]

    async def call(self, one: Call) -> Any:
        """Run the script of `scripts/` that takes this record, atomically."""
        script, argument = script_of(type(one)), one.argument()
        with _translated():
            try:
                return await self._redis.execute_command("EVALSHA", script_hash(script), 0, argument)
            except NoScriptError:
                return await self._redis.execute_command("EVAL", script_text(script), 0, argument)

    async def follow(
        self, stream: str, after: str, wait: float, limit: int
    ) -> list[tuple[str, dict[str, str]]]:
        """Entries of a stream after an id; waits up to `wait` seconds for the first (0: not at all)."""
        return await self.follow_all({stream: after}, wait, limit)

    async def follow_all(
        self, after: Mapping[str, str], wait: float, limit: int
    ) -> list[tuple[str, dict[str, str]]]:
        """As `follow`, of several streams, each after its id; up to `limit` of each, as they came."""
        block = ("BLOCK", int(wait * 1000)) if wait > 0 else ()
        found = await self.do("XREAD", "COUNT", limit, *block, "STREAMS", *after, *after.values())
        entries = [(str(entry), dict(fields)) for _, some in found or () for entry, fields in some]
        return sorted(entries, key=lambda one: _place(one[0]))

    async def last_of(self, stream: str) -> str:
        """The id of a stream's last entry, or "0" where there is none."""
        found = await self.do("XREVRANGE", stream, "+", "-", "COUNT", 1)
        return str(found[0][0]) if found else "0"


def _word(one: Argument) -> str:
    return one.decode() if isinstance(one, bytes) else str(one)


def _place(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (Unreachable, TooSlow, ReadOnlyError, OSError) as error:
        raise Unavailable(STORE_AWAY) from error
    except OutOfMemoryError as error:
        raise StoreFull(STORE_AT_LIMIT) from error
    except ResponseError as error:
        if str(error).startswith("BUSY "):
            raise Unavailable(STORE_AWAY) from error
        if "OOM command not allowed" in str(error):
            raise StoreFull(STORE_AT_LIMIT) from error
        if str(error).startswith("MISCONF"):
            raise Unavailable(STORE_FULL) from error
        raise

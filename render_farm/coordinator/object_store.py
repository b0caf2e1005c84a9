# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store: links that allow exactly one transfer each, and looking at what was stored.

Bytes never pass through the coordinator: owners and nodes PUT and GET by presigned links. A PUT's
signature covers the length and the sha256, which the store compares with what it receives.
"""

import asyncio
import base64
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
import urllib3
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config as ClientConfig
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import percent_encode

from farm_protocol import handed_over
from farm_protocol.addresses import origin_of
from farm_protocol.errors import Unavailable
from farm_protocol.ids import JobId, OwnerId, TaskId
from farm_protocol.records import OutputFile
from render_farm.coordinator.s3_head import OBJECTS_AWAY, Answer, Heads

T = TypeVar("T")
log = structlog.get_logger()

LINK_SECONDS = 15 * 60
"""How long a link may be begun to be used; a transfer under way goes on after. Whoever needs longer asks for
another: a link cannot be taken back.
"""

LARGEST_OBJECT = 5 * 1000**3
"""Bytes. What S3 takes in a single PUT."""

CHUNK = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
THREADS = 4
OBJECTS_REFUSE = "The farm's object store refuses the coordinator's keys: its operator must check them."


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects are. `public` is the endpoint as nodes and owners reach it."""

    endpoint: str
    public: str
    bucket: str
    region: str
    key: str
    secret: str


@dataclass(frozen=True, slots=True)
class Found:
    """A stored object: bytes, and its sha256 where the store keeps one."""

    size: int
    sha256: str | None


def blob_key(owner: OwnerId, sha256: str) -> str:
    """Where a file of a scene lies; each owner has a place of its own."""
    return f"blobs/{owner}/{sha256}"


def result_key(job: JobId, task: TaskId, token: int, file: OutputFile) -> str:
    """Key of a `file` of a result: each lease (`job`, `task`, `token`) has a folder, and in it each content,
    so that a link which was asked for and not used cannot change what was submitted.
    """
    return f"results/{job}/{task}/{token}/{file.sha256}/{file.name}"


def results_of(job: JobId) -> str:
    """What the keys of all files of a job's results begin with."""
    return f"results/{job}/"


LARGEST_SKEW = 60.0
"""Seconds that the object store's clock may be from ours before it is said; at 900 S3 refuses us."""


@dataclass(frozen=True, slots=True)
class Handed:
    """Files of scenes that the owner's commands handed over on this very machine, in a folder that is open to
    the farm's user alone (`farm_protocol.handed_over`).
    """

    folder: Path
    owner: OwnerId

    def file(self, key: str) -> Path | None:
        """The file that was handed over in place of the object with this key, if it is there."""
        prefix, _, sha256 = key.rpartition("/")
        if f"{prefix}/" != blob_key(self.owner, "") or not _SHA256.fullmatch(sha256):
            return None
        path = handed_over.place(self.folder, sha256)
        return path if path.is_file() and not path.is_symlink() else None


class Objects:
    """An S3 bucket, and what was `handed` over beside it. Looking things up raises Unavailable when the store
    does not answer.
    """

    def __init__(self, place: Place, handed: Handed | None = None) -> None:
        self._place, self._handed = place, handed
        self._published: set[str] = set()
        self._credentials = Credentials(place.key, place.secret)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="objects")
        patience = urllib3.Timeout(connect=2.0, read=20.0)
        again = urllib3.Retry(total=2, redirect=0, status=0, backoff_factor=0.1)
        self._http = urllib3.PoolManager(maxsize=THREADS, timeout=patience, retries=again)
        self._heads = Heads(place.endpoint)
        self._client: Any = None
        self._skew = 0.0

    @property
    def origins(self) -> tuple[str, ...]:
        """Where links lead, as scheme://host:port."""
        return (origin_of(self._place.public),)

    async def close(self) -> None:
        """Let go of connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()
        self._heads.close()

    def notices(self) -> tuple[str, ...]:
        """What is odd about the store's clock, as a sentence: links are signed by time."""
        if abs(self._skew) < LARGEST_SKEW:
            return ()
        way = "ahead of" if self._skew > 0 else "behind"
        return (
            f"The object store's clock is {abs(self._skew):.0f} s {way} the coordinator's: it refuses links "
            "once they are 15 minutes apart. Set both by the same time server.",
        )

    def put_link(self, key: str, sha256: str, size: int) -> tuple[str, dict[str, str]]:
        """A link to PUT exactly the object of this sha256 and size, and the headers to send with it."""
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        headers = {"x-amz-checksum-sha256": checksum, "content-length": str(size)}
        return self._link("PUT", key, headers), headers

    def get_link(self, key: str) -> str:
        """A link to GET an object."""
        return self._link("GET", key, {})

    async def look(self, key: str) -> Found | None:
        """What is stored under a key, or None."""
        return self.handed(key) or await self._look(key)

    def handed(self, key: str) -> Found | None:
        """What was handed over in place of an object, or None. Nodes check it as they read it."""
        file = self._handed.file(key) if self._handed else None
        return Found(file.stat().st_size, file.name) if file else None

    async def publish(self, blobs: Mapping[str, tuple[str, int]]) -> None:
        """Bring what was only handed over into the bucket, for nodes on other machines: sha256 and size of
        blobs by their keys.
        """
        handed = await asyncio.to_thread(self._handed_only, blobs) if self._handed else {}
        for key, file in handed.items():
            sha256, size = blobs[key]
            if await self._look(key) is None:
                await self._in_thread(partial(self._put, key, sha256, size, file))
            self._published.add(key)

    def _handed_only(self, keys: Iterable[str]) -> dict[str, Path]:
        new = [key for key in keys if key not in self._published]
        return {key: file for key in new if self._handed and (file := self._handed.file(key))}

    def _put(self, key: str, sha256: str, size: int, file: Path) -> None:
        link, headers = self.put_link(key, sha256, size)
        try:
            with file.open("rb") as body:
                answer = self._http.request("PUT", link, body=body if size else b"", headers=headers)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(OBJECTS_AWAY) from error
        if answer.status >= 300:
            raise Unavailable(OBJECTS_AWAY)

    async def _look(self, key: str) -> Found | None:
        answer = await self._head(self._url(self._place.endpoint, key), {"x-amz-checksum-mode": "ENABLED"})
        if answer.status != 200:
            return None
        return Found(int(answer.headers.get("content-length", -1)), _hex(answer.headers))

    async def hash(self, key: str) -> str:
        """The sha256 of an object's bytes, read in chunks: for stores that keep no checksum."""
        return await self._in_thread(lambda: self._hash(key))

    async def is_there(self, key: str, size: int) -> bool:
        """Whether an object of this size is there and can be read. What is listed and cannot be read is
        removed: it would stand in the way of those who bring it again.
        """
        handed = self.handed(key)
        if handed is not None and handed.size == size:
            # Whoever missed it may have looked in the bucket: it is brought there again for the next.
            self._published.discard(key)
            return True
        found = await self._look(key)
        if found is None or found.size != size:
            return False
        if size and await self._in_thread(lambda: self._status("GET", key, {"range": "bytes=0-0"})) == 404:
            await self.remove(key)
            return False
        return True

    async def remove(self, key: str) -> None:
        """Throw an object away."""
        file = self._handed.file(key) if self._handed else None
        if file is not None:
            file.unlink(missing_ok=True)
        await self._in_thread(lambda: self._status("DELETE", key, {}))

    async def remove_under(self, prefix: str) -> None:
        """Throw away all objects whose keys begin so."""
        await self._in_thread(lambda: self._remove_under(prefix))

    def _remove_under(self, prefix: str) -> None:
        try:
            pages = self._boto().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._place.bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    self._status("DELETE", found["Key"], {})
        except (ClientError, BotoCoreError) as error:
            raise Unavailable(OBJECTS_AWAY) from error

    async def prepare(self) -> None:
        """Make the bucket if it is not there."""
        if not await self.ready():
            await self._in_thread(self._prepare)
        log.info("bucket_ready", bucket=self._place.bucket)

    async def ready(self) -> bool:
        """Whether the store answers and has the bucket."""
        try:
            answer = await self._head(self._url(self._place.endpoint, ""), {})
        except Unavailable:
            return False
        return answer.status == 200

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _url(self, endpoint: str, key: str) -> str:
        path = f"{self._place.bucket}/{key}" if key else self._place.bucket
        return f"{endpoint.rstrip('/')}/{percent_encode(path, safe='-._~/')}"

    def _link(self, method: str, key: str, headers: dict[str, str]) -> str:
        request = AWSRequest(method, self._url(self._place.public, key), headers=dict(headers))
        signer = S3SigV4QueryAuth(self._credentials, "s3", self._place.region, expires=LINK_SECONDS)
        signer.add_auth(request)
        return str(request.url)

    async def _head(self, url: str, headers: dict[str, str]) -> Answer:
        host, target = url.partition("//")[2].partition("/")[::2]
        signed = self._signed("HEAD", url, headers)
        answer = await self._heads.ask(f"/{target}", {"host": host, **signed})
        self._note_skew(answer.headers.get("date", ""))
        _check(answer.status, self._skew)
        return answer

    def _signed(self, method: str, url: str, headers: dict[str, str]) -> dict[str, str]:
        request = AWSRequest(method, url, headers=dict(headers))
        S3SigV4Auth(self._credentials, "s3", self._place.region).add_auth(request)
        return dict(request.headers.items())

    def _note_skew(self, date: str) -> None:
        with contextlib.suppress(ValueError, TypeError):
            self._skew = parsedate_to_datetime(date).timestamp() - time.time()

    def _status(self, method: str, key: str, headers: dict[str, str]) -> int:
        url = self._url(self._place.endpoint, key)
        try:
            answer = self._http.request(method, url, headers=self._signed(method, url, headers))
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(OBJECTS_AWAY) from error
        _check(answer.status)
        return answer.status

    def _hash(self, key: str) -> str:
        file = self._handed.file(key) if self._handed else None
        if file is not None:
            with file.open("rb") as handed:
                return hashlib.file_digest(handed, "sha256").hexdigest()
        url, digest = self._url(self._place.endpoint, key), hashlib.sha256()
        headers = self._signed("GET", url, {})
        try:
            with self._http.request("GET", url, headers=headers, preload_content=False) as answer:
                _check(answer.status)
                for chunk in answer.stream(CHUNK):
                    digest.update(chunk)
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(OBJECTS_AWAY) from error
        return digest.hexdigest()

    def _prepare(self) -> None:
        try:
            self._boto().create_bucket(Bucket=self._place.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise Unavailable(OBJECTS_REFUSE) from error
        except BotoCoreError as error:
            raise Unavailable(OBJECTS_AWAY) from error

    def _boto(self) -> Any:
        if self._client is None:
            # Its models take a while to load, and only a farm's first start needs them.
            import boto3  # noqa: PLC0415

            settings = ClientConfig(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
            )
            self._client = boto3.client(
                "s3",
                endpoint_url=self._place.endpoint,
                aws_access_key_id=self._place.key,
                aws_secret_access_key=self._place.secret,
                region_name=self._place.region,
                config=settings,
            )
        return self._client


def _check(status: int, skew: float = 0.0) -> None:
    if status >= 500:
        raise Unavailable(OBJECTS_AWAY)
    if status in {401, 403} and abs(skew) >= LARGEST_SKEW:
        raise Unavailable(
            "The farm's object store refuses what the coordinator signs: their clocks are "
            f"{abs(skew):.0f} s apart."
        )
    if status in {401, 403}:
        raise Unavailable(OBJECTS_REFUSE)


def _hex(headers: Mapping[str, str]) -> str | None:
    """The stored checksum as hexadecimal. A checksum of parts' checksums ('...-3') says nothing."""
    checksum = headers.get("x-amz-checksum-sha256", "")
    if not checksum or "-" in checksum:
        return None
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except ValueError:
        return None

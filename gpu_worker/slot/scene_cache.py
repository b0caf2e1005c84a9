# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes on a node's disk, by content, shared by all of a machine's slots.

    blobs/ab/abcd...     files by sha256, complete and checked, never changed
    scenes/ID.json       which blobs a scene is made of; its mtime is the scene's last use
    locks/ID             shared lock: in use; exclusive: being fetched or thrown away
    lock                 exclusive while records are written and blobs removed
    incoming/            files being fetched

A scene's record is written before its blobs are fetched, so a blob some record names is never removed,
and a record is removed only under its scene's exclusive lock.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.fields import StoredFile, decoder
from farm_protocol.files import locked, replaced, try_lock
from farm_protocol.ids import SceneId, Sha256
from farm_protocol.node_answers import LeasedScene
from farm_protocol.records import Blob, Manifest
from farm_protocol.scene_ids import scene_id
from farm_protocol.transfer import LinkExpired
from frame_splitter.outputs import is_color_config, laid_out_name, safe_relative
from gpu_worker.sandbox import inner_user

Download = Callable[[StoredFile, Path, threading.Event], None]

DOWNLOADS_AT_ONCE = 4
STALE_SECONDS = 3600.0
"""A file still incoming after this time was left by a process that died."""

LOCK_POLL_SECONDS = 0.1

log = structlog.get_logger()


class CacheFull(FarmError):
    """The scene does not fit: into the cache's limit, or on the disk."""

    code = "cache_full"


class Stopped(FarmError):
    """The fetch was given up on request."""

    code = "stopped"


@dataclass(frozen=True, slots=True)
class HeldScene:
    """A scene that stays in the cache until `release`."""

    cache: "SceneCache"
    scene: SceneId
    manifest: Manifest
    lock: int

    def assemble(self, folder: Path) -> Path:
        """Lay the scene out in `folder` (empty) and give the path of the .blend to open.

        Files are hard links to the blobs where the file system can, else copies.
        """
        for name, blob in self.manifest.files.items():
            target = folder / laid_out_name(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(self.cache.blob(Sha256(blob.sha256)), target)
        return folder / laid_out_name(self.manifest.main)

    def color_config(self, folder: Path) -> str:
        """What OCIO must name for a Blender that opens the scene in `folder`; "" for Blender's own."""
        named = self.manifest.color_config
        return str(folder / laid_out_name(named)) if named in self.manifest.files else named

    def release(self) -> None:
        """Allow the cache to throw the scene away."""
        os.close(self.lock)


class SceneCache:
    """At most `limit` bytes of scenes under `root`; those used longest ago go first. `strict`: a listing must
    be of the very scene that was leased, by the digest that its id is.
    """

    def __init__(self, root: Path, limit: int, download: Download, *, strict: bool = False) -> None:
        self.root = root
        self.limit = limit
        self._download, self._strict = download, strict
        for name in ("blobs", "scenes", "locks", "incoming"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def hold(self, scene: SceneId, listing: Callable[[], LeasedScene], stopped: threading.Event) -> HeldScene:
        """The scene, complete on disk and in use. `listing` is asked only where something is missing.

        Raises CacheFull, Stopped, InvalidInput where the listing or its files are wrong, and what
        `listing` and the download raise.
        """
        with _full_disk_explained(self.root):
            while True:
                lock = self._lock(scene, stopped)
                try:
                    manifest = self._complete(scene) or self._fetch(scene, listing, stopped)
                    os.utime(self._record(scene))
                    # Not atomic: between the two locks somebody may throw the scene away.
                    fcntl.flock(lock, fcntl.LOCK_SH)
                    if self._complete(scene):
                        return HeldScene(self, scene, manifest, lock)
                except BaseException:
                    os.close(lock)
                    raise
                os.close(lock)

    def blob(self, digest: Sha256) -> Path:
        """Where the bytes with this sha256 lie, if they are here."""
        return self.root / "blobs" / digest[:2] / digest

    def used(self) -> int:
        """Bytes of all blobs."""
        return sum(file.stat().st_size for file in (self.root / "blobs").glob("*/*"))

    # --- fetching -------------------------------------------------------------------------------------

    def _record(self, scene: SceneId) -> Path:
        # Scene ids are digests, but the name of a file must not depend on that.
        return self.root / "scenes" / f"{_digest(scene)}.json"

    def _complete(self, scene: SceneId) -> Manifest | None:
        try:
            manifest = decoder(Manifest).decode(self._record(scene).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        if self._strict and scene_id(manifest) != scene:
            return None
        return manifest if all(self._has(blob) for blob in manifest.files.values()) else None

    def _has(self, blob: Blob) -> bool:
        try:
            return self.blob(Sha256(blob.sha256)).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def _fetch(
        self, scene: SceneId, listing: Callable[[], LeasedScene], stopped: threading.Event
    ) -> Manifest:
        listed = listing()
        manifest = _checked(listed)
        if self._strict and scene_id(manifest) != scene:
            raise InvalidInput("The scene's listing is of another scene than the one that was leased.")
        started = time.monotonic()
        with self._locked(), replaced(self._record(scene), durable=False) as record:
            record.write(msgspec.json.encode(manifest))
        try:
            missing = self._missing(listed)
            self._make_room(sum(file.size for file in missing), scene)
            self._download_renewing(missing, manifest, listing, stopped)
        except BaseException:
            # Incomplete records hold blobs nobody may get to use.
            with self._locked():
                self._forget(self._record(scene))
            raise
        size = sum(blob.size for blob in manifest.files.values())
        log.info("scene_fetched", scene=scene, bytes=size, seconds=round(time.monotonic() - started, 3))
        return manifest

    def _missing(self, listing: LeasedScene) -> list[StoredFile]:
        files = {file.sha256: file for file in listing.files.values()}
        return [file for file in files.values() if not self._has(Blob(file.sha256, file.size))]

    def _download_renewing(
        self,
        missing: list[StoredFile],
        manifest: Manifest,
        listing: Callable[[], LeasedScene],
        stopped: threading.Event,
    ) -> None:
        """Download files; links live for minutes, so fresh ones are asked for as long as files come."""
        while True:
            try:
                return self._download_all(missing, stopped)
            except LinkExpired:
                before, listed = len(missing), listing()
                if _checked(listed) != manifest:
                    raise InvalidInput("The farm lists other files of the scene than before.") from None
                missing = self._missing(listed)
                if len(missing) == before:
                    raise

    def _download_all(self, files: list[StoredFile], stopped: threading.Event) -> None:
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, "scene-download") as pool:
            futures = [pool.submit(self._download_one, file, stopped) for file in files]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _download_one(self, file: StoredFile, stopped: threading.Event) -> None:
        if stopped.is_set():
            raise Stopped("The scene is not needed any more.")
        incoming = self.root / "incoming" / uuid.uuid4().hex
        target = self.blob(Sha256(file.sha256))
        target.parent.mkdir(exist_ok=True)
        try:
            self._download(file, incoming, stopped)
            incoming.chmod(0o444)
            incoming.replace(target)
        finally:
            incoming.unlink(missing_ok=True)

    # --- room -----------------------------------------------------------------------------------------

    def _make_room(self, needed: int, keep: SceneId) -> None:
        """Throw away scenes nobody uses, oldest first, until `needed` more bytes fit."""
        with self._locked():
            self._remove_stale()
            oldest = sorted((self.root / "scenes").glob("*.json"), key=_last_use)
            over = self.used() + needed - self.limit
            for record in oldest:
                if over > 0 and record != self._record(keep):
                    over -= self._evict(record)
            if over > 0:
                raise CacheFull(
                    f"The scene needs {needed / 2**20:.0f} MiB more, and this node's cache may hold "
                    f"{self.limit / 2**20:.0f} MiB: give it a larger --cache-size."
                )

    def _evict(self, record: Path) -> int:
        """Throw a scene away unless it is in use; the bytes that frees."""
        lock = self._try_lock(record.stem)
        if lock is None:
            return 0
        try:
            freed = self._forget(record)
            (self.root / "locks" / record.stem).unlink(missing_ok=True)
            log.info("scene_evicted", record=record.stem, bytes=freed)
            return freed
        finally:
            os.close(lock)

    def _forget(self, record: Path) -> int:
        """Remove a record and the blobs no other record names; the bytes that frees."""
        named = _blobs_of(record)
        record.unlink(missing_ok=True)
        for other in (self.root / "scenes").glob("*.json"):
            named -= _blobs_of(other)
        freed = 0
        for blob in (self.blob(Sha256(digest)) for digest in named):
            with contextlib.suppress(FileNotFoundError):
                freed += blob.stat().st_size
                blob.unlink()
        return freed

    def _remove_stale(self) -> None:
        for file in (self.root / "incoming").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > STALE_SECONDS:
                    file.unlink()

    # --- locks ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.root / "lock"):
            yield

    def _lock(self, scene: SceneId, stopped: threading.Event) -> int:
        """The scene's exclusive lock; waits while another slot fetches the same scene."""
        while True:
            lock = self._try_lock(_digest(scene))
            lock = self._try_shared(scene) if lock is None else lock
            if lock is not None:
                return lock
            if stopped.wait(LOCK_POLL_SECONDS):
                raise Stopped("The scene is not needed any more.")

    def _try_shared(self, scene: SceneId) -> int | None:
        """Other slots use the scene, so it is complete and only has to be held, too."""
        lock = self._try_lock(_digest(scene), shared=True)
        if lock is not None and self._complete(scene) is None:
            os.close(lock)
            return None
        return lock

    def _try_lock(self, name: str, *, shared: bool = False) -> int | None:
        path = self.root / "locks" / name
        lock = try_lock(path, shared=shared)
        if lock is None:
            return None
        # Whoever evicted the scene meanwhile removed the file this lock is on.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(lock).st_ino == path.stat().st_ino:
                return lock
        os.close(lock)
        return None


def _checked(listing: LeasedScene) -> Manifest:
    """The listing as a manifest whose paths are safe and do not contradict each other."""
    names = {str(safe_relative(name)) for name in listing.files}
    if listing.main not in names:
        raise InvalidInput("The scene's listing does not hold its own main file.")
    if not is_color_config(listing.color_config, listing.files):
        raise InvalidInput("The scene's OCIO configuration is none of its files.")
    if len({laid_out_name(name) for name in names}) < len(names):
        raise InvalidInput("The scene's listing has two names for one file.")
    for name in names:
        above = [str(parent) for parent in safe_relative(name).parents]
        if any(parent in names for parent in above):
            raise InvalidInput(f"The scene's listing has files below the file '{name.rpartition('/')[0]}'.")
    blobs = {name: Blob(file.sha256, file.size) for name, file in listing.files.items()}
    return Manifest(listing.main, blobs, listing.color_config)


def _digest(scene: SceneId) -> str:
    return hashlib.sha256(scene.encode()).hexdigest()


def _blobs_of(record: Path) -> set[str]:
    try:
        manifest = decoder(Manifest).decode(record.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return set()
    return {blob.sha256 for blob in manifest.files.values()}


def _last_use(record: Path) -> float:
    try:
        return record.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _link(blob: Path, target: Path) -> None:
    try:
        if not _may_be_read(blob):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        os.link(blob, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(blob, target)


def _may_be_read(blob: Path) -> bool:
    """Whether a Blender that root starts as another user can. A blob may be an artist's own file, so its mode
    is not ours to change.
    """
    return not inner_user.is_root() or bool(blob.stat().st_mode & stat.S_IROTH)


@contextlib.contextmanager
def _full_disk_explained(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CacheFull(
                f"The disk this node keeps scenes on is full: free space under {root}."
            ) from error
        raise

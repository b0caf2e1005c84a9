# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's way to the object store: which links it follows, how patiently, and what its user reads."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import urllib3

from farm_protocol import web
from farm_protocol.addresses import origin_of
from farm_protocol.errors import FarmError, InvalidInput, Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.links import Links
from farm_protocol.transfer import LinkExpired, ObjectDamaged, ObjectLost, StoreAway, StoreRefuses, Transfer


class Waits(Protocol):
    """Counts attempts and waits between them (`render_farm.client.connection.Connection`)."""

    url: str
    stopped: threading.Event

    def attempts(self) -> Iterator[int]:
        """0, 1, 2 ... until patience is used up."""


class Transfers:
    """Uploads and downloads of whole files, tried again while the store is away."""

    def __init__(self, waits: Waits, links: Callable[[], Links], ca_file: str = "") -> None:
        self._waits, self._links = waits, links
        # Those to the farm's own address, which its user named.
        self._pool = web.pool(maxsize=16, ca_file=ca_file)
        self._elsewhere: tuple[Links, urllib3.PoolManager] | None = None
        self._transfer = Transfer(self._pool_for)

    def close(self) -> None:
        """Drop the connections."""
        self._pool.clear()
        if self._elsewhere:
            self._elsewhere[1].clear()

    def _pool_for(self, url: str) -> urllib3.PoolManager:
        """Connections that may be made for a link. Raises InvalidInput and LinkRefused."""
        if not url.startswith(("http://", "https://")):
            raise InvalidInput("The coordinator gave a link that is not http.")
        if origin_of(url) == origin_of(self._waits.url):
            return self._pool
        if self._elsewhere is None:
            found = self._links()
            self._elsewhere = found, web.pool(maxsize=16, ca_file=found.ca_file, allows=found.allows)
        self._elsewhere[0].checked(url)
        return self._elsewhere[1]

    def upload(self, path: Path, url: str, headers: Mapping[str, str]) -> None:
        """PUT a file. Raises LinkExpired, Unavailable, or FarmError with what the store says."""
        with _explained(path.name, "uploaded"):
            self._transfer.upload(path, url, headers, self._waits.attempts())

    def download(self, file: StoredFile, target: Path) -> None:
        """Fetch `file` to `target`, complete and checked or not at all.

        Raises LinkExpired, ObjectLost, Unavailable, or FarmError where the store or the disk refuses.
        """
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _explained(target.name, "fetched"):
                self._transfer.download(file, target, self._waits.attempts(), self._waits.stopped)
        except OSError as error:
            raise FarmError(f"{target} cannot be written: {error.strerror}.") from error


@contextmanager
def _explained(name: str, done: str) -> Iterator[None]:
    """The store's refusals as sentences for the user, who may read all that it says."""
    try:
        yield
    except StoreAway as error:
        raise Unavailable(f"The object store does not answer, {name} could not be {done}.") from error
    except LinkExpired as error:
        raise LinkExpired(f"The link to {name} is no longer valid.") from error
    except ObjectDamaged as error:
        raise ObjectDamaged(f"{name} came damaged from the object store.", error.sha256) from error
    except ObjectLost as error:
        raise ObjectLost(
            f"The farm's object store has lost {name}: render that frame again, with "
            "`render-farm render` and --frames.",
            error.sha256,
        ) from error
    except StoreRefuses as error:
        raise StoreRefuses(f"The object store refused {name} ({error.said}).") from error

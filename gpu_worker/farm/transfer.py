# SPDX-License-Identifier: GPL-3.0-or-later
"""A slot's way to the object store: which links its process follows, and how patiently."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import urllib3

from farm_protocol import web
from farm_protocol.fields import StoredFile
from farm_protocol.links import Links
from farm_protocol.records import Upload
from farm_protocol.retry import Retry
from farm_protocol.transfer import StoreAway, StoreRefuses, Transfer

DOWNLOAD = Retry(tries=6, longest=10.0)
UPLOAD = Retry(tries=1)
"""A delivery tries again by itself, with fresh links (`delivery.py`)."""

log = structlog.get_logger()


def _following(links: Links) -> Transfer:
    pool = web.pool(maxsize=8, ca_file=links.ca_file, allows=links.allows)

    def pool_for(url: str) -> urllib3.PoolManager:
        links.checked(url)
        return pool

    return Transfer(pool_for)


_transfer = _following(Links())


def follow(links: Links) -> None:
    """Follow these links only, in this process. Before, only those of this machine itself are followed."""
    global _transfer  # noqa: PLW0603 - a slot has a process of its own, and says so once
    _transfer = _following(links)


def download(file: StoredFile, target: Path, stopped: threading.Event) -> None:
    """Fetch `file` to `target`, complete and checked or not at all. Raises as `Transfer.download`."""
    with _logged():
        _transfer.download(file, target, DOWNLOAD.attempts(stopped.wait), stopped)


def upload(path: Path, to: Upload) -> None:
    """PUT a file as signed. Raises as `Transfer.upload`."""
    with _logged():
        _transfer.upload(path, to.url, to.headers, UPLOAD.attempts(threading.Event().wait))


@contextmanager
def _logged() -> Iterator[None]:
    """The log has what the farm may not hear of a store."""
    try:
        yield
    except (StoreAway, StoreRefuses) as error:
        log.info("object_store_away", reason=error.said)
        raise

# SPDX-License-Identifier: GPL-3.0-or-later
"""What farms said of themselves the first time, by their URLs, in small files of the node's folder."""

import json
from pathlib import Path
from typing import Any

import msgspec

from farm_protocol.addresses import origin_of
from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.fields import Name, decoder
from farm_protocol.files import write_private

OBJECTS_FILE = "objects.json"


def first_said(path: Path, kind: Any, url: str, value: str) -> str:
    """What the farm at `url` said first, which is `value` where it never said anything; values are strings
    of the `kind`. Raises InvalidInput for a file that is damaged.
    """
    known = _known(path, kind)
    if url in known:
        return known[url]
    write_private(path, (json.dumps({**known, url: value}, indent=1) + "\n").encode())
    return value


def _known(path: Path, kind: Any) -> dict[str, str]:
    try:
        known: dict[str, str] = decoder(dict[Name, kind]).decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise InvalidInput(f"{path} cannot be read ({error}): remove it.") from error
    return known


def pinned_objects(state: Path, url: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The object stores, as scheme://host:port, that the farm at `url` names: the same as when this node
    joined it. Raises Conflict where they are others.
    """
    path = state / OBJECTS_FILE
    now = " ".join(dict.fromkeys(map(origin_of, named or (url,))))
    before = first_said(path, Name, url, now)
    if before != now:
        raise Conflict(
            f"The farm at {url} keeps its files at {now}, but kept them at {before} before: this node asks "
            f"nobody else for them. If that change is right, remove {path}."
        )
    return tuple(now.split())

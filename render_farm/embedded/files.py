# SPDX-License-Identifier: GPL-3.0-or-later
"""The small files of a farm's folder, named where they are damaged."""

from pathlib import Path
from typing import TypeVar

from farm_protocol.errors import FarmError
from farm_protocol.fields import decode
from farm_protocol.files import read_bounded

T = TypeVar("T")

LARGEST = 1 << 20


class DamagedFile(FarmError):
    """A file of the farm's folder cannot be read, or is not what the farm wrote."""

    code = "damaged_file"


def read_record(path: Path, kind: type[T], advice: str) -> T | None:
    """What a JSON file holds; None where there is none. Raises DamagedFile with the `advice` what to do."""
    try:
        return decode(read_bounded(path, LARGEST), kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror}. {advice}") from error
    except FarmError as error:
        raise DamagedFile(f"{path} is damaged ({error.sentence[:200]}). {advice}") from error


def private_folder(path: Path) -> Path:
    """Make a folder and those above it, or find it, with access for its owner only whatever the umask is.

    Raises FarmError where it cannot be made, or belongs to somebody who lets others in.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise FarmError(
            f"The folder {path} cannot be made for you alone: {error.strerror}. Name another: --state-dir."
        ) from error
    return path

# SPDX-License-Identifier: GPL-3.0-or-later
"""The small files of a farm's folder: replaced as a whole, on the disk when written, named where damaged."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TypeVar

from farm_protocol.errors import FarmError
from farm_protocol.fields import decode

T = TypeVar("T")

LARGEST = 1 << 20


class DamagedFile(FarmError):
    """A file of the farm's folder cannot be read, or is not what the farm wrote."""

    code = "damaged_file"


def read_record(path: Path, kind: type[T], advice: str) -> T | None:
    """What a JSON file holds; None where there is none. Raises DamagedFile with the `advice` what to do."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST)
        return decode(data, kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror}. {advice}") from error
    except FarmError as error:
        raise DamagedFile(f"{path} is damaged ({error.sentence[:200]}). {advice}") from error


def write_private(path: Path, data: bytes) -> None:
    """Replace a file's contents at once, readable by its owner only; on the disk when this returns.

    Raises OSError.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        _sync(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def private_opener(path: str, flags: int) -> int:
    """For `open`: a file that nobody else may read, one of an earlier version too."""
    handle = os.open(path, flags, 0o600)
    os.fchmod(handle, 0o600)
    return handle


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


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

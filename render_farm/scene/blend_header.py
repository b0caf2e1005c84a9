# SPDX-License-Identifier: GPL-3.0-or-later
"""What the first bytes of a file say: whether it is a .blend, and of which Blender.

Reads a few hundred bytes at most, so that a wrong file is named before anything else is tried.
"""

import gzip
import re
import stat
import zlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

from farm_protocol.errors import InvalidInput

_MAGIC = b"BLENDER"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_HEAD = 1 << 16
"""Compressed bytes looked at: the first block of a frame may be as large as 128 KiB, but Blender's
own files give their header within the first few hundred."""

_OLD = re.compile(rb"BLENDER([_-])([vV])([0-9]{3})")
_NEW = re.compile(rb"BLENDER17-([0-9]{2})v([0-9]{4})")


@dataclass(frozen=True, slots=True)
class BlendHeader:
    """`version` as Blender counts: 405 is 4.5, 500 is 5.0. `compression` is "", "gzip" or "zstd"."""

    version: int
    compression: str
    big_endian: bool

    @property
    def release(self) -> str:
        """The version as people write it, such as 4.5."""
        return f"{self.version // 100}.{self.version % 100}"


def farm_version() -> int:
    """The version of Blender this farm renders with, counted as in BlendHeader (500 when unknown)."""
    try:
        major, minor = package_version("bpy").split(".")[:2]
    except PackageNotFoundError:
        return 500
    return int(major) * 100 + int(minor)


def check_scene(scene: Path) -> BlendHeader:
    """Read the header of the file an artist named and refuse what Blender could not open.

    Raises InvalidInput with a sentence for a file that is missing, no .blend, cut short or newer than
    the farm's Blender.
    """
    header = read_header(scene)
    if header.big_endian:
        raise InvalidInput(
            f"{scene.name} was saved on a big-endian machine, which Blender 5 no longer reads."
        )
    if header.version > farm_version():
        ours = f"{farm_version() // 100}.{farm_version() % 100}"
        raise InvalidInput(
            f"{scene.name} was saved with Blender {header.release}, but this farm renders with {ours}: "
            f"open it in Blender {ours} and save it from there."
        )
    return header


def read_header(path: Path) -> BlendHeader:
    """The header of a .blend, compressed or not. Raises InvalidInput where it has no header."""
    raw = _first_bytes(path)
    if not raw:
        raise InvalidInput(f"{path.name} is empty.")
    compression, head = _inflate(raw)
    if not head.startswith(_MAGIC):
        if len(head) < len(_MAGIC) and (_MAGIC.startswith(head) or compression):
            raise InvalidInput(f"{path.name} is cut short: not even its header is complete.")
        raise InvalidInput(f"{path.name} is not a .blend file.")
    return _parse(head, compression, path.name)


def _first_bytes(path: Path) -> bytes:
    try:
        # A pipe or a device would block or never end: look before opening.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidInput(f"{path} is not a file.")
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file {path}.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{path} cannot be read: {reason}.") from error


def _inflate(raw: bytes) -> tuple[str, bytes]:
    if raw.startswith(_GZIP):
        try:
            return "gzip", zlib.decompressobj(wbits=31).decompress(raw, 64)
        except (zlib.error, gzip.BadGzipFile):
            return "gzip", b""
    if raw.startswith(_ZSTD) or raw[1:4] == _ZSTD_SKIPPABLE:
        return "zstd", _inflate_zstd(raw)
    return "", raw[:64]


def _inflate_zstd(raw: bytes) -> bytes:
    import zstandard  # noqa: PLC0415 - only compressed files need it

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw) as stream:
            return stream.read(64)
    except zstandard.ZstdError:
        return b""


def _parse(head: bytes, compression: str, name: str) -> BlendHeader:
    old = _OLD.match(head)
    if old:
        return BlendHeader(int(old[3]), compression, old[2] == b"V")
    new = _NEW.match(head)
    if new and new[1] == b"01":
        return BlendHeader(int(new[2]), compression, big_endian=False)
    if len(head) < 17:
        raise InvalidInput(f"{name} is cut short: not even its header is complete.")
    raise InvalidInput(f"{name} is a .blend of a kind this farm's Blender does not know (perhaps newer).")

# SPDX-License-Identifier: GPL-3.0-or-later
"""What all records are made of: field types with bounds, the pixel rectangle, and their JSON."""

import threading
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

import msgspec

from farm_protocol.errors import InvalidInput

T = TypeVar("T")


def about(text: str) -> msgspec.Meta:
    """Description of a record's field, which the API's page shows."""
    return msgspec.Meta(description=text)


# A pattern's $ lets a newline follow; the length does not.
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 42)]
Pixels = Annotated[int, msgspec.Meta(ge=0, le=1 << 17)]
FrameNumber = Annotated[int, msgspec.Meta(ge=-1_048_574, le=1_048_574)]
Name = Annotated[str, msgspec.Meta(max_length=1024)]
Sentence = Annotated[str, msgspec.Meta(max_length=4096)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Address = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$", max_length=42)]
Signature = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-f]{130}$", max_length=132)]


class Decoder(Generic[T]):
    """msgspec's, for JSON that strangers wrote: what is nested deeper than Python goes is no JSON either."""

    __slots__ = ("_decoder",)

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, data: bytes | bytearray | str) -> T:
        """The record. Raises msgspec.DecodeError, of which ValidationError is one, and ValueError."""
        try:
            return self._decoder.decode(data)
        except RecursionError as error:
            raise msgspec.DecodeError("it is nested too deeply") from error


_building = threading.Lock()
_decoders: dict[Any, Decoder[Any]] = {}


def decoder(kind: type[T]) -> Decoder[T]:
    """The decoder of `kind`, made once. Nothing else may make one, or call `msgspec.json.decode` with a type.

    What msgspec knows of a dataclass is put on the class before it is filled in, with Python running
    meanwhile: a second thread that decodes the same class, or one with it inside, reads what is not there
    and the process dies (SIGSEGV; 0.19 to 0.22, the newest of November 2026). Filled in, it never changes.
    """
    found = _decoders.get(kind)
    if found is None:
        with _building:
            found = _decoders[kind] = Decoder(kind)
    return found


def convert(plain: Any, kind: type[T]) -> T:
    """Builtins as a record of `kind`. Raises msgspec.ValidationError."""
    decoder(kind)  # Knows all classes within from here on.
    return msgspec.convert(plain, kind)


def encode(record: object) -> bytes:
    """A record as JSON bytes."""
    return msgspec.json.encode(record)


def decode(data: bytes | str, kind: type[T]) -> T:
    """JSON bytes as a record of `kind`. Raises InvalidInput naming the field that is wrong."""
    try:
        return decoder(kind).decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidInput(f"This is not a valid {name_of(kind)}: {error}") from error


def name_of(kind: type) -> str:
    """What a record is called: `Signed[Offer]` is a SignedOffer."""
    parts = get_args(kind) if is_dataclass(get_origin(kind)) else ()
    return kind.__name__ + "".join(part.__name__ for part in parts)


@dataclass(frozen=True, slots=True)
class Tile:
    """A pixel rectangle of a frame, half open, y up as in Blender's border."""

    x0: Annotated[Pixels, about("left edge, pixels")]
    y0: Annotated[Pixels, about("lower edge, pixels")]
    x1: Annotated[Pixels, about("right edge, pixels, not part of it")]
    y1: Annotated[Pixels, about("upper edge, pixels, not part of it")]

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels up."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Pixels in all."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the object store, with a link to fetch it."""

    name: Annotated[Name, about("relative path, POSIX")]
    sha256: Annotated[Digest, about("sha256 of its bytes, hexadecimal")]
    size: Annotated[Size, about("bytes")]
    url: Annotated[str, about("link that holds for 15 minutes")] = ""

# SPDX-License-Identifier: GPL-3.0-or-later
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from frame_splitter.exr import Image, Limits, Part, check, crop, read, write
from frame_splitter.exr_header import MAGIC, MULTI_PART

TYPES = ("float32", "float16", "uint32")
ZIP, NONE, PIZ = 3, 0, 4


@st.composite
def images(draw: st.DrawFn, types: tuple[str, ...] = TYPES) -> Image:
    """Random bits of every sample type, so NaN, infinities and denormals are among them."""
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = numpy.random.default_rng(draw(st.integers(0, 2**32)))
    parts = []
    for index in range(draw(st.integers(1, 4))):
        name = f"View Layer.{index}"
        channels = {}
        for letter in sorted(draw(st.sets(st.sampled_from("RGBAXYZ"), min_size=1, max_size=4))):
            dtype = numpy.dtype(draw(st.sampled_from(types)))
            size = height * width * dtype.itemsize
            pixels = random.integers(0, 256, size, numpy.uint8) * random.integers(0, 2, size, numpy.uint8)
            channels[f"{name}.{letter}"] = pixels.view(dtype).reshape(height, width)
        parts.append(
            Part(name, channels, {"BlenderMultiChannel": "V2", "Frame": str(index), "xDensity": 72.0})
        )
    return Image(width, height, tuple(parts))


def assert_same(one: Image, other: Image) -> None:
    assert (one.width, one.height) == (other.width, other.height)
    assert [part.name for part in one.parts] == [part.name for part in other.parts]
    for a, b in zip(one.parts, other.parts, strict=True):
        assert list(a.channels) == list(b.channels)
        for name, pixels in a.channels.items():
            assert pixels.dtype == b.channels[name].dtype
            assert pixels.tobytes() == b.channels[name].tobytes()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exr")


@given(image=images(), compress=st.booleans())
@settings(max_examples=60)
def test_what_is_written_is_read_bit_for_bit(folder: Path, image: Image, compress: bool) -> None:
    path = folder / "round.exr"
    write(path, image, compress)
    again = read(path)
    assert_same(image, again)
    for before, after in zip(image.parts, again.parts, strict=True):
        assert before.attributes.items() <= after.attributes.items()


@given(image=images(types=("float32",)))
@settings(max_examples=25)
def test_the_exr_library_reads_the_same(folder: Path, image: Image) -> None:
    path = folder / "library.exr"
    write(path, image)
    with OpenEXR.File(str(path), separate_channels=True) as file:
        for ours, part in zip(image.parts, file.parts, strict=True):
            assert part.name() == ours.name
            for name, channel in part.channels.items():
                assert channel.pixels.tobytes() == ours.channels[name].tobytes()


@given(image=images(), data=st.data())
@settings(max_examples=40)
def test_a_crop_counts_from_the_lower_left(image: Image, data: st.DataObject) -> None:
    x0, y0 = data.draw(st.integers(0, image.width - 1)), data.draw(st.integers(0, image.height - 1))
    rect = Tile(
        x0, y0, data.draw(st.integers(x0 + 1, image.width)), data.draw(st.integers(y0 + 1, image.height))
    )
    cut = crop(image, rect)
    assert (cut.width, cut.height) == (rect.width, rect.height)
    for before, after in zip(image.parts, cut.parts, strict=True):
        for name, pixels in before.channels.items():
            upwards = pixels[::-1][rect.y0 : rect.y1, rect.x0 : rect.x1][::-1]
            assert upwards.tobytes() == after.channels[name].tobytes()


@pytest.mark.parametrize("rect", [Tile(0, 0, 9, 8), Tile(0, 0, 8, 9), Tile(3, 3, 3, 4), Tile(5, 0, 4, 4)])
def test_a_crop_stays_in_the_picture(rect: Tile) -> None:
    with pytest.raises(InvalidInput):
        crop(picture(8, 8), rect)


def test_a_crop_can_be_written(folder: Path) -> None:
    cut = crop(picture(9, 7), Tile(2, 1, 8, 5))
    write(folder / "cut.exr", cut)
    assert_same(cut, read(folder / "cut.exr"))


def picture(width: int, height: int, value: float = 0.5) -> Image:
    pixels = numpy.full((height, width), value, numpy.float32)
    pixels += numpy.arange(height * width, dtype=numpy.float32).reshape(height, width)
    parts = [
        Part(f"V.{name}", {f"V.{name}.{c}": pixels.copy() for c in letters}, {})
        for name, letters in (("Combined", "ABGR"), ("Depth", "Z"))
    ]
    return Image(width, height, tuple(parts))


def test_pictures_must_fit_together() -> None:
    for pixels in (numpy.zeros((3, 4), numpy.float32), numpy.zeros((4, 4), numpy.float64)):
        with pytest.raises(InvalidInput):
            Image(4, 4, (Part("V", {"V.R": pixels}, {}),))
    with pytest.raises(InvalidInput):
        write(Path("never"), Image(4, 4, ()))


def test_a_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError, match="No space"):
        write(Path("/dev/full"), picture(64, 64))
    with pytest.raises(OSError, match="No such file"):
        read(Path("/nowhere/picture.exr"))


# --- the cheap check ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_colours_that_are_no_numbers_are_refused(folder: Path, value: float, dtype: str) -> None:
    image = picture(8, 8)
    pixels = image.parts[0].channels["V.Combined.G"].astype(dtype)
    pixels[2:4, 5] = value
    image.parts[0].channels["V.Combined.G"] = pixels
    write(folder / "nan.exr", image)
    with pytest.raises(InvalidInput, match=r"V\.Combined holds 2 values"):
        check(folder / "nan.exr", 8, 8)


def test_data_passes_may_hold_anything(folder: Path) -> None:
    image = picture(8, 8)
    image.parts[1].channels["V.Depth.Z"][0, 0] = numpy.inf
    write(folder / "depth.exr", image)
    assert_same(image, check(folder / "depth.exr", 8, 8))


def test_a_custom_pass_may_overflow_as_blender_writes_it(folder: Path) -> None:
    image = picture(8, 8)
    custom = {f"V.ratio.{name}": image.parts[0].channels["V.Combined.G"].copy() for name in "BGR"}
    custom["V.ratio.R"][0, 0], custom["V.ratio.G"][0, 0] = numpy.inf, -numpy.inf
    image = Image(8, 8, (*image.parts, Part("V.ratio", custom, {})))
    write(folder / "custom.exr", image)
    assert_same(image, check(folder / "custom.exr", 8, 8))
    custom["V.ratio.B"][3, 3] = numpy.nan
    write(folder / "custom.exr", image)
    with pytest.raises(InvalidInput, match=r"V\.ratio holds 1 values"):
        check(folder / "custom.exr", 8, 8)


def test_the_wrong_size_is_refused_undecoded(folder: Path) -> None:
    path = folder / "size.exr"
    write(path, picture(8, 6))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match="8 x 6 pixels instead of 6 x 8"):
        check(path, 6, 8)


# --- hostile files ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def honest(folder: Path) -> bytes:
    write(folder / "honest.exr", picture(20, 20))
    return (folder / "honest.exr").read_bytes()


def test_every_truncation_is_refused(folder: Path, honest: bytes) -> None:
    path = folder / "cut_off.exr"
    for length in range(len(honest)):
        path.write_bytes(honest[:length])
        with pytest.raises(InvalidInput):
            read(path)


@given(garbage=st.binary(max_size=200), start=st.sampled_from([0, 4, 8, 40]))
def test_garbage_is_refused(folder: Path, honest: bytes, garbage: bytes, start: int) -> None:
    path = folder / "garbage.exr"
    path.write_bytes(honest[:start] + garbage)
    with pytest.raises(InvalidInput):
        read(path)


@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=300)
def test_changed_bytes_are_refused_or_harmless(
    folder: Path, honest: bytes, changes: list[tuple[int, int]]
) -> None:
    path, data = folder / "changed.exr", bytearray(honest)
    for at, value in changes:
        data[at % len(data)] ^= value
    path.write_bytes(data)
    try:
        image = read(path, Limits(decoded_bytes=1 << 20))
    except InvalidInput:
        return
    for part in image.parts:
        for pixels in part.channels.values():
            assert pixels.shape == (image.height, image.width)


def attribute(name: str, kind: str, value: bytes, size: int | None = None) -> bytes:
    return (
        name.encode()
        + b"\0"
        + kind.encode()
        + b"\0"
        + struct.pack("<i", len(value) if size is None else size)
        + value
    )


def channel(name: str, kind: int = 2, sampling: int = 1) -> bytes:
    return name.encode() + b"\0" + struct.pack("<iB3x2i", kind, 0, sampling, sampling)


def part_header(
    window: tuple[int, int, int, int] = (0, 0, 3, 3),
    name: str = "V.Combined",
    channels: bytes = channel("V.Combined.R"),
    compression: int = ZIP,
    chunks: int = 1,
    kind: str = "scanlineimage",
    more: bytes = b"",
) -> bytes:
    box = struct.pack("<4i", *window)
    return (
        attribute("channels", "chlist", channels + b"\0")
        + attribute("chunkCount", "int", struct.pack("<i", chunks))
        + attribute("compression", "compression", bytes([compression]))
        + attribute("dataWindow", "box2i", box)
        + attribute("displayWindow", "box2i", box)
        + attribute("lineOrder", "lineOrder", b"\0")
        + attribute("name", "string", name.encode())
        + attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
        + attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0))
        + attribute("screenWindowWidth", "float", struct.pack("<f", 1))
        + attribute("type", "string", kind.encode())
        + more
        + b"\0"
    )


def exr(*parts: bytes, chunk: bytes = bytes(64), flags: int = MULTI_PART, table: int = 64) -> bytes:
    """A file whose only chunk is found by every entry of the offset tables."""
    head = struct.pack("<ii", MAGIC, 2 | flags) + b"".join(parts) + b"\0"
    offset = len(head) + 8 * table
    return head + struct.pack("<Q", offset) * table + struct.pack("<3i", 0, 0, len(chunk)) + chunk


def test_the_hostile_files_below_differ_from_a_good_one(folder: Path) -> None:
    path = folder / "good.exr"
    path.write_bytes(exr(part_header(), table=1))
    assert not read(path).parts[0].channels["V.Combined.R"].any()


HUGE = 65_535
MANY_CHANNELS = b"".join(channel(f"c{index}") for index in range(5000))
MANY_ATTRIBUTES = b"".join(attribute(f"a{index}", "int", bytes(4)) for index in range(5000))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "not an exr": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an EXR"),
    "single tile": (exr(part_header(), flags=0x200), "tiled"),
    "deep": (exr(part_header(), flags=MULTI_PART | 0x800), "deep"),
    "tiled part": (exr(part_header(kind="tiledimage")), "tiled"),
    "version 3": (exr(part_header(), flags=MULTI_PART | 1), "unknown version"),
    "huge window": (exr(part_header((0, 0, HUGE, HUGE), chunks=4096), table=4096), "bytes when decoded"),
    "endless window": (exr(part_header((0, 0, 2**31 - 1, 2**31 - 1))), "longer than"),
    "window turned round": (exr(part_header((0, 0, -5, 3))), "empty"),
    "window elsewhere": (exr(part_header((-9, 0, 3, 3))), "corner"),
    "window overflow": (exr(part_header((-(2**31), 0, 2**31 - 1, 3))), "corner"),
    "tables too long": (exr(part_header((0, 0, 3, HUGE), chunks=4096), table=9), "before its pixels"),
    "chunks miscounted": (exr(part_header(chunks=2**31 - 1)), "chunks"),
    "lossy": (exr(part_header(compression=PIZ)), "ZIP"),
    "compression 255": (exr(part_header(compression=255)), "ZIP"),
    "subsampled": (exr(part_header(channels=channel("V.R", sampling=2))), "left out"),
    "sampled by zero": (exr(part_header(channels=channel("V.R", sampling=0))), "left out"),
    "unknown samples": (exr(part_header(channels=channel("V.R", kind=7))), "unknown type"),
    "no channels": (exr(part_header(channels=b"")), "no channels"),
    "channel twice": (exr(part_header(channels=channel("R") * 2)), "twice"),
    "many channels": (exr(part_header(channels=MANY_CHANNELS)), "channels"),
    "many attributes": (exr(part_header(more=MANY_ATTRIBUTES)), "too many"),
    "attribute twice": (exr(part_header(more=attribute("name", "string", b"x"))), "repeats"),
    "attribute of a million bytes": (exr(part_header(more=attribute("a", "string", b"", 10**6))), "cut off"),
    "attribute of 2 GB": (exr(part_header(more=attribute("a", "string", b"", 2**31 - 1))), "cut off"),
    "attribute of -1 bytes": (exr(part_header(more=attribute("a", "string", b"", -1))), "cut off"),
    "attribute too small": (exr(part_header(more=attribute("a", "m44f", b"12"))), "decoded"),
    "packed manifest": (
        exr(part_header(more=attribute("idManifest", "idmanifest", bytes(64)))),
        "idmanifest",
    ),
    "preview": (exr(part_header(more=attribute("preview", "preview", bytes(8)))), "preview"),
    "endless name": (exr(part_header(more=b"a" * 300)), "does not end"),
    "name that is no text": (exr(part_header(more=b"\xff\xfe\0int\0" + bytes(8))), "not text"),
    "parts of one name": (exr(part_header(), part_header()), "one name"),
    "parts of two sizes": (exr(part_header(), part_header((0, 0, 1, 1), name="W")), "differ in size"),
    "many parts": (exr(*(part_header(name=str(index)) for index in range(1100))), "parts"),
    "one chunk for two parts": (exr(part_header(), part_header(name="W"), table=2), "damaged"),
    "one chunk for all rows": (
        exr(part_header(chunks=4, compression=NONE), chunk=bytes(16), table=4),
        "damaged",
    ),
    "chunk of -1 bytes": (exr(part_header(), table=1).replace(struct.pack("<i", 64), b"\xff" * 4), "damaged"),
    "chunk too long": (exr(part_header(), chunk=bytes(65), table=1), "damaged"),
    "chunk too short": (exr(part_header(compression=NONE, chunks=4), chunk=bytes(15), table=4), "damaged"),
    "chunk past the end": (
        exr(part_header(), table=1)[:-76] + struct.pack("<Q", 2**63) + bytes(76),
        "damaged",
    ),
    "deflate bomb": (exr(part_header(), chunk=zlib.compress(bytes(6000), 9), table=1), "damaged"),
    "inflates to less": (exr(part_header(), chunk=zlib.compress(bytes(63)), table=1), "damaged"),
    "inflates to more": (exr(part_header(), chunk=zlib.compress(bytes(65)), table=1), "damaged"),
    "wrong checksum": (exr(part_header(), chunk=zlib.compress(bytes(64))[:-1] + b"?", table=1), "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_cheaply(folder: Path, name: str) -> None:
    data, reason = HOSTILE[name]
    path = folder / "hostile.exr"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(InvalidInput, match=reason):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(data) + 1_000_000


def test_a_bomb_inflates_no_further_than_its_chunk(folder: Path) -> None:
    wide = part_header((0, 0, 999, 15), channels=channel("V.R"))
    path = folder / "bomb.exr"
    path.write_bytes(exr(wide, chunk=zlib.compress(bytes(50_000_000), 9), table=1))
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="damaged"):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


LIMITED: dict[str, tuple[Limits, str]] = {
    "file": (Limits(file_bytes=1000), "1000 are read"),
    "header": (Limits(header_bytes=300), "larger than the farm reads"),
    "decoded": (Limits(decoded_bytes=7999), "takes? 8000 bytes"),
    "parts": (Limits(parts=1), "more than 1 parts"),
    "channels": (Limits(channels=4), "more than 4 channels"),
    "edge": (Limits(edge=19), "longer than 19"),
    "attributes": (Limits(attributes=5), "too many"),
}


@pytest.mark.parametrize("name", LIMITED)
def test_every_limit_holds(folder: Path, honest: bytes, name: str) -> None:
    limits, reason = LIMITED[name]
    path = folder / "limited.exr"
    path.write_bytes(honest)
    with pytest.raises(InvalidInput, match=reason):
        read(path, limits)
    assert read(path, Limits(decoded_bytes=8000, parts=2, channels=5, edge=20)).width == 20


def test_a_picture_of_a_single_part(folder: Path, make_single: Callable[[Path], Image]) -> None:
    image = make_single(folder / "single.exr")
    again = read(folder / "single.exr")
    assert_same(image, Image(again.width, again.height, (Part("", again.parts[0].channels, {}),)))
    data = bytearray((folder / "single.exr").read_bytes())
    (folder / "single.exr").write_bytes(data[:-3])
    with pytest.raises(InvalidInput):
        read(folder / "single.exr")


@pytest.fixture
def make_single() -> Callable[[Path], Image]:
    def make(path: Path) -> Image:
        pixels = numpy.arange(35, dtype=numpy.float32).reshape(5, 7)
        header = {"compression": OpenEXR.ZIPS_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"Y": pixels}).write(str(path))
        return Image(7, 5, (Part("", {"Y": pixels}, {}),))

    return make

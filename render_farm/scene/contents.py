# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a file holds what its ending says: a key that is called `wood.png` stays.

Told by the first bytes, as Blender tells it; a picture may have another picture's ending, since Blender
reads those, too. Text kinds are told by their first lines.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

HEAD = 4096
"""Bytes looked at."""

Check = Callable[[bytes, int], bool]
"""From a file's first bytes and its size to whether it is of the kind."""


def mismatch(path: Path, size: int, ending: str) -> str:
    """Why a file of `size` bytes is not what its ending says, as half a sentence; empty where it is, where
    the file is empty, and for endings that anything may have.

    Raises OSError where it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    check = _CHECKS.get(ending.lower())
    right = size == 0 or check is None or check(head, size)
    return "" if right else f"its contents are not those of a {ending.lower()} file"


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is a picture of a kind Blender reads or writes."""
    return _picture(head, len(head))


def _begins(*words: bytes, at: int = 0) -> Check:
    return lambda head, size: head[at:].startswith(words)


def _any(*checks: Check) -> Check:
    return lambda head, size: any(check(head, size) for check in checks)


def _all(*checks: Check) -> Check:
    return lambda head, size: all(check(head, size) for check in checks)


# --- pictures, films, sounds ----------------------------------------------------------------------------


def _targa(head: bytes, size: int) -> bool:
    """Targa has no magic: its header's few numbers must make sense together."""
    if len(head) < 18 or head[1] > 1 or head[2] not in {1, 2, 3, 9, 10, 11, 32, 33}:
        return False
    is_mapped = head[2] in {1, 9, 32, 33}
    return is_mapped == bool(head[1]) and head[16] in {8, 15, 16, 24, 32} and any(head[12:14] + head[14:16])


def _bitmap(head: bytes, size: int) -> bool:
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in {
        12,
        16,
        40,
        52,
        56,
        64,
        108,
        124,
    }


def _drawing(head: bytes, size: int) -> bool:
    return b"<svg" in head and b"\0" not in head


_riff = _begins(b"RIFF", b"RF64")
_picture = _any(
    _begins(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    _begins(b"\x76\x2f\x31\x01", b"#?RADIANCE", b"#?RGBE", b"8BPS\0\1", b"8BPS\0\2", b"DDS ", b"\x01\xda"),
    _begins(b"SDPX", b"XPDS", b"\x80\x2a\x5f\xd7", b"\xd7\x5f\x2a\x80"),
    _begins(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    _all(_riff, _begins(b"WEBP", at=8)),
    _bitmap,
    _targa,
)

_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_mp4 = _begins(*_ATOMS, at=4)
_asf = _begins(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
_stream = _any(
    _all(_begins(b"\x47"), lambda head, size: head[188:189] in {b"\x47", b""}),
    _all(_begins(b"\x47", at=4), lambda head, size: head[196:197] in {b"\x47", b""}),
)
_film = _any(
    _all(_riff, _begins(b"AVI ", at=8)),
    _begins(b"FLV\1", b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"OggS"),
    _begins(b"RED1", b"RED2", at=4),
    lambda head, size: b"\x06\x0e\x2b\x34\x02\x05\x01\x01" in head,
    _stream,
    _mp4,
    _asf,
)


def _frames(head: bytes, size: int) -> bool:
    """MPEG audio or AAC without a header of its own: each frame begins with eleven or more ones."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1:2] != b"\xff"


_sound = _any(
    _all(_riff, _begins(b"WAVE", at=8)),
    _begins(b"fLaC", b"OggS", b"ID3", b"ADIF", b"\x0b\x77", b"\x77\x0b", b"\x1a\x45\xdf\xa3"),
    _all(_begins(b"FORM"), _begins(b"AIF", at=8)),
    _frames,
    _mp4,
    _asf,
)
_font = _begins(
    b"\0\1\0\0",
    b"true",
    b"OTTO",
    b"ttcf",
    b"typ1",
    b"wOFF",
    b"wOF2",
    b"\x80\1",
    b"%!PS-AdobeFont",
    b"%!FontType",
)

# --- shapes and caches ----------------------------------------------------------------------------------

_GZIP = b"\x1f\x8b\x08"
_UNI = (b"MNT", b"DDF", b"M4T", b"PB0", b"PD0", b"MD0", b"MNU")
"""How files of Mantaflow begin, once unpacked; `config_*.uni` are plain numbers."""


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, HEAD)
    except zlib.error:
        return b""


def _packed_shape(head: bytes, size: int) -> bool:
    """`*.bobj.gz`: the number of points, then as many triples of small numbers."""
    data = _unpacked(head)
    count = int.from_bytes(data[:4], "little")
    return head.startswith(_GZIP) and len(data) >= 4 and count < 1 << 31 and not _is_text(data[:64])


def _uni(head: bytes, size: int) -> bool:
    data = _unpacked(head)
    return head.startswith(_GZIP) and (data.startswith(_UNI) or (size < 1024 and not _is_text(data)))


def _triangles(head: bytes, size: int) -> bool:
    """A binary STL is as long as its number of triangles says, a text begins with `solid`."""
    if len(head) >= 84 and size == 84 + 50 * int.from_bytes(head[80:84], "little"):
        return True
    return _is_text(head) and head.lstrip()[:5].lower() == b"solid"


def _mdd(head: bytes, size: int) -> bool:
    frames, points = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    return size == 8 + 4 * frames + 12 * frames * points


def _bake(head: bytes, size: int) -> bool:
    """What geometry nodes write beside their blobs."""
    return head.lstrip()[:1] == b"{" and b'"version"' in head and b'"items"' in head


# --- texts ----------------------------------------------------------------------------------------------

_SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*(?:PRIVATE|CERTIFICATE|MESSAGE|KEY)|PuTTY-User-Key|^AGE-SECRET-KEY", re.M
)
_OBJ = re.compile(rb"(?:#|v |vn |vt |vp |f |l |p |o |g |s |mtllib |usemtl |cstype |deg |curv |parm |end\b)")
_OSL = re.compile(
    rb"\b(?:shader|surface|displacement|volume|void|int|float|color|point|vector|normal|matrix|string)\s+\w+\s*\("
    rb"|^#\s*include\b|^//|^/\*",
    re.MULTILINE,
)
_NUMBER = re.compile(rb"-?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?")


_LUT = re.compile(
    rb"(?:\xef\xbb\xbf|\s|#[^\n]*\n)*(?:<|-?[0-9.]|LUT|TITLE|DOMAIN_|VERSION|SPILUT|CSPLUT|3DMESH|MESH|GRID_SIZE"
    rb"|CHANNEL|WIDTH|IDIMS|FORMAT|IN\b|OUT\b)",
    re.IGNORECASE,
)


def _is_text(head: bytes) -> bool:
    """Whether these bytes are UTF-8 text, and not a key's."""
    odd = any(byte < 9 or 13 < byte < 32 for byte in head)
    return not odd and _is_utf8(head) and not _SECRET.search(head)


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The last letter may be cut in two.
        return len(head) == HEAD and error.start >= HEAD - 3
    return True


def _text(head: bytes, size: int) -> bool:
    return _is_text(head)


def _obj(head: bytes, size: int) -> bool:
    lines = [line.strip() for line in head.splitlines()[:-1] or head.splitlines()]
    told = [line for line in lines if line and not line.endswith(b"\\")]
    return _is_text(head) and bool(told) and sum(map(bool, map(_OBJ.match, told))) * 10 >= 9 * len(told)


def _table(head: bytes, size: int) -> bool:
    """A .csv that nodes read, cut by any of their separators: a row of names, and rows with numbers."""
    rows = [re.split(rb"[,;|\t ]", line) for line in head.splitlines() if line.strip()]
    return _is_text(head) and len(rows) > 1 and any(_NUMBER.fullmatch(cell.strip()) for cell in rows[1])


def _lamp(head: bytes, size: int) -> bool:
    return _is_text(head) and (b"IESNA" in head[:64] or b"TILT=" in head)


def _shader(head: bytes, size: int) -> bool:
    return _is_text(head) and _OSL.search(head) is not None


def _compiled_shader(head: bytes, size: int) -> bool:
    return head.startswith(b"OpenShadingLanguage")


def _lut(head: bytes, size: int) -> bool:
    """Tables of OCIO: XML, or lines of numbers after one of their formats' words."""
    return _is_text(head) and _LUT.match(head) is not None


def _profile(head: bytes, size: int) -> bool:
    return head[36:40] == b"acsp"


_blend = _begins(b"BLENDER", _GZIP, b"\x28\xb5\x2f\xfd")
_crate, _layer_text, _zip = _begins(b"PXR-USDC"), _begins(b"#usda"), _begins(b"PK\3\4")
_vdb = _begins(b" BDV\0\0\0\0")


def _table_of_checks(groups: Mapping[str, Check]) -> dict[str, Check]:
    return {f".{ending}": check for endings, check in groups.items() for ending in endings.split()}


_CHECKS = _table_of_checks(
    {
        "bmp cin dds dpx exr hdr j2c jp2 jpeg jpg png psd psb rgb rgba sgi bw tga tif tiff tx webp": _picture,
        "svg": _any(_drawing, _begins(_GZIP)),
        "avi flv m2t m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogg ogv r3d ts webm wmv": _film,
        "aac ac3 aif aiff flac m4a mp2 mp3 oga opus wav wma": _sound,
        "otc otf pfb ttc ttf woff woff2": _font,
        "abc": _begins(b"Ogawa", b"\x89HDF\r\n\x1a\n"),
        "bphys": _begins(b"BPHYSICS"),
        "btx": _begins(b"BCDF"),
        "mdd": _mdd,
        "pc2": _begins(b"POINTCACHE2\0"),
        "obj": _obj,
        "ply": _begins(b"ply\n", b"ply\r"),
        "stl": _triangles,
        "usd": _any(_crate, _layer_text, _zip),
        "usda": _layer_text,
        "usdc": _crate,
        "usdz": _zip,
        "vdb": _vdb,
        "uni": _uni,
        "raw": _begins(_GZIP),
        "gz": _packed_shape,
        "json": _bake,
        "ies": _lamp,
        "osl": _shader,
        "oso": _compiled_shader,
        "csv": _table,
        "txt": _text,
        "3dl blut ccc cc cdl clf csp ctf cub cube hdl itx look lut mga m3d spi1d spi3d spimtx vf": _lut,
        "icc icm": _profile,
        "blend": _blend,
        **{f"blend{number}": _blend for number in range(100)},
    }
)

__all__ = ["HEAD", "is_picture", "mismatch"]
